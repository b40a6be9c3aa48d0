"""A bias that drags a reaction coordinate from one value to another while molecules move.

    E = k/2 (ζ − ζ₀)²

Dynamics at 300 K do not cross a barrier of an electronvolt; with ζ₀ moving evenly they do.
"""

from __future__ import annotations

from ase import Atoms
from numpy.typing import NDArray

from eqmm_ase.simulation.coordinate import Coordinate

STIFFNESS = 6.0
"""eV/Å²: ζ stays within 0.07 Å of its centre at 300 K."""


class SweptBias:
    """The bias as an ASE constraint, to be given to ``atoms.set_constraint``.

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
        return self.coordinate.restraint(atoms.positions, self.centre, STIFFNESS)[0]

    def adjust_forces(self, atoms: Atoms, forces: NDArray) -> None:
        """Add the forces of the bias, in place."""
        forces += self.coordinate.restraint(atoms.positions, self.centre, STIFFNESS)[1]

    def adjust_positions(self, atoms: Atoms, new: NDArray) -> None:
        """Nothing: the bias pulls, it does not hold."""

    def get_removed_dof(self, atoms: Atoms) -> int:
        """None."""
        return 0
