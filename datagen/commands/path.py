"""``eqmm-datagen path``: from one geometry to many along a reaction coordinate."""

from __future__ import annotations

from pathlib import Path

import click
from ase.io import write

from datagen.commands.options import open_valences_option, output_option, refuse_existing
from datagen.molecules.given_geometries import common_state
from datagen.solvent.reaction_path import PathSettings, sweep_path
from eqmm_ase.data.region_description import describe_molecule
from eqmm_ase.files.structures import read_structure
from eqmm_ase.progress_bar import ProgressBar
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
@click.option("--sweeps", default=8, help="Trajectories; every second one runs backwards.")
@click.option("--frames", default=50, help="Geometries in each sweep.")
@click.option("--interval", default=0.1, help="Between geometries, ps.")
@click.option(
    "--temperature",
    "temperatures",
    multiple=True,
    default=(300.0,),
    help="K. Given several times, the sweeps take them in turn.",
)
@click.option(
    "--solvation",
    help="Solvent of the implicit ALPB model (water, methanol …).  [default: vacuum]",
)
@click.option("--charge", type=int, help="Total charge, e.  [default: as STRUCTURE says, else 0]")
@click.option("--multiplicity", type=int, help="2S+1.  [default: as STRUCTURE says, else 1]")
@open_valences_option
@click.option("--seed", default=1, help="Equal seeds give equal geometries.")
def path(
    structure: str,
    output: Path,
    overwrite: bool,
    coordinate: str,
    ends: tuple[float, float],
    sweeps: int,
    frames: int,
    interval: float,
    temperatures: tuple[float, ...],
    solvation: str | None,
    charge: int | None,
    multiplicity: int | None,
    open_valences: bool,
    seed: int,
) -> None:
    """Sweep a reaction coordinate of STRUCTURE in biased GFN2-xTB dynamics and keep geometries.

    STRUCTURE is any file that ASE reads, with all hydrogens; its last geometry is taken. The output
    holds geometries with their GFN2-xTB charges and the name of their sweep; `eqmm-datagen solvate`
    puts them into solvent.
    """
    settings = PathSettings(
        start=ends[0],
        stop=ends[1],
        sweeps=sweeps,
        frames=frames,
        interval=interval,
        temperatures=tuple(temperatures),
        solvation=solvation,
        seed=seed,
    )
    refuse_existing(output, overwrite)
    start = read_structure(structure).atoms
    state = common_state(
        [start],
        name=structure,
        total_charge=charge,
        spin_multiplicity=multiplicity,
        open_valences=open_valences,
    )
    with ProgressBar("sweeping", "geometries", sweeps * frames) as bar:
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
        f"{sweeps} sweeps, "
        f"{coordinate} from {min(reached):.2f} to {max(reached):.2f} Å"
    )
