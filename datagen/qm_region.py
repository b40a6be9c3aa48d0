"""The QM region of a topology: which atoms, which bonds it cuts, which charge it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datagen.topology import Topology

IntArray = NDArray[np.integer]

_QM_GROUP = -1
_WHOLE_TOLERANCE = 0.02
"""e. Charges of whole molecules add up to integers but for the digits that files drop."""

_CUT_TOLERANCE = 0.2
"""e. Charges of a part of a molecule do so only roughly."""


class RegionError(ValueError):
    """The selection makes no QM region; the message is one sentence for the user."""


@dataclass(frozen=True)
class CutBond:
    """A bond between a QM atom and a classical one, as rows of the topology."""

    q1: int
    m1: int
    m2: tuple[int, ...]
    """Classical atoms bonded to M1."""


@dataclass(frozen=True, eq=False)
class SelectedRegion:
    """Atoms that the QM program treats, and how they hang on the rest."""

    atoms: IntArray  # (n_qm,) rows of the topology, ascending, no virtual sites
    groups: IntArray  # (n,) group of each site that the cut keeps together: residues, QM region
    bonds: tuple[CutBond, ...]
    force_field_charge: float
    """Sum of the charges that the QM region replaces, virtual sites included, e."""


def find_region(topology: Topology, selected: IntArray) -> SelectedRegion:
    """The QM region of selected sites.

    A virtual site belongs to its parent atom, selected or not. What is left of a residue that
    the region cuts stays together as one group.

    Raises
    ------
    RegionError
        When a selected atom has no element, a cut bond ends in hydrogen, or one classical atom
        would be replaced by several caps.
    """
    virtual = topology.parents >= 0
    atoms = np.unique(np.asarray(selected, dtype=np.int64))
    atoms = atoms[~virtual[atoms]]
    if len(atoms) == 0:
        raise RegionError("the selection holds virtual sites only; expected atoms")
    unknown = atoms[topology.atomic_numbers[atoms] <= 0]
    if len(unknown):
        raise RegionError(f"the element of {topology.label(unknown[0])} is not known")
    inside = np.zeros(topology.n_sites, dtype=bool)
    inside[atoms] = True
    inside[virtual] = inside[topology.parents[virtual]]
    return SelectedRegion(
        atoms=atoms,
        groups=np.where(inside, _QM_GROUP, topology.residues),
        bonds=_cut_bonds(topology, inside),
        force_field_charge=round(float(topology.charges[inside].sum()), 6) + 0.0,
    )


def total_charge(region: SelectedRegion) -> int:
    """The integer that the force field's charges of the QM region stand for.

    Raises
    ------
    RegionError
        When no integer is near enough to be meant.
    """
    nearest = round(region.force_field_charge)
    tolerance = _CUT_TOLERANCE if region.bonds else _WHOLE_TOLERANCE
    if abs(region.force_field_charge - nearest) > tolerance:
        raise RegionError(
            f"the force field's charges of the QM region add up to {region.force_field_charge:+.3f}"
            " e, which is near no integer; give the total charge"
        )
    return nearest


def _cut_bonds(topology: Topology, inside: NDArray[np.bool_]) -> tuple[CutBond, ...]:
    bonds = topology.bonds
    crossing = bonds[inside[bonds[:, 0]] != inside[bonds[:, 1]]]
    cut = []
    for i, j in crossing.tolist():
        q1, m1 = (i, j) if inside[i] else (j, i)
        if 1 in (topology.atomic_numbers[q1], topology.atomic_numbers[m1]):
            raise RegionError(
                f"the selection cuts the bond {topology.label(q1)}–{topology.label(m1)}; a "
                "hydrogen atom must stay on the side of its partner"
            )
        ends = bonds[(bonds == m1).any(axis=1)]
        partners = ends[ends != m1]
        cut.append(CutBond(q1, m1, tuple(int(m) for m in np.sort(partners[~inside[partners]]))))
    cut.sort(key=lambda bond: (bond.q1, bond.m1))
    shared = [bond.m1 for bond in cut]
    for m1 in shared:
        if shared.count(m1) > 1:
            raise RegionError(
                f"{topology.label(m1)} is bonded to several QM atoms; select it too, or fewer of "
                "its neighbours"
            )
    return tuple(cut)
