"""From what a file says about its sites to a topology: the part that all formats share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.topology.elements import find_elements
from eqmm_ase.topology.names import elements_of_name
from eqmm_ase.topology.sites import Topology

IntArray = NDArray[np.integer]

_MASSLESS = 0.1  # u
_VIRTUAL_NAMES = ("EP", "LP")
_WATER = 3  # atoms


@dataclass(frozen=True, eq=False)
class FileEvidence:
    """What a topology file says, before elements are decided; n sites."""

    names: Sequence[str]
    kinds: Sequence[str]
    """Force-field types, empty where the file has none."""

    masses: FloatArray  # (n,) u, 0 or NaN where the file has none
    numbers: IntArray
    """(n,) atomic numbers as written; `NOT_GIVEN` where there is none, 0 for what is no atom."""

    charges: FloatArray  # (n,) e
    residues: IntArray  # (n,)
    residue_names: Sequence[str]
    residue_numbers: Sequence[int]
    segments: Sequence[str]
    bonds: IntArray  # (n_bonds, 2), to virtual sites too
    virtual: NDArray[np.bool_]
    """(n,) sites that the file says are virtual."""

    massless_atoms: bool = False
    """Whether an atom may have no mass, as frozen ones; else such sites are virtual."""

    parents: dict[int, int] = field(default_factory=dict)
    """Virtual site → atom, where the file says so."""

    doubts: dict[int, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def topology_of(evidence: FileEvidence) -> Topology:
    """Decide elements and parents; blanks around names go."""
    names = [name.strip() for name in evidence.names]
    kinds = [kind.strip() for kind in evidence.kinds]
    residue_names = [name.strip() for name in evidence.residue_names]
    residues = np.asarray(evidence.residues, dtype=np.int64)
    virtual = _virtual_sites(evidence, names, kinds)
    real = np.bincount(residues[~virtual], minlength=len(residue_names))
    virtual &= real[residues] > 0  # without an atom to belong to it is a bead of its own
    bonds = np.asarray(evidence.bonds, dtype=np.int64).reshape(-1, 2)
    between_atoms = np.unique(np.sort(bonds[~virtual[bonds].any(axis=1)], axis=1), axis=0)
    numbers, doubts = find_elements(
        evidence.masses,
        evidence.numbers,
        names,
        kinds,
        [residue_names[r] if real[r] > 1 else "" for r in residues],
        between_atoms,
        virtual,
    )
    parents, unplaced = _parents(evidence.parents, virtual, bonds, residues)
    return Topology(
        atomic_numbers=numbers,
        charges=np.asarray(evidence.charges, dtype=np.float64),
        names=tuple(names),
        residues=residues,
        residue_names=tuple(residue_names),
        residue_numbers=tuple(int(number) for number in evidence.residue_numbers),
        segments=tuple(segment.strip() for segment in evidence.segments),
        bonds=between_atoms,
        parents=parents,
        doubts={**doubts, **_moved_hydrogens(virtual, names), **evidence.doubts},
        unplaced=unplaced,
        notes=tuple(evidence.notes),
    )


def _virtual_sites(
    evidence: FileEvidence, names: Sequence[str], kinds: Sequence[str]
) -> NDArray[np.bool_]:
    """What the file says, and sites without a number that lack mass or are called so."""
    if evidence.massless_atoms:
        return np.array(evidence.virtual, dtype=bool)
    called = [
        name[:2].upper() in _VIRTUAL_NAMES and kind[:2].upper() in (*_VIRTUAL_NAMES, "")
        for name, kind in zip(names, kinds, strict=True)
    ]
    massless = np.abs(evidence.masses) < _MASSLESS  # not where the file has no masses (NaN)
    numberless = np.asarray(evidence.numbers) <= 0
    return np.array(evidence.virtual | (numberless & (massless | np.array(called, dtype=bool))))


def _moved_hydrogens(virtual: NDArray[np.bool_], names: Sequence[str]) -> dict[int, str]:
    """Virtual sites that may be hydrogens without a mass, which GROMACS moves with their group."""
    return {
        site: (
            "it has neither mass nor atomic number and is called as hydrogens are; give a topology "
            "with atomic numbers"
        )
        for site in np.flatnonzero(virtual).tolist()
        if 1 in elements_of_name(names[site])
    }


def _parents(
    given: dict[int, int], virtual: NDArray[np.bool_], bonds: IntArray, residues: IntArray
) -> tuple[IntArray, frozenset[int]]:
    """The atom of each virtual site, −1 for atoms; and sites whose atom is a guess.

    The file says it, or a bond; in a water nothing else is possible, and its first atom is taken.
    """
    parents = np.full(len(virtual), -1)
    if not virtual.any():
        return parents, frozenset()
    partner = dict(given)
    for i, j in bonds[virtual[bonds].any(axis=1)].tolist():
        for site, atom in ((i, j), (j, i)):
            if virtual[site] and not virtual[atom]:
                partner.setdefault(site, atom)
    atoms = np.flatnonzero(~virtual)
    first = dict(zip(residues[atoms[::-1]].tolist(), atoms[::-1].tolist(), strict=True))
    sizes = np.bincount(residues[atoms], minlength=int(residues.max()) + 1)
    unplaced = set()
    for site in np.flatnonzero(virtual).tolist():
        parent = partner.get(site, -1)
        if parent < 0 or virtual[parent]:
            parent = first[int(residues[site])]
            if sizes[residues[site]] > _WATER:
                unplaced.add(site)
        parents[site] = parent
    return parents, frozenset(unplaced)
