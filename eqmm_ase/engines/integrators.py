"""Integrators of OpenMM for whole systems, by the names of their ensembles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import openmm
from openmm import unit

if TYPE_CHECKING:
    from eqmm_ase.engines.run_settings import SystemRunSettings


def _nve(settings: SystemRunSettings) -> openmm.Integrator:
    return openmm.VerletIntegrator(settings.timestep * unit.femtosecond)


def _langevin(settings: SystemRunSettings) -> openmm.Integrator:
    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature * unit.kelvin,
        settings.friction / unit.picosecond,
        settings.timestep * unit.femtosecond,
    )
    integrator.setRandomNumberSeed(settings.seed)
    return integrator


INTEGRATORS: Mapping[str, Callable[[SystemRunSettings], openmm.Integrator]] = {
    "nve": _nve,
    "langevin": _langevin,
}
"""Ensemble → its integrator; all but ``nve`` hold the temperature."""
