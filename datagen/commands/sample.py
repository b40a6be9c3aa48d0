"""``eqmm-datagen sample``: from a molecule to frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from datagen.commands.options import (
    SOLVENT_HELP,
    engine_options,
    open_valences_option,
    output_option,
    refuse_existing,
)
from datagen.datasets.statistics import frame_statistics
from datagen.molecules.solute import read_solute
from datagen.solvent.force_field import why_not_covered
from datagen.solvent.job import SamplingProgress
from datagen.solvent.sampling import SamplingSettings, describe, sample_frozen
from datagen.solvent.sampling import sample as sample_frames
from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS
from eqmm_ase.data.region_description import describe_molecule
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.setting_options import setting_options, settings_from


@click.command(context_settings={"show_default": True})
@click.argument("molecule")
@output_option("Dataset file to write.")
@setting_options(
    SamplingSettings,
    names={"n_frames": "--frames", "temperatures": "--temperature"},
    defaults={"seed": 1},
    texts={"solvent": SOLVENT_HELP},
)
@click.option("--charge", type=int, help="Total charge, e.  [default: as MOLECULE says, else 0]")
@click.option(
    "--multiplicity",
    type=int,
    help="Spin multiplicity 2S+1.  [default: as MOLECULE says, or its radical electron; else 1]",
)
@open_valences_option
@engine_options
def sample(
    molecule: str,
    output: Path,
    overwrite: bool,
    charge: int | None,
    multiplicity: int | None,
    open_valences: bool,
    workers: int | None,
    platform: str | None,
    **options: Any,
) -> None:
    """Put MOLECULE into solvent, run molecular dynamics, and cut frames out of it.

    MOLECULE is a SMILES string or a structure file (xyz, sdf, mol, pdb; its first geometry) with
    all hydrogens. It gets GAFF2 parameters
    and AM1-BCC charges, a box of solvent large enough for the radius, and several trajectories
    from one equilibrated start. A frame is the molecule and all whole solvent molecules around
    it, without labels; `eqmm-datagen label` computes those. A molecule that GAFF2 does not cover
    (a metal, a radical, a single ion) is frozen in its geometry while the solvent moves, and a note
    says so.

    Finished trajectories are kept in OUTPUT.parts until the output is written: an interrupted
    run goes on when the same command is given again.
    """
    settings = settings_from(SamplingSettings, options)
    refuse_existing(output, overwrite)
    solute = read_solute(
        molecule,
        total_charge=charge,
        spin_multiplicity=multiplicity,
        seed=settings.seed,
        open_valences=open_valences,
    )
    if settings.radius < RECOMMENDED_RADIUS:
        click.echo(
            f"note: clusters of {settings.radius:g} Å miss some of the surroundings; "
            f"{RECOMMENDED_RADIUS:g} Å or more are recommended",
            err=True,
        )
    notes = list(solute.notes)
    reason = why_not_covered(solute)
    if reason:
        notes.append(f"{reason}: the molecule is frozen in its geometry")
    for note in notes:
        click.echo(f"note: {note}", err=True)
    parts = output.with_name(output.name + ".parts")
    with ShownProgress(settings.duration) as progress:
        result = (sample_frozen if reason else sample_frames)(
            solute, settings, folder=parts, workers=workers, platform=platform, progress=progress
        )
    description = {**describe(solute, settings), "notes": [*notes, *progress.notes]}
    if reason:
        description["force_field"] = "solute frozen; Lennard-Jones by element, charges of GFN2-xTB"
    write_frames(output, result, {"sampling": description})
    shutil.rmtree(parts)
    state = solute.total_charge, solute.spin_multiplicity
    click.echo(
        f"{output}: {describe_molecule(solute.atomic_numbers, *state)}; {solute.name} in "
        f"{settings.medium.name}, {frame_statistics(result).sentence()}"
    )


class ShownProgress(SamplingProgress):
    """Picoseconds of molecular dynamics, with rate and time left."""

    def __init__(self, duration: float) -> None:
        self._bar = ProgressBar("sampling", "ps", duration, decimals=1)
        self.notes: list[str] = []

    def stage(self, name: str) -> None:
        """Show what is being done."""
        self._bar.stage(name)

    def advance(self, picoseconds: float) -> None:
        """Move the bar."""
        self._bar.advance(picoseconds)

    def note(self, sentence: str) -> None:
        """Print a note, and keep it for the file."""
        self.notes.append(sentence)
        click.echo(f"note: {sentence}", err=True)

    def __enter__(self) -> ShownProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
