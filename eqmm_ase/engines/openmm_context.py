"""OpenMM Contexts in Å and eV."""

from __future__ import annotations

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from eqmm_ase.arrays import FloatArray
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.units import KJ_PER_MOL

_PER_ANGSTROM = unit.kilojoule_per_mole / unit.angstrom


def new_context(
    system: openmm.System,
    platform: str,
    threads: int = 1,
    integrator: openmm.Integrator | None = None,
) -> openmm.Context:
    """A Context of a System.

    Parameters
    ----------
    platform
        ``Reference``, ``CPU``, ``CUDA`` …
    threads
        Of the platform ``CPU``.
    integrator
        None for one that only answers questions.

    Raises
    ------
    ValueError
        When OpenMM does not have the platform here.
    """
    known = [
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    ]
    if platform not in known:
        raise ValueError(
            f"OpenMM has no platform {platform!r} here; expected one of {', '.join(known)}"
        )
    # Sums in another order each time would make a run that goes on another run.
    deterministic = {"Threads": str(threads), "DeterministicForces": "true"}
    properties = deterministic if platform == "CPU" else {}
    integrator = openmm.VerletIntegrator(0.001) if integrator is None else integrator
    chosen = openmm.Platform.getPlatformByName(platform)
    try:
        return openmm.Context(system, integrator, chosen, properties)
    except openmm.OpenMMException as error:
        raise ValueError(f"OpenMM refuses the System: {short_reason(error)}") from error


def move_to(context: openmm.Context, positions: FloatArray, cell: FloatArray | None) -> None:
    """Set positions, (n, 3) Å, and the box, (3, 3) Å; virtual sites follow their parents."""
    if cell is not None:
        context.setPeriodicBoxVectors(*(np.asarray(cell) * unit.angstrom))
    context.setPositions(positions * unit.angstrom)
    context.computeVirtualSites()


def positions_of(context: openmm.Context) -> tuple[FloatArray, FloatArray | None]:
    """Positions, (n, 3) Å, and the box, (3, 3) Å, or None where the System is not periodic."""
    periodic = context.getSystem().usesPeriodicBoundaryConditions()
    return positions_in(context.getState(positions=True), periodic)


def positions_in(state: openmm.State, periodic: bool) -> tuple[FloatArray, FloatArray | None]:
    """Positions of a State, (n, 3) Å, and its box, (3, 3) Å, or None where nothing repeats."""
    positions = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    if not periodic:
        return positions, None
    vectors = state.getPeriodicBoxVectors(asNumpy=True)
    return positions, np.array(vectors.value_in_unit(unit.angstrom))


def energy_and_forces(
    context: openmm.Context, groups: set[int] | None = None
) -> tuple[float, FloatArray]:
    """Energy, eV, and forces on all particles, (n, 3) eV/Å; of some force groups, or of all."""
    which = {} if groups is None else {"groups": groups}
    state = context.getState(energy=True, forces=True, **which)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(_PER_ANGSTROM)
    return energy * KJ_PER_MOL, np.asarray(forces) * KJ_PER_MOL


def box_of(system: openmm.System) -> FloatArray | None:
    """The default box of a periodic System, (3, 3) Å; None without one."""
    if not system.usesPeriodicBoundaryConditions():
        return None
    vectors = system.getDefaultPeriodicBoxVectors()
    return np.array([vector.value_in_unit(unit.angstrom) for vector in vectors])


def real_particles(system: openmm.System) -> NDArray[np.int64]:
    """Rows of the particles that are no virtual sites."""
    n = system.getNumParticles()
    return np.array([i for i in range(n) if not system.isVirtualSite(i)], dtype=np.int64)
