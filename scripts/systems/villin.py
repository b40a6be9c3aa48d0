"""A protein in water to try whole systems on: the villin headpiece that comes with OpenMM.

    python -m scripts.systems.villin -o villin

writes the topology (`villin.pdb`, `system.xml`: ff14SB in TIP3P) and a classical trajectory
(`sampling.dcd`) of which `eqmm-datagen cut` makes training frames of a serine's side chain: there,
bonds to hydrogen vibrate, so that a model sees them stretched. Everywhere else they are rigid, with
heavy hydrogens, which changes where atoms go and not how often they are where.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import openmm
from openmm import app, unit

from eqmm_ase.progress_bar import ProgressBar
from scripts.common import argument_parser

SIDE_CHAIN = ("CB", "HB2", "HB3", "OG", "HG")
_TIMESTEP = 2.0  # fs


def protein(path: Path) -> tuple[app.PDBFile, openmm.System]:
    """Villin in its box, and a System with rigid water and rigid bonds to hydrogen."""
    pdb = app.PDBFile(str(path))
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    system = field.createSystem(
        pdb.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
        flexibleConstraints=True,
        hydrogenMass=3.0 * unit.dalton,
    )
    return pdb, system


def free_bonds(system: openmm.System, atoms: set[int]) -> None:
    """Let the bonds of some atoms vibrate; their harmonic terms are in the System already."""
    for number in reversed(range(system.getNumConstraints())):
        first, second, _ = system.getConstraintParameters(number)
        if {first, second} & atoms:
            system.removeConstraint(number)


def write_files(pdb: app.PDBFile | app.Modeller, system: openmm.System, topology: Path) -> None:
    """Topology as PDB, and beside it the System as ``system.xml``."""
    with topology.open("w", encoding="utf-8") as file:
        app.PDBFile.writeFile(pdb.topology, pdb.positions, file, keepIds=True)
    text = openmm.XmlSerializer.serialize(system)
    topology.with_name("system.xml").write_text(text, encoding="utf-8")


def sample(
    pdb: app.PDBFile | app.Modeller, system: openmm.System, options: argparse.Namespace
) -> None:
    """Classical dynamics; the file is finished under another name first."""
    integrator = openmm.LangevinMiddleIntegrator(
        options.temperature * unit.kelvin, 2.0 / unit.picosecond, _TIMESTEP * unit.femtosecond
    )
    integrator.setRandomNumberSeed(options.seed)
    platform = openmm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(pdb.topology, system, integrator, platform, {"Threads": "1"})
    simulation.context.setPositions(pdb.positions)
    simulation.minimizeEnergy(maxIterations=200)
    simulation.context.setVelocitiesToTemperature(options.temperature * unit.kelvin, options.seed)
    simulation.step(round(1000 * options.equilibration / _TIMESTEP))
    every = round(1000 * options.every / _TIMESTEP)
    unfinished = options.output / "unfinished.dcd"
    simulation.reporters.append(app.DCDReporter(str(unfinished), every, enforcePeriodicBox=False))
    with ProgressBar("sampling", "frames", options.frames) as bar:
        for number in range(options.frames):
            simulation.step(every)
            bar.update(number + 1)
    simulation.reporters.clear()  # closes the file
    unfinished.rename(options.output / "sampling.dcd")


def add_sampling_options(
    parser: argparse.ArgumentParser, *, frames: int, equilibration: float
) -> None:
    """What `sample` asks of its options, with these defaults."""
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--every", type=float, default=0.2, help="ps between frames")
    parser.add_argument("--equilibration", type=float, default=equilibration, help="ps")
    parser.add_argument("--temperature", type=float, default=330.0, help="K")
    parser.add_argument("--seed", type=int, default=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    add_sampling_options(parser, frames=200, equilibration=10.0)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    pdb, system = protein(Path(app.__file__).parent / "data" / "test.pdb")
    write_files(pdb, system, options.output / "villin.pdb")
    serine = next(r for r in pdb.topology.residues() if r.name == "SER")
    atoms = {atom.index for atom in serine.atoms() if atom.name in SIDE_CHAIN}
    print("ML region:", f"resid {serine.id} and name {' '.join(SIDE_CHAIN)}", flush=True)
    free_bonds(system, atoms)
    sample(pdb, system, options)


if __name__ == "__main__":
    main()
