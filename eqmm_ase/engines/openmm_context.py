"""OpenMM Contexts in Å and eV."""

from __future__ import annotations

import numpy as np
import openmm
from ase.cell import Cell
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


def reduced_box(cell: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A box in the form that OpenMM wants, and the rotation into it.

    Parameters
    ----------
    cell
        Lattice vectors as rows, (3, 3) Å, turned in any way, of either hand.

    Returns
    -------
    box
        (3, 3) Å, vectors of the same lattice, turned: lower triangular, its diagonal positive, and
        each vector at most half of the ones before it along their axes.
    rotation
        (3, 3), proper: ``positions @ rotation`` stand in `box` as positions did in `cell`.
    """
    lower, back = Cell(cell).standard_form()
    # Of a left-handed cell the diagonal is negative; −a, −b, −c span the same lattice.
    box = lower.array * np.sign(np.diag(lower))[:, None]
    for row, axis in ((2, 1), (2, 0), (1, 0)):
        box[row] -= np.round(box[row, axis] / box[axis, axis]) * box[axis]
        if 2.0 * abs(box[row, axis]) > box[axis, axis]:  # by rounding, which OpenMM refuses
            box[row] -= np.sign(box[row, axis]) * box[axis]
    return box, np.asarray(back).T


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
