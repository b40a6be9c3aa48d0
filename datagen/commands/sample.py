"""``eqmm-datagen sample``: from a molecule to frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from datagen.commands.options import (
    engine_options,
    open_valences_option,
    output_option,
    refuse_existing,
)
from datagen.datasets.statistics import frame_statistics
from datagen.molecules.solute import read_solute
from datagen.solvent.force_field import why_not_covered
from datagen.solvent.held_sampling import sample_held
from datagen.solvent.media import solvent_names
from datagen.solvent.sampling import (
    SamplingProgress,
    SamplingSettings,
    describe,
)
from datagen.solvent.sampling import sample as sample_frames
from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS
from eqmm_ase.data.region_description import describe_molecule
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.progress_bar import ProgressBar

_DEFAULT = SamplingSettings()


@click.command(context_settings={"show_default": True})
@click.argument("molecule")
@output_option("Dataset file to write.")
@click.option(
    "--solvent",
    default=_DEFAULT.solvent,
    help=f"One of {', '.join(solvent_names())}; or a mixture by mole fractions, as "
    "water:0.7,methanol:0.3.",
)
@click.option("--salt", default="", help="Ions, as NaCl:0.15 for 0.15 mol/L.")
@click.option("--frames", default=_DEFAULT.n_frames, help="Frames in all.")
@click.option(
    "--trajectories",
    default=_DEFAULT.trajectories,
    help="Independent trajectories that the frames are taken from.",
)
@click.option("--interval", default=_DEFAULT.interval, help="Between frames, ps.")
@click.option(
    "--temperature",
    "temperatures",
    multiple=True,
    default=_DEFAULT.temperatures,
    help="K. Given several times, the trajectories take them in turn, all at the density of the "
    "first: hotter ones widen the range of geometries.",
)
@click.option(
    "--radius",
    default=_DEFAULT.radius,
    help="Whole residues with an atom this near to a QM atom are kept, Å.",
)
@click.option(
    "--equilibration",
    default=_DEFAULT.equilibration,
    help="At 1 bar, once for all trajectories, ps.",
)
@click.option(
    "--decorrelation",
    default=_DEFAULT.decorrelation,
    help="In which each trajectory forgets the common start, ps.",
)
@click.option("--charge", type=int, help="Total charge, e.  [default: as MOLECULE says, else 0]")
@click.option(
    "--multiplicity",
    type=int,
    help="Spin multiplicity 2S+1.  [default: as MOLECULE says, or its radical electron; else 1]",
)
@open_valences_option
@click.option("--seed", default=1, help="Equal seeds give equal frames on the CPU.")
@engine_options
def sample(
    molecule: str,
    output: Path,
    overwrite: bool,
    solvent: str,
    salt: str,
    frames: int,
    trajectories: int,
    interval: float,
    temperatures: tuple[float, ...],
    radius: float,
    equilibration: float,
    decorrelation: float,
    charge: int | None,
    multiplicity: int | None,
    open_valences: bool,
    seed: int,
    workers: int | None,
    platform: str | None,
) -> None:
    """Put MOLECULE into solvent, run molecular dynamics, and cut frames out of it.

    MOLECULE is a SMILES string or a structure file (xyz, sdf, mol, pdb; its first geometry) with
    all hydrogens. It gets GAFF2 parameters
    and AM1-BCC charges, a box of solvent large enough for the radius, and several trajectories
    from one equilibrated start. A frame is the molecule and all whole solvent molecules around
    it, without labels; `eqmm-datagen label` computes those. A molecule that GAFF2 does not cover
    (a metal, a radical, a single ion) is held in its geometry while the solvent moves, and a note
    says so.

    Finished trajectories are kept in OUTPUT.parts until the output is written: an interrupted
    run goes on when the same command is given again.
    """
    settings = SamplingSettings(
        solvent=solvent,
        salt=salt,
        n_frames=frames,
        trajectories=trajectories,
        interval=interval,
        temperatures=tuple(temperatures),
        radius=radius,
        equilibration=equilibration,
        decorrelation=decorrelation,
        seed=seed,
    )
    refuse_existing(output, overwrite)
    solute = read_solute(
        molecule,
        total_charge=charge,
        spin_multiplicity=multiplicity,
        seed=seed,
        open_valences=open_valences,
    )
    if radius < RECOMMENDED_RADIUS:
        click.echo(
            f"note: clusters of {radius:g} Å miss some of the surroundings; "
            f"{RECOMMENDED_RADIUS:g} Å or more are recommended",
            err=True,
        )
    notes = list(solute.notes)
    reason = why_not_covered(solute)
    if reason:
        notes.append(f"{reason}: the molecule is held in its geometry")
    for note in notes:
        click.echo(f"note: {note}", err=True)
    parts = output.with_name(output.name + ".parts")
    with ShownProgress(settings.duration) as progress:
        result = (sample_held if reason else sample_frames)(
            solute, settings, folder=parts, workers=workers, platform=platform, progress=progress
        )
    description = {**describe(solute, settings), "notes": [*notes, *progress.notes]}
    if reason:
        description["force_field"] = "solute held; Lennard-Jones by element, charges of GFN2-xTB"
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
