"""A QM region cut from files that lack hydrogens or bonds is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dipeptide_kit import BETA_METHYL, DIPEPTIDE, POSITIONS

from eqmm_ase.cutting.missing_hydrogens import check_hydrogens
from eqmm_ase.cutting.qm_region import RegionError, SelectedRegion, find_region
from eqmm_ase.topology import Topology


def _topology(numbers: list[int], bonds: list[tuple[int, int]]) -> Topology:
    n = len(numbers)
    return Topology(
        atomic_numbers=np.array(numbers),
        charges=np.zeros(n),
        names=tuple(f"A{i}" for i in range(n)),
        residues=np.zeros(n, dtype=int),
        residue_names=("LIG",),
        residue_numbers=(1,),
        segments=("",),
        bonds=np.array(bonds, dtype=int).reshape(-1, 2),
        parents=np.full(n, -1),
    )


def _check(topology: Topology, positions: np.ndarray, cell: np.ndarray | None = None) -> None:
    region: SelectedRegion = find_region(topology, np.arange(topology.n_sites))
    check_hydrogens(topology, region, np.asarray(positions, float), cell)


def _without_hydrogens() -> tuple[Topology, np.ndarray]:
    kept = np.flatnonzero(DIPEPTIDE.atomic_numbers != 1)
    bonds = DIPEPTIDE.bonds[np.isin(DIPEPTIDE.bonds, kept).all(axis=1)]
    stripped = replace(
        DIPEPTIDE,
        atomic_numbers=DIPEPTIDE.atomic_numbers[kept],
        charges=DIPEPTIDE.charges[kept],
        names=tuple(DIPEPTIDE.names[i] for i in kept),
        residues=DIPEPTIDE.residues[kept],
        bonds=np.searchsorted(kept, bonds),
        parents=DIPEPTIDE.parents[kept],
    )
    return stripped, POSITIONS[kept]


def test_a_peptide_without_hydrogens_is_refused():
    topology, positions = _without_hydrogens()
    with pytest.raises(RegionError, match=r"is carbon with 1 neighbour only, as have \d others"):
        _check(topology, positions)


def test_a_peptide_with_its_hydrogens_is_accepted_whole_or_cut():
    _check(DIPEPTIDE, POSITIONS)
    region = find_region(DIPEPTIDE, np.array(BETA_METHYL))
    check_hydrogens(DIPEPTIDE, region, POSITIONS, None)


def test_triple_bonds_need_no_hydrogens():
    """Hydrogen cyanide, carbon dioxide, carbon monoxide, cyanide, the last across a box."""
    hcn = _topology([1, 6, 7], [(0, 1), (1, 2)])
    _check(hcn, [[0, 0, 0], [1.07, 0, 0], [2.2, 0.1, 0]])
    with pytest.raises(RegionError, match="LIG 1 A1 is carbon with 2 neighbours only; the QM"):
        _check(hcn, [[0, 0, 0], [1.07, 0, 0], [1.6, 1.0, 0]])
    _check(_topology([8, 6, 8], [(0, 1), (1, 2)]), [[0, 0, 0], [1.16, 0, 0], [2.32, 0, 0]])
    _check(_topology([6, 8], [(0, 1)]), [[0, 0, 0], [1.13, 0, 0]])
    cyanide = _topology([6, 7], [(0, 1)])
    _check(cyanide, [[0.2, 0, 0], [19.1, 0, 0]], 20.0 * np.eye(3))
    with pytest.raises(RegionError, match="LIG 1 A0 is carbon with 1 neighbour only; the QM"):
        _check(cyanide, [[0, 0, 0], [1.47, 0, 0]])


def test_atoms_without_bonds_are_refused_but_for_ions():
    lost = replace(DIPEPTIDE, bonds=np.zeros((0, 2), dtype=int))
    with pytest.raises(RegionError, match="ACE 1 CH3 has no bonds in the topology, although its"):
        find_region(lost, np.array([1]))
    salt = _topology([11, 17], [])
    assert len(find_region(salt, np.arange(2)).atoms) == 2
    lone = _topology([8], [])
    assert len(find_region(lone, np.arange(1)).atoms) == 1
