"""Ensembles of molecular dynamics: integrators and thermostats by name, and what defines a run.

A new ensemble is a function that makes ASE's integrator, and a row of `ENSEMBLES`: settings are
checked by that table, and `eqmm md` takes its choices from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from eqmm_ase.settings_help import with_help
from eqmm_ase.simulation.relax import RunError, require_positive


@dataclass(frozen=True)
class Ensemble:
    """Ensemble of molecular dynamics: its integrator or thermostat."""

    make: Callable[[Atoms, MDSettings, np.random.Generator], MolecularDynamics]
    """The integrator; its ``transferred_energy``, where it has one, is that given to the atoms by
    the thermostat, eV. All its random numbers must come from the generator, so that a run can be
    resumed."""
    own_settings: tuple[str, ...] = ()
    """Fields of `MDSettings` that no other ensemble has."""
    conserves: bool = True
    """Whether total less transferred energy stays the same: then its drift is told."""
    keeps_rest: bool = True
    """Whether a molecule that neither moves nor turns as a whole stays so."""


def _nve(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> VelocityVerlet:
    return VelocityVerlet(atoms, settings.timestep * units.fs)


def _langevin(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> Langevin:
    return Langevin(
        atoms,
        settings.timestep * units.fs,
        temperature_K=settings.temperature,
        friction=settings.friction / (1000 * units.fs),
        fixcm=False,
        rng=rng,
    )


def _bussi(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> Bussi:
    timestep, coupling_time = settings.timestep * units.fs, settings.coupling_time * units.fs
    thermostat = Bussi(atoms, timestep, settings.temperature, coupling_time, rng=rng)
    # Scaling velocities never sets a resting molecule in motion: it has fewer degrees of freedom
    # than ASE counts, and would be kept too hot.
    thermostat.ndof = degrees_of_freedom(atoms, settings.rests_as_a_whole)
    thermostat.target_kinetic_energy = 0.5 * thermostat.temp * thermostat.ndof
    return thermostat


ENSEMBLES: dict[str, Ensemble] = {
    "nve": Ensemble(_nve),
    # Random forces set the molecule in motion, and nobody adds up their work.
    "langevin": Ensemble(_langevin, ("friction",), conserves=False, keeps_rest=False),
    "bussi": Ensemble(_bussi, ("coupling_time",)),
}


@with_help
@dataclass(frozen=True)
class MDSettings:
    """Settings of molecular dynamics: ensemble, temperature, time step, thermostat, seed."""

    ensemble: str = field(default="nve", metadata={"choices": ENSEMBLES})
    """Integrator and thermostat."""
    temperature: float = 300.0
    """K; for NVE, of the velocities it starts from."""
    timestep: float = 0.5
    """fs."""
    friction: float = 10.0
    """1/ps, for Langevin."""
    coupling_time: float = 100.0
    """fs, for Bussi."""
    isolated: bool = False
    """No external charges: the molecule as a whole neither moves nor turns (not with Langevin)."""
    seed: int = 0
    """Of velocities and thermostat."""

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise RunError(f"ensemble must be one of {', '.join(ENSEMBLES)}, got {self.ensemble!r}")
        require_positive(
            timestep=self.timestep,
            temperature=self.temperature,
            friction=self.friction,
            coupling_time=self.coupling_time,
        )

    @property
    def rests_as_a_whole(self) -> bool:
        """Whether the molecule neither moves nor turns as a whole."""
        return self.isolated and ENSEMBLES[self.ensemble].keeps_rest


def draw_momenta(
    atoms: Atoms, temperature: float, rng: np.random.Generator, isolated: bool = False
) -> None:
    """Draw momenta of a Maxwell–Boltzmann distribution and give them to the atoms.

    Parameters
    ----------
    temperature
        K.
    isolated
        Without translation and rotation of the whole. What is left has the temperature.
    """
    width = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * width[:, None])
    if isolated:
        _stop_rigid_motion(atoms)


def degrees_of_freedom(atoms: Atoms, isolated: bool) -> int:
    """Number of moving degrees of freedom; `isolated`: without translation and rotation."""
    if not isolated:
        return int(atoms.get_number_of_degrees_of_freedom())
    return 3 * len(atoms) - int(np.linalg.matrix_rank(_rigid_motions(atoms), tol=1e-6))


def _rigid_motions(atoms: Atoms) -> np.ndarray:
    """Mass-weighted displacements of translations and rotations, (3 n, 6)."""
    arms = atoms.positions - atoms.get_center_of_mass()
    root = np.sqrt(atoms.get_masses())[:, None]
    fields = [np.broadcast_to(axis, arms.shape) for axis in np.eye(3)]
    fields += [np.cross(axis, arms) for axis in np.eye(3)]
    return np.stack([(root * field).ravel() for field in fields], axis=1)


def _stop_rigid_motion(atoms: Atoms) -> None:
    # A projection instead of angular velocities: it also holds for linear molecules and atoms.
    u, s, _ = np.linalg.svd(_rigid_motions(atoms), full_matrices=False)
    u = u[:, s > 1e-6 * s.max()]
    root = np.sqrt(atoms.get_masses())[:, None]
    weighted = (atoms.get_momenta() / root).ravel()
    atoms.set_momenta((weighted - u @ (u.T @ weighted)).reshape(-1, 3) * root)
