"""``eqmm-datagen solvate``: from given geometries to frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
from ase import Atoms

from datagen.commands.options import (
    SOLVENT_HELP,
    engine_options,
    open_valences_option,
    output_option,
    refuse_existing,
)
from datagen.commands.sample import ShownProgress
from datagen.datasets.statistics import frame_statistics
from datagen.molecules.given_geometries import common_state
from datagen.solvent.solvation import GAS, SolvationSettings, describe, duration, solvate_geometries
from eqmm_ase.command_line import refuse_idle
from eqmm_ase.data.charge_and_spin import set_state
from eqmm_ase.data.region_description import describe_region
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.files.geometry_files import read_geometries
from eqmm_ase.setting_options import setting_options, settings_from

_OF_SOLVENT = (
    *("salt", "relaxation", "settling", "equilibration", "temperature", "radius", "spheres"),
    *("charge_model", "seed", "workers", "platform"),
)


@click.command(context_settings={"show_default": True})
@click.argument("geometries")
@output_option("Dataset file to write.")
@setting_options(
    SolvationSettings,
    texts={"solvent": f"{SOLVENT_HELP[:-1]}; or {GAS} for no surroundings at all."},
)
@click.option("--charge", type=int, help="Total charge, e.  [default: from the file, else 0]")
@click.option("--multiplicity", type=int, help="2S+1.  [default: from the file, else 1]")
@open_valences_option
@engine_options
@click.pass_context
def solvate(
    context: click.Context,
    geometries: str,
    output: Path,
    overwrite: bool,
    charge: int | None,
    multiplicity: int | None,
    open_valences: bool,
    workers: int | None,
    platform: str | None,
    **options: Any,
) -> None:
    """Freeze each of GEOMETRIES while solvent relaxes around it, and cut a frame out.

    GEOMETRIES is any file that ASE reads, all its images: a path, a scan, a trajectory. Total
    charge and spin are read from it under the names that other programs give them; initial
    charges in it are what the solvent feels. Images with the same `source` in their info form a
    chain that the solvent follows in order.

    Finished chains are kept in OUTPUT.parts until the output is written: an interrupted run goes
    on when the same command is given again.
    """
    settings = settings_from(SolvationSettings, options)
    if settings.solvent == GAS:
        refuse_idle(context, _OF_SOLVENT, f"--solvent {GAS}")
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
        f"{output}: {describe_region(frames[0])}; {settings.solvent}, "
        f"{frame_statistics(frames).sentence()}"
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
