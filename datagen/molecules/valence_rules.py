"""How many bonds an atom lacks, by element, from its neighbours and the angles between them.

Bond orders: exp((r₀ − r)/0.32 Å) with r₀ the sum of covalent radii; 1.5 for benzene, 2.7 for
acetylene. Source of the form: Pauling, J. Am. Chem. Soc. 69, 542 (1947); of the radii: Cordero et
al., Dalton Trans. 2832 (2008).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

HALOGENS = (9, 17, 35, 53, 85)
NONMETALS = (1, 2, 5, 6, 7, 8, 10, 14, 15, 16, 18, 32, 33, 34, 36, 51, 52, 54, 86, *HALOGENS)

_DECAY = 0.32  # Å
_BENT = 150.0  # degrees; atoms between triple or cumulated bonds stay above it
_PYRAMIDAL = 345.0  # degrees, of the sum of three angles: 328 for sp3, 360 in a plane


@dataclass(frozen=True)
class Neighbour:
    """An atom that is bonded."""

    number: int
    order: float
    length: float  # Å
    coordination: int
    """Number of its own neighbours."""


@dataclass(frozen=True)
class Surroundings:
    """What an atom is bonded to."""

    neighbours: tuple[Neighbour, ...]
    angles: tuple[float, ...]  # degrees, between all pairs

    @property
    def order(self) -> float:
        """Sum of bond orders."""
        return sum(neighbour.order for neighbour in self.neighbours)


def surroundings(
    atom: int,
    partners: list[list[int]],
    numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
) -> Surroundings:
    """What an atom is bonded to.

    Parameters
    ----------
    atom
        Its row.
    partners
        Rows of the neighbours of every atom.
    numbers, positions
        Atomic numbers (n,) and positions (n, 3) in Å.
    """
    own = partners[atom]
    vectors = positions[own] - positions[atom]
    lengths = np.linalg.norm(vectors, axis=1)
    radii = covalent_radii[numbers[own]] + covalent_radii[numbers[atom]]
    orders = np.exp((radii - lengths) / _DECAY)
    units = vectors / np.maximum(lengths, 1e-9)[:, None]
    cosines = [float(units[a] @ units[b]) for a, b in combinations(range(len(own)), 2)]
    return Surroundings(
        tuple(
            Neighbour(int(numbers[j]), float(order), float(length), len(partners[j]))
            for j, order, length in zip(own, orders, lengths, strict=True)
        ),
        tuple(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))).tolist()),
    )


def _carbon(around: Surroundings) -> int:
    match len(around.neighbours):
        case 0:
            return 4
        case 1:
            (only,) = around.neighbours
            if only.number not in NONMETALS:
                return 0  # carbides and carbynes
            if only.number in (7, 8, 15, 16, 34) and only.order > 2.0:
                return 0  # CO, isocyanides, cyanide, CS: a lone pair
            return max(1, round(4 - only.order))
        case 2:
            if around.angles[0] > _BENT:
                return round(4 - around.order) if around.order < 2.6 else 0
            # 3.7: arynes and cycloalkynes are bent, with a short bond.
            return 0 if around.order > 3.7 else max(1, min(2, round(4 - around.order)))
        case 3:
            return int(sum(around.angles) < _PYRAMIDAL and around.order < 3.6)
        case _:
            return 0


def _silicon(around: Surroundings) -> int:
    n = len(around.neighbours)
    if n == 3:
        return int(sum(around.angles) < _PYRAMIDAL)
    return max(0, 4 - n) if around.order < 1.8 else 0


def _nitrogen(around: Surroundings) -> int:
    match len(around.neighbours):
        case 0:
            return 3
        case 1:
            (only,) = around.neighbours
            least = {6: 1.8, 7: 1.6, 8: 2.3, 16: 2.0}.get(only.number)
            if only.number == 1:
                return 2
            if least is None or only.order > least:
                return 0
            return max(1, min(2, round(3 - only.order)))
        case 2:
            # Amines have 2.1 without their hydrogen; amides 2.5, pyridine 3. Nitrites vary.
            is_single = all(each.order < 1.6 and each.number != 8 for each in around.neighbours)
            return int(around.angles[0] < _BENT and around.order < 2.3 and is_single)
        case _:
            return 0


def _phosphorus(around: Surroundings) -> int:
    match len(around.neighbours):
        case 0:
            return 3
        case 1:
            order = around.order
            return 0 if order > 1.8 else max(0, round(3 - order))
        case 2:
            return int(around.order < 2.45)
        case _:
            return 0


def _oxygen(around: Surroundings) -> int:
    if len(around.neighbours) != 1:
        return 2 if not around.neighbours else 0
    (only,) = around.neighbours
    if only.number not in NONMETALS:
        # M=O is a fifth shorter than the sum of radii, M–OH2 is longer.
        return 0 if only.order > 1.4 else 2
    is_single = {
        1: True,
        5: only.coordination == 3,
        6: only.order < 1.32,  # 1.33 Å: carboxylates and phenolates are shorter
        7: only.coordination < 4 and only.length > 1.36,  # N-oxides and nitroxides 1.28
        8: only.length > 1.38,
        14: only.coordination >= 4,
        16: only.coordination == 2 and only.length > 1.58,
        34: only.coordination == 2 and only.length > 1.72,
    }
    if only.number in HALOGENS:
        return int(only.coordination == 1)
    return int(is_single.get(only.number, False))


def _sulphur(around: Surroundings) -> int:
    if len(around.neighbours) != 1:
        return 2 if not around.neighbours else 0
    (only,) = around.neighbours
    is_single = {1: True, 6: only.order < 1.2, 16: only.length > 2.0, 34: only.order < 1.3}
    return int(is_single.get(only.number, False))


def _boron(around: Surroundings) -> int:
    n = len(around.neighbours)
    if n == 2:
        return int(around.order < 2.3 and around.angles[0] < _BENT)
    return max(0, 3 - n) if around.order < 1.8 else 0


RULES: Mapping[int, Callable[[Surroundings], int]] = MappingProxyType(
    {
        5: _boron,
        6: _carbon,
        7: _nitrogen,
        8: _oxygen,
        14: _silicon,
        15: _phosphorus,
        16: _sulphur,
        32: _silicon,
        33: _phosphorus,
        34: _sulphur,
    }
)
"""By atomic number; other elements are never said to lack anything."""
