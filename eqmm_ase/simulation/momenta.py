"""Momenta to start from, with or without motion of the molecule as a whole."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units


def draw_momenta(
    atoms: Atoms, temperature: float, rng: np.random.Generator, isolated: bool = False
) -> None:
    """Give atoms momenta of a Maxwell–Boltzmann distribution.

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
