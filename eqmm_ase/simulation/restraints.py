"""Restraints on molecules that move in charges that do not.

Contact restraints keep QM atoms as far from MM charges as they were in training:

    E = k Σ_i Σ_k max(0, d_ik − r_ik)³

A QM/MM energy holds electrostatics only: in a real system Lennard-Jones repulsion keeps an atom
from falling onto a bare charge, where no model knows anything. Where its parameters are known, use
them (`eqmm_ase.simulation.lennard_jones`); where they are not, d_ik, the closest that an atom of
this element came to a charge of this sign in the training data, marks where the model's knowledge
ends. Within it the restraints change nothing, and at it they are twice continuously differentiable.

    >>> atoms.calc.embed(mm_charges, mm_positions)                            # doctest: +SKIP
    >>> restraints = ContactRestraints(atoms, mm_charges, mm_positions, atoms.calc.domain)
    ... # doctest: +SKIP
    >>> atoms.set_constraint(restraints)                                      # doctest: +SKIP
    >>> restraints.energy(atoms)      # after a relaxation: eV, 0 where none is touched
    ... # doctest: +SKIP

A moving restraint takes a reaction coordinate ζ from one value to another:

    E = k/2 (ζ − ζ₀)²

Dynamics at 300 K do not cross a barrier of an electronvolt; with ζ₀ moving evenly they do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.checks import distances_to_charges, mm_positions, point_charges
from eqmm_ase.periodic.cell import near_images
from eqmm_ase.simulation.coordinate import Coordinate
from eqmm_ase.uncertainty.contacts import closest_in_training
from eqmm_ase.uncertainty.domain import Domain

STIFFNESS = 40.0
"""eV/Å³, of contacts. A hydrogen bond, pulling with 0.3 eV/Å, gets 0.05 Å into it."""
COORDINATE_STIFFNESS = 6.0
"""eV/Å²: ζ stays within 0.07 Å of its centre at 300 K."""


class _Restraint:
    """What ASE asks of every constraint, of one that adds to energy and forces only."""

    def adjust_positions(self, atoms: Atoms, new: NDArray[np.float64]) -> None:
        """Nothing: restraints push, they do not hold."""

    def get_removed_dof(self, atoms: Atoms) -> int:
        """None."""
        return 0


class ContactRestraints(_Restraint):
    """Repulsive restraints that keep QM atoms at the distances from MM charges seen in training.

    An ASE constraint, for ``atoms.set_constraint``: ASE adds its energy and forces to those of the
    calculator, for optimisers, dynamics and every NEB image. Files do not keep it. It is not
    derived from ``FixConstraint``, because that would project momenta too.

    Parameters
    ----------
    atoms
        QM atoms; only elements and count are used.
    charges, positions
        (n_mm,) e and (n_mm, 3) Å, of MM charges that stay in place.
    cell
        Lattice vectors of their periodic box, (3, 3) Å, whose images count too; None: no images.
    domain
        ``calculator.domain``, which holds the shortest distances in the training data. For a pair
        of element and sign of the charge that is not among them, the shortest distance of any pair
        is used; without stored distances there are no restraints.

    Raises
    ------
    ValueError
        Wrong shapes, NaN, or charges too large to be in e.
    """

    def __init__(
        self,
        atoms: Atoms,
        charges: ArrayLike,
        positions: ArrayLike,
        domain: Domain,
        *,
        cell: FloatArray | None = None,
    ) -> None:
        signs = point_charges(charges)
        felt = signs != 0.0
        self._sites = mm_positions(positions, len(signs))[felt]
        self._signs = signs[felt]
        self._reach = closest_in_training(atoms.numbers, self._signs, domain)  # d_ik
        self._cell = None if cell is None else np.array(cell)

    def energy(self, atoms: Atoms) -> float:
        """Energy of the restraints, eV; zero within the training data."""
        depth, _ = self._contacts(atoms)
        return float(STIFFNESS * (depth**3).sum())

    def adjust_potential_energy(self, atoms: Atoms) -> float:
        """What ASE adds to the energy."""
        return self.energy(atoms)

    def adjust_forces(self, atoms: Atoms, forces: NDArray[np.float64]) -> None:
        """Add the forces of the restraints, in place."""
        depth, away = self._contacts(atoms)
        forces += 3.0 * STIFFNESS * np.einsum("ik,ikx->ix", depth**2, away)

    def repeat(self, m: int, n: int) -> None:
        """Refused: there is one set of charges."""
        raise ValueError("take ContactRestraints away by atoms.set_constraint() to repeat atoms")

    def index_shuffle(self, atoms: Atoms, ind: Sequence[int]) -> None:
        """Keep the rows of atoms that are left or put in another order."""
        self._reach = self._reach[ind]

    @property
    def todict(self) -> None:
        """Not there: ASE's trajectories then leave the restraints out, and its databases refuse.

        A file would have to bring back the charges, and ASE reads its own constraints only.
        """
        raise AttributeError(
            "files do not keep ContactRestraints: write atoms whose constraints were taken away "
            "by atoms.set_constraint()"
        )

    def _contacts(self, atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How deep each pair is in its restraint, (n_qm, n_mm), and unit vectors out of it.

        In a box the images that may be near stand in the place of the charges.
        """
        if len(atoms) != len(self._reach):
            raise ValueError(
                f"the restraints are of {len(self._reach)} atoms, but there are {len(atoms)}"
            )
        sites, signs, reach = self._sites, self._signs, self._reach
        if self._cell is not None and reach.size:
            near, sites = near_images(atoms.positions, sites, self._cell, float(reach.max()))
            signs, reach = signs[near], reach[:, near]
        # On a charge there is no direction away from it.
        distances_to_charges(atoms.positions, atoms.numbers, sites, signs)
        separation = atoms.positions[:, None] - sites
        distance = np.linalg.norm(separation, axis=2)
        return np.maximum(reach - distance, 0.0), separation / distance[..., None]


class MovingRestraint(_Restraint):
    """ASE constraint that moves a reaction coordinate evenly between two values.

    Parameters
    ----------
    coordinate
        ζ.
    begin, end
        Å, where ζ₀ starts and stops.
    """

    def __init__(self, coordinate: Coordinate, begin: float, end: float) -> None:
        self.coordinate, self.begin, self.end = coordinate, begin, end
        self.centre = begin
        """ζ₀, Å."""

    def move(self, share: float) -> None:
        """Put the centre so far on its way, from 0 to 1."""
        self.centre = self.begin + share * (self.end - self.begin)

    def adjust_potential_energy(self, atoms: Atoms) -> float:
        """What ASE adds to the energy."""
        return self.coordinate.restraint(atoms.positions, self.centre, COORDINATE_STIFFNESS)[0]

    def adjust_forces(self, atoms: Atoms, forces: NDArray[np.float64]) -> None:
        """Add the forces of the restraint, in place."""
        forces += self.coordinate.restraint(atoms.positions, self.centre, COORDINATE_STIFFNESS)[1]
