"""Classical molecular dynamics of a solvated molecule with OpenMM: equilibration, trajectories.

The solute is flexible, every bond of it: its geometries are what the potential will learn from.
Solvent bonds to hydrogen are rigid. The solute's hydrogens weigh 4 u, which changes no
configurational average but slows the fastest vibration enough for a step of 2.5 fs. Measured for
methanol in vacuo: potential energy 30.7(1) kJ/mol at 2 fs and at 3 fs with 4 u, 31.1(1) at 0.5 fs
and 30.6(2) at 1 fs with 1 u; the bonds' spreads agree to 3 %.

Ångström and picosecond outside; OpenMM's nanometre only between its calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.units import NANOMETRE

FloatArray = NDArray[np.floating]
Progress = Callable[[float], None]  # called with the picoseconds that were just done

TIME_STEP = 0.0025
"""ps."""

CUTOFF = 8.0
"""Å, of Lennard-Jones and of the real-space part of PME; the rest of Lennard-Jones is corrected."""

MINIMAL_REPEAT = 21.0
"""Å. Two cutoffs must fit into the smallest width of a truncated octahedron, 0.816 of its repeat,
and the pressure makes the box a little smaller."""

SETTLING = 0.5
"""ps at fixed volume before the pressure acts."""

_FRICTION = 3.0  # 1/ps; thermalises each vibration of the solute well within the decorrelation
_HYDROGEN_MASS = 4.0  # u
_PRESSURE = 1.0  # bar
_BAROSTAT_INTERVAL = 10  # steps; short because tleap's gaps have to close
_MINIMISATION_STEPS = 50
_CHUNK = 40  # steps between reports of progress


class DynamicsError(RuntimeError):
    """The trajectory blew up or OpenMM could not run it; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class Box:
    """A state of the whole system: what trajectories start from."""

    prmtop: Path
    n_solute: int
    positions: FloatArray  # (n, 3) Å
    cell: FloatArray  # (3, 3) Å


@dataclass(frozen=True)
class Schedule:
    """What one trajectory does."""

    temperature: float
    """K."""

    decorrelation: float
    """ps from the common start to the first frame, one interval excluded."""

    interval: float
    """ps between frames."""

    n_frames: int
    seed: int
    platform: str | None = None

    @property
    def duration(self) -> float:
        """All of it, ps."""
        return self.decorrelation + self.interval * self.n_frames


@dataclass(frozen=True, eq=False)
class Snapshots:
    """The frames of one trajectory, whole boxes."""

    positions: FloatArray  # (F, n, 3) Å
    cells: FloatArray  # (F, 3, 3) Å


def load_box(prmtop: Path, inpcrd: Path, n_solute: int) -> Box:
    """Read the box that tleap made."""
    from openmm import app, unit

    coordinates = app.AmberInpcrdFile(str(inpcrd))
    return Box(
        prmtop,
        n_solute,
        np.array(coordinates.getPositions(asNumpy=True).value_in_unit(unit.angstrom)),
        np.array([v.value_in_unit(unit.angstrom) for v in coordinates.getBoxVectors()]),
    )


def charges_and_residues(prmtop: Path) -> tuple[FloatArray, NDArray[np.integer]]:
    """MM charge (n,), e, and residue number (n,) of every site."""
    from openmm import NonbondedForce, unit

    system, topology = read_system(prmtop)
    nonbonded = next(f for f in system.getForces() if isinstance(f, NonbondedForce))
    charges = [
        nonbonded.getParticleParameters(i)[0].value_in_unit(unit.elementary_charge)
        for i in range(system.getNumParticles())
    ]
    return np.array(charges), np.array([atom.residue.index for atom in topology.atoms()])


def equilibrate(
    box: Box,
    temperature: float,
    duration: float,
    seed: int,
    *,
    platform: str | None = None,
    progress: Progress = lambda _: None,
) -> Box:
    """Minimise, warm up at fixed volume, then let the pressure find the density.

    Of the second half, the configuration whose volume is nearest to the mean is returned: a box
    of a few thousand atoms breathes by 1 %, and the trajectories run at the volume given to them.

    Parameters
    ----------
    box
        From `load_box`.
    temperature
        K.
    duration
        ps under pressure.
    seed
        Equal seeds give equal boxes on the CPU.
    platform
        OpenMM's name; the fastest that there is when None.
    progress
        Called with picoseconds as they pass.

    Raises
    ------
    DynamicsError
        When the system cannot be run or blows up.
    """
    system, _ = _build_system(box)
    return equilibrate_system(
        system, box, temperature, duration, seed, platform=platform, progress=progress
    )


