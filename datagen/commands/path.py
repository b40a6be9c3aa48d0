"""``eqmm-datagen path``: from one geometry to many along a reaction coordinate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from ase.io import write

from datagen.commands.options import open_valences_option, output_option, refuse_existing
from datagen.molecules.given_geometries import common_state
from datagen.solvent.reaction_path import PathSettings, sweep_path
from eqmm_ase.data.region_description import describe_molecule
from eqmm_ase.files.structures import read_structure
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.setting_options import setting_options, settings_from
from eqmm_ase.simulation.coordinate import Coordinate


@click.command(context_settings={"show_default": True})
@click.argument("structure")
@output_option("Extended XYZ file to write.")
@click.option(
    "--coordinate",
    required=True,
    help="Signed sum of distances between atoms counted from 0, as 'd(0,1)-d(0,2)'.",
)
@click.option("--range", "ends", type=float, nargs=2, required=True, help="Its two ends, Å.")
@setting_options(PathSettings, names={"temperatures": "--temperature"}, without=("start", "stop"))
@click.option("--charge", type=int, help="Total charge, e.  [default: as STRUCTURE says, else 0]")
@click.option("--multiplicity", type=int, help="2S+1.  [default: as STRUCTURE says, else 1]")
@open_valences_option
def path(
    structure: str,
    output: Path,
    overwrite: bool,
    coordinate: str,
    ends: tuple[float, float],
    charge: int | None,
    multiplicity: int | None,
    open_valences: bool,
    **options: Any,
) -> None:
    """Sweep a reaction coordinate of STRUCTURE in biased GFN2-xTB dynamics and keep geometries.

    STRUCTURE is any file that ASE reads, with all hydrogens; its last geometry is taken. The output
    holds geometries with their GFN2-xTB charges and the name of their sweep; `eqmm-datagen solvate`
    puts them into solvent.
    """
    settings = settings_from(PathSettings, options, start=ends[0], stop=ends[1])
    refuse_existing(output, overwrite)
    start = read_structure(structure).atoms
    state = common_state(
        [start],
        name=structure,
        total_charge=charge,
        spin_multiplicity=multiplicity,
        open_valences=open_valences,
    )
    with ProgressBar("sweeping", "geometries", settings.sweeps * settings.frames) as bar:
        geometries = sweep_path(
            start,
            Coordinate.parse(coordinate),
            settings,
            **state._asdict(),
            on_geometry=bar.advance,
        )
    write(output, geometries, format="extxyz")
    reached = [geometry.info["coordinate"] for geometry in geometries]
    click.echo(
        f"{output}: {describe_molecule(start.numbers, *state)}; {len(geometries)} geometries in "
        f"{settings.sweeps} sweeps, "
        f"{coordinate} from {min(reached):.2f} to {max(reached):.2f} Å"
    )
