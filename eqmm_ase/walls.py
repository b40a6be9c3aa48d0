"""Walls that keep QM atoms as far from MM charges as they were in training.

    E = k Σ_i Σ_k max(0, d_ik − r_ik)³

A QM/MM energy holds electrostatics only: in a real system Lennard-Jones repulsion keeps an atom
from falling onto a bare charge, where no model knows anything. Where its parameters are known, use
them (`eqmm_ase.lennard_jones`); where they are not, d_ik, the closest that an atom of this element
came to a charge of this sign in the training data, marks where the model's knowledge ends. Within
it walls change nothing, and at it they are twice continuously differentiable.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from eqmm_ase.domain import Domain, kind_of_pair

STIFFNESS = 40.0
"""eV/Å³. A hydrogen bond, pulling with 0.3 eV/Å, gets 0.05 Å into it."""


class TrainingWalls:
    """The walls as an ASE constraint, to be given to ``atoms.set_constraint``.

    Parameters
    ----------
    atoms
        The QM atoms.
    mm_charges, mm_positions
        (n_mm,) e and (n_mm, 3) Å; held in place.
    domain
        Of the model. A kind of pair it has not seen is kept at the closest of all.
    """

    def __init__(
        self, atoms: Atoms, mm_charges: ArrayLike, mm_positions: ArrayLike, domain: Domain
    ) -> None:
        charges = np.array(mm_charges, np.float64)
        felt = charges != 0.0
        self._sites = np.array(mm_positions, np.float64)[felt]
        signs = charges[felt]
        default = domain.closest_mm or 0.0
        self._reach = np.empty((len(atoms), len(signs)))  # d_ik
        for i, symbol in enumerate(atoms.symbols):
            negative, positive = (
                domain.closest.get(kind_of_pair(symbol, sign), default) for sign in (-1.0, 1.0)
            )
            self._reach[i] = np.where(signs < 0.0, negative, positive)

    def energy(self, atoms: Atoms) -> float:
        """Energy of the walls, eV; zero within the training data."""
        depth, _ = self._contacts(atoms)
        return float(STIFFNESS * (depth**3).sum())

    def adjust_potential_energy(self, atoms: Atoms) -> float:
        """What ASE adds to the energy."""
        return self.energy(atoms)

    def adjust_forces(self, atoms: Atoms, forces: NDArray[np.float64]) -> None:
        """Add the forces of the walls, in place."""
        depth, away = self._contacts(atoms)
        forces += 3.0 * STIFFNESS * np.einsum("ik,ikx->ix", depth**2, away)

    def adjust_positions(self, atoms: Atoms, new: NDArray[np.float64]) -> None:
        """Nothing: walls push, they do not hold."""

    def get_removed_dof(self, atoms: Atoms) -> int:
        """None."""
        return 0

    def _contacts(self, atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How deep each pair is in its wall, (n_qm, n_mm), and unit vectors out of it."""
        separation = atoms.positions[:, None] - self._sites
        distance = np.linalg.norm(separation, axis=2)
        return np.maximum(self._reach - distance, 0.0), separation / distance[..., None]
