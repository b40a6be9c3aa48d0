"""``eqmm-datagen solvate``: from given geometries to frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
from ase import Atoms

from datagen.commands.options import (
    engine_options,
    open_valences_option,
    output_option,
    refuse_existing,
)
from datagen.commands.sample import ShownProgress
from datagen.datasets.statistics import frame_statistics
from datagen.molecules.given_geometries import common_state
from datagen.solvent.media import solvent_names
from datagen.solvent.solvation import GAS, SolvationSettings, describe, duration, solvate_geometries
from eqmm_ase.command_line import refuse_idle
from eqmm_ase.data.charge_and_spin import set_state
from eqmm_ase.data.region_description import describe_region
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.files.geometry_files import read_geometries

_DEFAULT = SolvationSettings()
_OF_SOLVENT = (
    *("salt", "relaxation", "settling", "equilibration", "temperature", "radius", "spheres"),
    *("charge_model", "seed", "workers", "platform"),
)


@click.command(context_settings={"show_default": True})
@click.argument("geometries")
@output_option("Dataset file to write.")
@click.option(
    "--solvent",
    default=_DEFAULT.solvent,
    help=f"One of {', '.join(solvent_names())}; a mixture by mole fractions, as "
    f"water:0.7,methanol:0.3; or {GAS} for no surroundings at all.",
)
@click.option("--salt", default="", help="Ions, as NaCl:0.15 for 0.15 mol/L.")
@click.option("--relaxation", default=_DEFAULT.relaxation, help="Around each geometry, ps.")
@click.option(
    "--settling", default=_DEFAULT.settling, help="More around the first of each chain, ps."
)
@click.option("--equilibration", default=_DEFAULT.equilibration, help="At 1 bar, once, ps.")
@click.option("--temperature", default=_DEFAULT.temperature, help="Of the solvent, K.")
@click.option(
    "--radius",
    default=_DEFAULT.radius,
    help="Whole residues with an atom this near to a QM atom are kept, Å.",
)
@click.option(
    "--spheres",
    type=click.Choice(["charge", "element"]),
    default=_DEFAULT.spheres,
    help="Lennard-Jones of the solute: by element, or growing into ions with negative charge.",
)
@click.option(
    "--charge-model",
    type=click.Choice(["gfn2", "resp"]),
    default=_DEFAULT.charge_model,
    help="Charges of geometries that bring none: GFN2-xTB, or RESP of HF/6-31G*.",
)
@click.option("--charge", type=int, help="Total charge, e.  [default: from the file, else 0]")
@click.option("--multiplicity", type=int, help="2S+1.  [default: from the file, else 1]")
@open_valences_option
@click.option("--seed", default=_DEFAULT.seed, help="Equal seeds give equal frames on the CPU.")
@engine_options
@click.pass_context
def solvate(
    context: click.Context,
    geometries: str,
    output: Path,
    overwrite: bool,
    solvent: str,
    salt: str,
    relaxation: float,
    settling: float,
    equilibration: float,
    temperature: float,
    radius: float,
    spheres: str,
    charge_model: str,
    charge: int | None,
    multiplicity: int | None,
    open_valences: bool,
    seed: int,
    workers: int | None,
    platform: str | None,
) -> None:
    """Hold each of GEOMETRIES while solvent relaxes around it, and cut a frame out.

    GEOMETRIES is any file that ASE reads, all its images: a path, a scan, a trajectory. Total
    charge and spin are read from it under the names that other programs give them; initial
    charges in it are what the solvent feels. Images with the same `source` in their info form a
    chain that the solvent follows in order.

    Finished chains are kept in OUTPUT.parts until the output is written: an interrupted run goes
    on when the same command is given again.
    """
    if solvent == GAS:
        refuse_idle(context, _OF_SOLVENT, f"--solvent {GAS}")
    settings = SolvationSettings(
        solvent=solvent,
        salt=salt,
        relaxation=relaxation,
        settling=settling,
        equilibration=equilibration,
        temperature=temperature,
        radius=radius,
        spheres=spheres,
        charge_model=charge_model,
        seed=seed,
    )
    refuse_existing(output, overwrite)
    images = _read(geometries, charge, multiplicity, open_valences)
    parts = output.with_name(output.name + ".parts")
    with ShownProgress(duration(images, settings)) as progress:
        frames = solvate_geometries(
            images,
            settings,
            folder=parts,
            workers=workers,
            platform=platform,
            progress=progress,
            open_valences=True,  # asked for above
        )
    write_frames(output, frames, {"sampling": describe(images, settings)})
    shutil.rmtree(parts, ignore_errors=True)
    click.echo(
        f"{output}: {describe_region(frames[0])}; {solvent}, {frame_statistics(frames).sentence()}"
    )


def _read(path: str, charge: int | None, multiplicity: int | None, bare: bool) -> list[Atoms]:
    images = read_geometries(path)
    state = common_state(
        images,
        name=path,
        total_charge=charge,
        spin_multiplicity=multiplicity,
        open_valences=bare,
    )
    for atoms in images:
        set_state(atoms, state)
    return images