def equilibrate_system(
    system: Any,
    box: Box,
    temperature: float,
    duration: float,
    seed: int,
    *,
    platform: str | None = None,
    progress: Progress = lambda _: None,
) -> Box:
    """What `equilibrate` does, for a system of the caller's own; a barostat is added to it."""
    from openmm import LocalEnergyMinimizer, MonteCarloBarostat, unit

    barostat = MonteCarloBarostat(_PRESSURE * unit.bar, temperature, 0)  # 0: not yet
    barostat.setRandomNumberSeed(seed)
    system.addForce(barostat)
    context = make_context(system, box, temperature, seed, platform)
    LocalEnergyMinimizer.minimize(context, maxIterations=_MINIMISATION_STEPS)
    context.setVelocitiesToTemperature(temperature, seed)
    advance(context, SETTLING, progress)

    barostat.setFrequency(_BAROSTAT_INTERVAL)
    context.reinitialize(preserveState=True)
    advance(context, duration / 2, progress)
    n_samples = max(1, round(duration / 2 / (_CHUNK * TIME_STEP)))
    states = []
    for _ in range(n_samples):
        advance(context, duration / 2 / n_samples, progress)
        states.append(snapshot(context))
    volumes = np.array([abs(np.linalg.det(cell)) for _, cell in states])
    positions, cell = states[int(np.argmin(abs(volumes - volumes.mean())))]
    return Box(box.prmtop, box.n_solute, positions, cell)


def run_trajectory(box: Box, schedule: Schedule, progress: Progress = lambda _: None) -> Snapshots:
    """Run one trajectory at constant volume from fresh velocities.

    Returns
    -------
    Snapshots
        ``schedule.n_frames`` of them, the first one interval after the decorrelation.

    Raises
    ------
    DynamicsError
        When the system cannot be run or blows up.
    """
    system, _ = _build_system(box)
    context = make_context(system, box, schedule.temperature, schedule.seed, schedule.platform)
    context.setVelocitiesToTemperature(schedule.temperature, schedule.seed)
    advance(context, schedule.decorrelation, progress)
    frames = []
    for _ in range(schedule.n_frames):
        advance(context, schedule.interval, progress)
        frames.append(snapshot(context))
    n_atoms = len(box.positions)
    return Snapshots(
        np.array([positions for positions, _ in frames]).reshape(-1, n_atoms, 3),
        np.array([cell for _, cell in frames]).reshape(-1, 3, 3),
    )


def fastest_platform() -> str:
    """Name of the quickest OpenMM platform of this machine."""
    from openmm import Platform

    platforms = [Platform.getPlatform(i) for i in range(Platform.getNumPlatforms())]
    return str(max(platforms, key=lambda platform: platform.getSpeed()).getName())


def read_system(prmtop: Path) -> tuple[Any, Any]:
    """OpenMM System with rigid solvent, and its topology."""
    from openmm import app, unit

    file = app.AmberPrmtopFile(str(prmtop))
    system = file.createSystem(
        nonbondedMethod=app.PME,
        nonbondedCutoff=CUTOFF * unit.angstrom,
        constraints=app.HBonds,
        rigidWater=True,
        flexibleConstraints=True,  # keeps the bond terms of the solute, freed below
    )
    return system, file.topology


def _build_system(box: Box) -> tuple[Any, Any]:
    """Free the solute's bonds and weigh its hydrogens down."""
    system, topology = read_system(box.prmtop)
    for index in reversed(range(system.getNumConstraints())):
        first, second, _ = system.getConstraintParameters(index)
        if first < box.n_solute and second < box.n_solute:
            system.removeConstraint(index)
    for atom in topology.atoms():
        if atom.index < box.n_solute and atom.element.atomic_number == 1:
            system.setParticleMass(atom.index, _HYDROGEN_MASS)
    return system, topology


def make_context(
    system: Any,
    box: Box,
    temperature: float,
    seed: int,
    platform_name: str | None,
    time_step: float = TIME_STEP,
) -> Any:
    """Everything ready to run."""
    import openmm

    integrator = openmm.LangevinMiddleIntegrator(temperature, _FRICTION, time_step)
    integrator.setRandomNumberSeed(seed)
    name = platform_name or fastest_platform()
    # One thread: on two, equal seeds gave different trajectories even with deterministic forces,
    # and trajectories side by side use a machine better than one on all of its cores.
    properties = {"Threads": "1", "DeterministicForces": "true"} if name == "CPU" else {}
    try:
        platform = openmm.Platform.getPlatform(name)
        context = openmm.Context(system, integrator, platform, properties)
    except openmm.OpenMMException as error:
        raise DynamicsError(
            f"OpenMM cannot run on platform {name!r}: {short_reason(error)}"
        ) from error
    context.setPeriodicBoxVectors(*(box.cell / NANOMETRE))
    context.setPositions(box.positions / NANOMETRE)
    return context


def advance(context: Any, duration: float, progress: Progress) -> None:
    """Integrate in short runs, so that progress shows and an interrupt is heard."""
    from openmm import OpenMMException, unit

    time_step = context.getIntegrator().getStepSize().value_in_unit(unit.picosecond)
    waiting = round(duration / time_step)
    while waiting:
        steps = min(waiting, _CHUNK)
        try:
            context.getIntegrator().step(steps)
        except OpenMMException as error:
            raise DynamicsError(
                f"the molecular dynamics broke down: {short_reason(error)}"
            ) from error
        waiting -= steps
        progress(steps * time_step)


def snapshot(context: Any) -> tuple[FloatArray, FloatArray]:
    """Positions and lattice vectors, Å; refuses a state that is not a number."""
    from openmm import unit

    state = context.getState(getPositions=True, getEnergy=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    positions = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    if not (np.isfinite(energy) and np.isfinite(positions).all()):
        raise DynamicsError(f"the molecular dynamics broke down: the energy became {energy} kJ/mol")
    return positions, np.array(
        state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
    )
