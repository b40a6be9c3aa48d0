"""The QM region of a topology: which atoms, which bonds it cuts, which charge it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.topology import Topology

IntArray = NDArray[np.integer]

_QM_GROUP = -1
_WHOLE_TOLERANCE = 0.02
"""e. Charges of whole molecules add up to integers but for the digits that files drop."""

_BONDED = (5, 6, 7, 8, 15, 16)
"""Elements that have bonds wherever there are other atoms in the residue."""

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
        When the element of a selected atom is not certain, its bonds are not known, a cut bond
        ends in hydrogen, or one classical atom would be replaced by several caps.
    """
    virtual = topology.parents >= 0
    atoms = np.unique(np.asarray(selected, dtype=np.int64))
    atoms = atoms[~virtual[atoms]]
    if len(atoms) == 0:
        raise RegionError("the selection holds virtual sites only; expected atoms")
    inside = np.zeros(topology.n_sites, dtype=bool)
    inside[atoms] = True
    inside[virtual] = inside[topology.parents[virtual]]
    _check_elements(topology, np.flatnonzero(inside).tolist())
    _check_virtual_sites(topology, inside)
    _check_bonded(topology, atoms)
    bonds = _cut_bonds(topology, inside)
    _check_elements(topology, [bond.m1 for bond in bonds])
    return SelectedRegion(
        atoms=atoms,
        groups=np.where(inside, _QM_GROUP, topology.residues),
        bonds=bonds,
        force_field_charge=round(float(topology.charges[inside].sum()), 6) + 0.0,
    )


def _check_elements(topology: Topology, sites: Sequence[int]) -> None:
    """Refuse atoms whose element is not certain."""
    unknown = [
        site
        for site in sites
        if site in topology.doubts or topology.atomic_numbers[site] <= 0 > topology.parents[site]
    ]
    if unknown:
        others = f" (and of {len(unknown) - 1} others)" if len(unknown) > 1 else ""
        doubt = topology.doubts.get(unknown[0], "")
        raise RegionError(
            f"the element of {topology.label(unknown[0])}{others} is not "
            + (f"certain: {doubt}" if doubt else "known")
        )


def _check_bonded(topology: Topology, atoms: IntArray) -> None:
    """Refuse atoms that lack their bonds: no one would know where the region cuts some."""
    sizes = np.bincount(topology.residues[topology.parents < 0])
    bonded = np.isin(atoms, topology.bonds)
    alone = ~bonded & (sizes[topology.residues[atoms]] > 1)
    alone &= np.isin(topology.atomic_numbers[atoms], _BONDED)
    if alone.any():
        raise RegionError(
            f"{topology.label(atoms[alone][0])} has no bonds in the topology, although its residue "
            "has other atoms; give a topology that holds the bonds"
        )


def _check_virtual_sites(topology: Topology, inside: NDArray[np.bool_]) -> None:
    """Refuse to cut a residue if the charge of a virtual site might be on either side."""
    for site in sorted(topology.unplaced):
        ends = inside[topology.residues == topology.residues[site]]
        if ends.any() and not ends.all():
            raise RegionError(
                f"{topology.label(site)} is a virtual site, and the topology does not say of which "
                "atom; select its residue as a whole, or leave it out"
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
