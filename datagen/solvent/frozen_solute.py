"""Solvent that relaxes around a frozen solute, one geometry of it after the other.

The solute's atoms have no mass: OpenMM leaves them where they are put. Each geometry is turned
onto the one before, so that the solvent has to follow only what changed inside the molecule, and
the change is made in small steps while the solvent moves. A jump would put an ion onto a hydrogen,
which in water and alcohols has no repulsion of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from datagen.solvent.frozen_force_field import Sphere
from datagen.solvent.md import (
    TIME_STEP,
    Box,
    DynamicsError,
    Progress,
    Snapshots,
    advance,
    equilibrate_system,
    make_context,
    read_system,
    snapshot,
)
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.units import KCAL_PER_MOL, KJ_PER_MOL, NANOMETRE

FloatArray = NDArray[np.floating]

RIGID_TIME_STEP = 0.004
"""ps, where the solvent is rigid and the solute frozen: nothing vibrates."""

_MORPH_STEP = 0.05  # Å that an atom of the solute moves at most between two pushes
_PUSH = 4  # time steps between
_LEAST_PUSHES = 5


@dataclass(frozen=True, eq=False)
class FrozenGeometry:
    """What the solvent sees of the solute."""

    positions: FloatArray  # (n, 3) Å
    charges: FloatArray  # (n,) e
    spheres: tuple[Sphere, ...]


@dataclass(frozen=True)
class FrozenSchedule:
    """What the solvent does around each geometry."""

    temperature: float
    """K."""

    settling: float
    """ps around the first geometry before its relaxation begins."""

    relaxation: float
    """ps around each geometry."""

    seed: int
    platform: str | None = None
    time_step: float = TIME_STEP
    """ps."""

    def duration(self, n_geometries: int) -> float:
        """All of it, ps."""
        return self.settling + self.relaxation * n_geometries


def equilibrate_frozen(
    box: Box,
    geometry: FrozenGeometry,
    temperature: float,
    duration: float,
    seed: int,
    *,
    platform: str | None = None,
    progress: Progress = lambda _: None,
) -> Box:
    """Equilibrate the solvent around a frozen solute, as `datagen.solvent.md.equilibrate` does."""
    system = _frozen_system(box, geometry)
    return equilibrate_system(
        system, box, temperature, duration, seed, platform=platform, progress=progress
    )


def follow(
    box: Box,
    geometries: Sequence[FrozenGeometry],
    schedule: FrozenSchedule,
    progress: Progress = lambda _: None,
) -> Snapshots:
    """Let the solvent relax around one geometry after the other, at constant volume.

    Parameters
    ----------
    box
        Equilibrated around any geometry of the same molecule.
    geometries
        In an order in which neighbours resemble each other.
    schedule
        How long, how hot.
    progress
        Called with picoseconds as they pass.

    Returns
    -------
    Snapshots
        One a geometry.

    Raises
    ------
    DynamicsError
        When the system cannot be run or blows up.
    """
    system = _frozen_system(box, geometries[0])
    context = make_context(
        system, box, schedule.temperature, schedule.seed, schedule.platform, schedule.time_step
    )
    context.setVelocitiesToTemperature(schedule.temperature, schedule.seed)
    frames = []
    for number, geometry in enumerate(geometries):
        _morph(context, system, geometry)
        advance(context, schedule.relaxation + (schedule.settling if not number else 0.0), progress)
        frames.append(snapshot(context))
    return Snapshots(
        np.array([positions for positions, _ in frames]), np.array([cell for _, cell in frames])
    )


def turned_onto(positions: FloatArray, target: FloatArray) -> FloatArray:
    """Positions (n, 3) turned and shifted for the least squared distance from ``target``."""
    centred, centre = positions - positions.mean(axis=0), target.mean(axis=0)
    if len(positions) < 2:
        return centred + centre
    turn, _ = Rotation.align_vectors(target - centre, centred)
    return turn.apply(centred) + centre


def _frozen_system(box: Box, geometry: FrozenGeometry) -> Any:
    """The system without masses, forces and terms of the solute's own."""
    from openmm import NonbondedForce

    system, _ = read_system(box.prmtop)
    for index in reversed(range(system.getNumConstraints())):
        if min(system.getConstraintParameters(index)[:2]) < box.n_solute:
            system.removeConstraint(index)
    nonbonded = next(f for f in system.getForces() if isinstance(f, NonbondedForce))
    for atom in range(box.n_solute):
        system.setParticleMass(atom, 0.0)
        for other in range(atom):  # bonded atoms overlap: an energy that only costs digits
            nonbonded.addException(other, atom, 0.0, 1.0, 0.0, replace=True)
    _describe(nonbonded, geometry)
    return system


def _describe(nonbonded: Any, geometry: FrozenGeometry) -> None:
    for atom, (charge, sphere) in enumerate(zip(geometry.charges, geometry.spheres, strict=True)):
        nonbonded.setParticleParameters(
            atom,
            float(charge),
            sphere.sigma / NANOMETRE,
            sphere.depth * KCAL_PER_MOL / KJ_PER_MOL,
        )


def _morph(context: Any, system: Any, geometry: FrozenGeometry) -> None:
    """Bring the solute from where it is to a geometry, charges and spheres at once at the end."""
    from openmm import NonbondedForce, OpenMMException, unit

    nonbonded = next(f for f in system.getForces() if isinstance(f, NonbondedForce))
    n_solute = len(geometry.positions)
    start = _positions(context, unit)[:n_solute]
    end = turned_onto(geometry.positions, start)
    farthest = np.linalg.norm(end - start, axis=1).max()
    pushes = max(_LEAST_PUSHES, int(np.ceil(farthest / _MORPH_STEP)))
    for push in range(1, pushes + 1):
        positions = _positions(context, unit)
        positions[:n_solute] = start + (end - start) * (push / pushes)
        context.setPositions(positions / NANOMETRE)
        if push < pushes:
            try:
                context.getIntegrator().step(_PUSH)
            except OpenMMException as error:
                raise DynamicsError(
                    f"the molecular dynamics broke down: {short_reason(error)}"
                ) from error
    _describe(nonbonded, geometry)
    nonbonded.updateParametersInContext(context)


def _positions(context: Any, unit: Any) -> FloatArray:
    state = context.getState(getPositions=True)
    return np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
