"""The network as a force of OpenMM: positions in, energy and forces out, nm and kJ/mol there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import numpy as np
import openmm
from openmm import unit

from eqmm_ase.engines.openmm_context import move_to, positions_in, positions_of
from eqmm_ase.engines.system_potential import (
    SystemEnergy,
    SystemPotential,
    SystemPotentialError,
)
from eqmm_ase.periodic.cell import SiteOnAtomError
from eqmm_ase.uncertainty.contacts import ContactError
from eqmm_ase.units import KJ_PER_MOL, NANOMETRE

FORCE_NAME = "EqMM"
_WALL = 1e12  # kJ/mol, higher than anything a line search has seen
_DEEPEST = 100.0  # eV, more than surroundings at rest can give a region
_CONSTRAINED = 1e-5  # to which part constraints are kept

_LIVE: WeakValueDictionary[str, NetworkCallback] = WeakValueDictionary()
"""Callbacks by the names of their forces: OpenMM gives no way back from a force to its function.

Of copies of a System, the one asked last."""


class NetworkCallback:
    """Function that an `openmm.PythonForce` calls at every step; picklable with its System.

    Parameters
    ----------
    potential
        Of the whole system.
    periodic
        Whether the state has a box.
    name
        Of the force; unique.
    """

    def __init__(self, potential: SystemPotential, periodic: bool, name: str) -> None:
        self.potential, self.periodic, self.name = potential, periodic, name
        self.latest: SystemEnergy | None = None
        """Answer to the last question of the engine."""
        self.searching = False
        """Whether a minimiser tries steps: one into nonsense is then turned back by a wall."""
        self.guarded = False
        """Whether that wall also stands where charges are far closer than in training."""
        self.floor = -np.inf
        """eV; a minimiser that finds less energy in the region has left what the model knows."""
        _LIVE[name] = self

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces on all particles, (n, 3) kJ/mol/nm."""
        _LIVE[self.name] = self
        positions, cell = positions_in(state, self.periodic)
        if self.searching and self.guarded and self.potential.too_close(positions, cell):
            return _WALL, np.zeros_like(positions)
        try:
            found = self.potential(positions, cell)
        except (SystemPotentialError, ContactError, SiteOnAtomError):
            if not self.searching:
                raise
            return _WALL, np.zeros_like(positions)
        if self.searching and found.energy < self.floor:
            return _WALL, np.zeros_like(positions)
        self.latest = found
        return found.energy / KJ_PER_MOL, found.forces * (NANOMETRE / KJ_PER_MOL)

    def __getstate__(self) -> dict[str, Any]:
        return {"potential": self.potential, "periodic": self.periodic, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def minimise(context: openmm.Context, tolerance: float = 0.1) -> None:
    """Minimise the energy of all particles that have a mass, constraints kept.

    Parameters
    ----------
    context
        Of a System with a network.
    tolerance
        eV/Å, the root-mean-square force at which to stop.
    """
    callback, accepted = callback_of(context.getSystem()), _Accepted()
    start, cell = positions_of(context)
    # The first step of a search may be long, tear molecules apart, and lead to where the model's
    # energy has no bottom.
    callback.guarded = not callback.potential.too_close(start, cell)
    callback.searching, callback.latest, callback.floor = True, None, -np.inf
    try:
        begun = _energy(context)
        callback.floor = _floor(callback)
        openmm.LocalEnergyMinimizer.minimize(
            context,
            tolerance / KJ_PER_MOL * unit.kilojoule_per_mole / unit.angstrom,
            reporter=accepted,
        )
        # OpenMM leaves a search that fails at the step that it tried last.
        if not _energy(context) <= begun:
            move_to(context, start if accepted.last is None else accepted.last, cell)
            context.applyConstraints(_CONSTRAINED)
            context.computeVirtualSites()
    finally:
        callback.searching = False


class _Accepted(openmm.MinimizationReporter):
    """Positions after the last step that a minimiser accepted, (n, 3) Å."""

    last: np.ndarray | None = None

    def report(self, iteration: int, x: Any, grad: Any, args: Any) -> bool:
        """Keep them; the answer says to go on."""
        self.last = np.reshape(x, (-1, 3)) * NANOMETRE
        return False


def _floor(callback: NetworkCallback) -> float:
    return -np.inf if callback.latest is None else callback.latest.energy - _DEEPEST


def _energy(context: openmm.Context) -> float:
    state = context.getState(energy=True)
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))


def network_force(potential: SystemPotential, *, periodic: bool, group: int = 0) -> Any:
    """An `openmm.PythonForce` that adds the energy of an ML region in its surroundings."""
    name = f"{FORCE_NAME} {uuid4().hex[:8]}"
    force = openmm.PythonForce(NetworkCallback(potential, periodic, name))
    force.setName(name)
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setForceGroup(group)
    return force


def callback_of(system: openmm.System) -> NetworkCallback:
    """The live callback of a System that holds a network; its `latest` has all results.

    Raises
    ------
    ValueError
        When the System has none.
    """
    for name in _force_names(system):
        if (found := _LIVE.get(name)) is not None:
            return found
    raise ValueError("the System holds no network of EqMM")


def _force_names(system: openmm.System) -> Iterator[str]:
    """Of all forces, and of those that are terms of a CustomCVForce."""
    for force in system.getForces():
        yield force.getName()
        if isinstance(force, openmm.CustomCVForce):
            for number in range(force.getNumCollectiveVariables()):
                yield force.getCollectiveVariable(number).getName()
