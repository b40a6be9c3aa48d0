"""The solute in a droplet of moving water: OpenMM, with the model as a `PythonForce`.

Around carbon, which a weak spring holds at the origin, lie the waters of the frame whose oxygens
are within the radius of the droplet. They are rigid TIP3P; their oxygens feel a harmonic wall 1 Å
beyond that radius, and nothing before. All pairs interact, without a cutoff. Of the solute, OpenMM
knows Lennard-Jones with the oxygens and no charges: what acts between its atoms, and between them
and the charges of water, is the model's energy, with its forces on both. BAOAB-like Langevin
dynamics (``LangevinMiddleIntegrator``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.io.trajectory import Trajectory
from openmm import unit

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.units import KCAL_PER_MOL, KJ_PER_MOL, NANOMETRE
from scripts.stability.nvt_records import (
    Driver,
    ExplodedError,
    Monitor,
    Record,
    Records,
    kinetic_temperature,
)
from scripts.stability.nvt_settings import RunSettings
from scripts.stability.nvt_start import (
    CARBON,
    CHLORINES,
    WALL_START,
    WALL_STIFFNESS,
    WATER_EPSILON,
    WATER_SIGMA,
    FloatArray,
    Start,
)

CENTRE_STIFFNESS = 0.5 * KCAL_PER_MOL
"""eV/Å², of the spring that holds carbon; RT at 350 K moves it by 1.2 Å."""
SURFACE_GAP = 1.0
"""Å between the outermost oxygens at the start and the wall."""
SURFACE_STIFFNESS = 1.0 * KCAL_PER_MOL
"""eV/Å²."""
MODEL_GROUP = 1
"""Force group of the model; everything classical is in group 0."""
_OH, _HH = 0.9572, 1.5139  # Å, TIP3P
_N_QM = 6
_SPRING = KJ_PER_MOL / NANOMETRE**2  # eV/Å² per kJ/mol/nm²


class ModelForce:
    """Energy and forces of the model on the solute and all charges, for ``openmm.PythonForce``.

    Parameters
    ----------
    driver
        With the charges embedded.
    atoms
        The solute; it is moved along.
    monitor
        Looks at every evaluation; None for none.
    """

    def __init__(self, driver: Driver, atoms: Atoms, monitor: Monitor | None = None) -> None:
        self._calculator = driver.calculator
        self.atoms = atoms
        self._monitor = monitor

    def __call__(self, state: Any) -> tuple[float, FloatArray]:
        """kJ/mol and (n, 3) kJ/mol/nm for the positions of a State; moves solute and charges there.

        Raises
        ------
        ExplodedError
            Of which OpenMM passes on the sentence.
        """
        positions = positions_of(state)
        self.atoms.positions = positions[:_N_QM]
        try:
            self._calculator.point_charges.set_positions(positions[_N_QM:])
            energy = self._calculator.get_potential_energy(self.atoms)
        # The start was fine: a structure without an energy is what the run has come to.
        except (ValueError, CalculationFailed) as error:
            raise ExplodedError(f"the run exploded: {error}") from error
        forces = np.concatenate(
            [self._calculator.get_forces(self.atoms), self._calculator.mm_forces]
        )
        if self._monitor is not None:
            self._monitor.look(positions[:_N_QM], forces[:_N_QM])
        return energy / KJ_PER_MOL, forces * (NANOMETRE / KJ_PER_MOL)


def positions_of(state: Any) -> FloatArray:
    """(n, 3), Å."""
    return np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)) * NANOMETRE


class Droplet(NamedTuple):
    """Everything ready to run."""

    context: Any
    masses: FloatArray
    """(n,), amu."""
    n_constraints: int
    force: ModelForce


def droplet_waters(start: Start, radius: float) -> FloatArray:
    """The waters (n, 3, 3) within the radius of the origin, Å."""
    return start.waters[np.linalg.norm(start.waters[:, 0], axis=1) <= radius]


def make_droplet(
    start: Start, driver: Driver, settings: RunSettings, monitor: Monitor | None = None
) -> Droplet:
    """Build the system at its start, without velocities; embeds the charges in the driver."""
    waters = droplet_waters(start, settings.radius)
    driver.embed(np.tile(start.charges, len(waters)), waters.reshape(-1, 3))
    atoms = start.atoms.copy()
    force = ModelForce(driver, atoms, monitor)
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    for number in range(len(waters)):
        oxygen = _N_QM + 3 * number
        for mass in (15.999, 1.008, 1.008):
            system.addParticle(mass)
        system.addConstraint(oxygen, oxygen + 1, _OH / NANOMETRE)
        system.addConstraint(oxygen, oxygen + 2, _OH / NANOMETRE)
        system.addConstraint(oxygen + 1, oxygen + 2, _HH / NANOMETRE)
    model = openmm.PythonForce(force)
    model.setForceGroup(MODEL_GROUP)
    system.addForce(model)
    for classical in (_nonbonded(start, len(waters)), *_restraints(settings, len(waters))):
        system.addForce(classical)
    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature, settings.friction, settings.timestep / 1000
    )
    integrator.setRandomNumberSeed(settings.seed)
    # One thread and fixed order: a run that goes on is the one that was never stopped.
    cpu = {"Threads": "1", "DeterministicForces": "true"}
    platform = openmm.Platform.getPlatform(settings.platform)
    context = openmm.Context(
        system, integrator, platform, cpu if settings.platform == "CPU" else {}
    )
    context.setPositions(np.concatenate([atoms.positions, waters.reshape(-1, 3)]) / NANOMETRE)
    context.applyConstraints(1e-6)
    masses = [
        system.getParticleMass(i).value_in_unit(unit.dalton)
        for i in range(system.getNumParticles())
    ]
    return Droplet(context, np.array(masses), system.getNumConstraints(), force)


def _nonbonded(start: Start, n_waters: int) -> Any:
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    for sigma, epsilon in zip(start.sigma, start.epsilon, strict=True):
        force.addParticle(0.0, sigma / NANOMETRE, epsilon / KJ_PER_MOL)
    for _ in range(n_waters):
        oxygen, *hydrogens = start.charges
        force.addParticle(oxygen, WATER_SIGMA / NANOMETRE, WATER_EPSILON / KJ_PER_MOL)
        for charge in hydrogens:
            force.addParticle(charge, 0.1, 0.0)
    molecules = [range(_N_QM)]
    molecules += [range(i, i + 3) for i in range(_N_QM, _N_QM + 3 * n_waters, 3)]
    for molecule in molecules:
        for first in molecule:
            for second in range(first + 1, molecule.stop):
                force.addException(first, second, 0.0, 0.1, 0.0)
    return force


def _restraints(settings: RunSettings, n_waters: int) -> tuple[Any, Any, Any]:
    parts = openmm.CustomBondForce("0.5*k*max(0, r-r0)^2")
    parts.addGlobalParameter("k", WALL_STIFFNESS / _SPRING)
    parts.addGlobalParameter("r0", WALL_START / NANOMETRE)
    for chlorine in CHLORINES:
        parts.addBond(CARBON, chlorine)
    centre = openmm.CustomExternalForce("0.5*kc*(x*x+y*y+z*z)")
    centre.addGlobalParameter("kc", CENTRE_STIFFNESS / _SPRING)
    centre.addParticle(CARBON)
    surface = openmm.CustomExternalForce("0.5*ks*max(0, sqrt(x*x+y*y+z*z)-rs)^2")
    surface.addGlobalParameter("ks", SURFACE_STIFFNESS / _SPRING)
    surface.addGlobalParameter("rs", (settings.radius + SURFACE_GAP) / NANOMETRE)
    for number in range(n_waters):
        surface.addParticle(_N_QM + 3 * number)
    return parts, centre, surface


def run_moving(
    start: Start,
    settings: RunSettings,
    steps: int,
    folder: Path,
    report: Callable[[Record], None],
) -> None:
    """Run up to so many steps in all, or go on from the last checkpoint.

    Raises
    ------
    openmm.OpenMMException
        The run exploded (`Monitor`), or OpenMM cannot run it.
    """
    driver = Driver(settings.model, settings.member, settings.dtype)
    monitor = Monitor(driver, settings.temperature, settings.timestep, settings.every)
    droplet = make_droplet(start, driver, settings, monitor)
    context = droplet.context
    checkpoint = folder / "checkpoint"
    resume = checkpoint.exists()
    if resume:
        context.loadCheckpoint(checkpoint.read_bytes())
    else:
        context.setVelocitiesToTemperature(settings.temperature, settings.seed)
    done = context.getStepCount() if resume else -1
    records = Records(folder / "records.jsonl", done)
    water = Atoms("OHH" * (len(droplet.masses) // 3 - 2))
    with Trajectory(folder / "images.traj", "a" if resume else "w") as images:
        try:
            while done < steps:
                if done >= 0:
                    context.getIntegrator().step(settings.every)
                done = context.getStepCount()
                record, positions = _look(droplet, monitor, done)
                records.add(record)
                water.positions = positions[_N_QM:]
                image = droplet.force.atoms + water
                image.info["md"] = {"step": done}
                images.write(image)
                with atomic_path(checkpoint) as path:
                    path.write_bytes(context.createCheckpoint())
                report(record)
        finally:
            records.close()


def _look(droplet: Droplet, monitor: Monitor, step: int) -> tuple[Record, FloatArray]:
    state = droplet.context.getState(getPositions=True, getVelocities=True)
    droplet.force(state)
    positions = positions_of(state)
    velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
    kinetic = 0.5 * droplet.masses * (np.asarray(velocities) ** 2).sum(axis=1) * KJ_PER_MOL
    freedom = 3 * len(droplet.masses) - droplet.n_constraints
    record = monitor.record(
        step,
        droplet.force.atoms,
        positions[_N_QM:],
        kinetic_temperature(float(kinetic[:_N_QM].sum()), 3 * _N_QM),
        kinetic_temperature(float(kinetic.sum()), freedom),
    )
    return record, positions
