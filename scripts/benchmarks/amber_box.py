"""Cubic boxes of water from tleap and short trajectories from OpenMM, for the showcases."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from eqmm_ase.atomic_write import atomic_path

_TEMPERATURE = 300.0  # K
_TIME_STEP = 0.002  # ps
_SEED = 1


def build(solute: Sequence[str], buffer: float, folder: Path) -> None:
    """Write system.prmtop and system.inpcrd: a solute in a cubic box of TIP3P water.

    Parameters
    ----------
    solute
        Lines for tleap that define the unit ``solute``.
    buffer
        Å of water on each side, before the pressure closes the gaps that tleap leaves.
    folder
        Where to write, and where files named in the lines are.
    """
    script = (
        "source leaprc.water.tip3p",
        *solute,
        f"solvateBox solute TIP3PBOX {buffer} iso",
        "saveAmberParm solute system.prmtop system.inpcrd",
        "quit",
    )
    (folder / "leap.in").write_text("\n".join(script) + "\n", encoding="utf-8")
    command = ["tleap", "-f", "leap.in"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def simulate(
    folder: Path, trajectory: Path, equilibration: float, frames: int, every: float
) -> None:
    """Molecular dynamics at 300 K, first at 1 bar, then at constant volume.

    Parameters
    ----------
    folder
        Holds what `build` wrote.
    trajectory
        ``.nc`` or ``.dcd``, written completely or not at all.
    equilibration
        ps at constant pressure.
    frames, every
        How many to keep, and how many ps apart.
    """
    import openmm
    import parmed.openmm
    from openmm import app, unit

    topology = app.AmberPrmtopFile(str(folder / "system.prmtop"))
    start = app.AmberInpcrdFile(str(folder / "system.inpcrd"))
    system = topology.createSystem(
        nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer, constraints=app.HBonds
    )
    barostat = openmm.MonteCarloBarostat(1.0 * unit.bar, _TEMPERATURE, 10)
    barostat.setRandomNumberSeed(_SEED)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(_TEMPERATURE, 3.0, _TIME_STEP)
    integrator.setRandomNumberSeed(_SEED)
    platform = openmm.Platform.getPlatform("CPU")
    simulation = app.Simulation(topology.topology, system, integrator, platform, {"Threads": "1"})
    simulation.context.setPositions(start.positions)
    simulation.context.setPeriodicBoxVectors(*start.boxVectors)
    simulation.minimizeEnergy(maxIterations=100)
    simulation.context.setVelocitiesToTemperature(_TEMPERATURE, _SEED)
    simulation.step(round(equilibration / _TIME_STEP))
    barostat.setFrequency(0)
    simulation.context.reinitialize(preserveState=True)
    steps = round(every / _TIME_STEP)
    with atomic_path(trajectory) as temporary:
        reporter = (
            parmed.openmm.NetCDFReporter(str(temporary), steps)
            if trajectory.suffix == ".nc"
            else app.DCDReporter(str(temporary), steps)
        )
        simulation.reporters.append(reporter)
        simulation.step(frames * steps)
        if trajectory.suffix == ".nc":
            reporter.finalize()
        del reporter
        simulation.reporters.clear()
