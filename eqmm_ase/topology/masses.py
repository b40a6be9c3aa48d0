"""Which elements the mass of an atom can stand for, when hydrogens may have taken mass over.

Hydrogen mass repartitioning moves mass from an atom to the hydrogens bonded to it, so that longer
time steps are stable; the sum over an atom and its hydrogens stays. Hopkins, Le Grand, Walker,
Roitberg, J. Chem. Theory Comput. 11, 1864 (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eqmm_ase.arrays import FloatArray

IntArray = NDArray[np.integer]

_HYDROGEN = 1.008  # u
_HEAVIEST_HYDROGEN = 4.6
"""u. Repartitioning makes hydrogens of 1.5 to 4 u; helium has no bonds, lithium 6.94 u."""

_SMALLEST = 0.5  # u; less is no mass that an element has
_TOLERANCE = 0.15  # u; force fields round, and repartitioning tools round again
_METAL_TOLERANCE = 1.0  # u; AMBER has iron of 55.0 u
_LAST_LIGHT = 18
_SURE_TOLERANCE = 0.05  # u
_BEADS = (36.0, 45.0, 54.0, 72.0)  # u, of the Martini force fields; scandium has 44.956 u
_UNITED_TOLERANCE = 0.06  # u
_CARBON = float(atomic_masses[6])
_CARBON_13 = 13.00335


@dataclass(frozen=True, eq=False)
class MassEvidence:
    """What masses and bonds say about each site."""

    partners: list[list[int]]  # atoms bonded to each
    elements: list[frozenset[int] | None]
    """Elements that the mass fits; None where there is no mass to go by."""

    restored: FloatArray
    """(n,) u, the mass before any repartitioning."""

    missing_hydrogens: IntArray
    """(n,) hydrogens that a united atom of this mass stands for, such as 3 for CH3 of 15 u."""


def mass_evidence(masses: FloatArray, bonds: IntArray) -> MassEvidence:
    """Elements by mass, with any repartitioning undone.

    An atom of a molecule has been repartitioned, or its hydrogens are isotopes: of both readings
    those are dropped under which some atom of the molecule fits no element.

    Parameters
    ----------
    masses : (n,)
        u; 0 or NaN where the file has none.
    bonds : (n_bonds, 2)
        Between atoms.
    """
    n = len(masses)
    masses = np.nan_to_num(masses)
    partners: list[list[int]] = [[] for _ in range(n)]
    for i, j in bonds.tolist():
        partners[i].append(j)
        partners[j].append(i)
    light = (masses >= _SMALLEST) & (masses <= _HEAVIEST_HYDROGEN)
    hydrogen = np.zeros(n, dtype=bool)
    for i in np.flatnonzero(light).tolist():
        hydrogen[i] = _heavy_partner(i, partners, masses) is not None
    surplus, shifted, n_hydrogens = np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=int)
    for i in np.flatnonzero(hydrogen).tolist():
        heavy = _heavy_partner(i, partners, masses)
        if heavy is not None and not hydrogen[heavy]:
            surplus[heavy] += masses[i] - _HYDROGEN
            n_hydrogens[heavy] += 1
            shifted[heavy] |= abs(masses[i] - _HYDROGEN) > _TOLERANCE
    restored = np.where(hydrogen, _HYDROGEN, masses + surplus)
    as_written = [elements_of_mass(round(float(m), 3)) for m in masses]
    undone = [elements_of_mass(round(float(m), 3)) for m in restored]
    molecules = _molecules(n, bonds)
    refuted = {
        which: {molecules[i] for i in np.flatnonzero(shifted) if not found[i]}
        for which, found in (("written", as_written), ("undone", undone))
    }
    elements: list[frozenset[int] | None] = []
    for i in range(n):
        if hydrogen[i]:
            elements.append(frozenset({1}))
        elif shifted[i]:
            elements.append(_of_readings(as_written[i], undone[i], molecules[i], refuted))
        elif masses[i] < _SMALLEST:
            elements.append(None)
        elif light[i] and not partners[i]:
            elements.append(as_written[i] | {1})
        else:
            elements.append(as_written[i])
    missing = np.where(n_hydrogens == 0, [_missing_hydrogens(float(m)) for m in masses], 0)
    return MassEvidence(partners, elements, restored, missing)


@cache
def elements_of_mass(mass: float, sure: bool = False) -> frozenset[int]:
    """Elements of about this mass (u); with ``sure``, of just this mass."""
    if mass in _BEADS:
        return frozenset()
    tolerances = np.where(np.arange(93) <= _LAST_LIGHT, _TOLERANCE, _METAL_TOLERANCE)
    apart = np.abs(atomic_masses[:93] - mass)
    near = apart <= (_SURE_TOLERANCE if sure else tolerances)
    return frozenset(int(z) for z in np.flatnonzero(near) if z > 0)


def _heavy_partner(i: int, partners: list[list[int]], masses: FloatArray) -> int | None:
    """The one atom that a hydrogen hangs on; a bond H–H of a rigid water does not count."""
    ends = partners[i]
    if len(ends) == 1:
        return ends[0]
    if len(ends) == 2:
        first, second = sorted(ends, key=lambda k: float(masses[k]))
        if masses[first] <= _HEAVIEST_HYDROGEN and second in partners[first]:
            return second
    return None


def _of_readings(
    written: frozenset[int], undone: frozenset[int], molecule: int, refuted: dict[str, set[int]]
) -> frozenset[int]:
    wrong = [molecule in refuted["written"], molecule in refuted["undone"]]
    if wrong == [True, False]:
        return undone
    return written if wrong == [False, True] else written | undone


def _molecules(n: int, bonds: IntArray) -> list[int]:
    rows, columns = bonds.reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    numbers: list[int] = connected_components(graph, directed=False)[1].tolist()
    return numbers


def _missing_hydrogens(mass: float) -> int:
    n = round((mass - _CARBON) / _HYDROGEN)
    if not 1 <= n <= 4 or abs(mass - _CARBON_13) < 0.005:
        return 0
    return n if abs(mass - _CARBON - n * _HYDROGEN) < _UNITED_TOLERANCE else 0
