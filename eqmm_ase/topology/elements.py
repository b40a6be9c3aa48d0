"""Elements of the sites of a topology, decided from everything that its file says.

Few formats hold elements: a CHARMM psf, an old AMBER prmtop, many a GROMACS topology know masses,
names and types only, and masses are no longer the elements' when hydrogen mass repartitioning
moved them. What the sources of evidence agree on is the element; what they leave open is a doubt,
which matters only if the atom becomes part of a QM region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.topology.masses import MassEvidence, elements_of_mass, mass_evidence
from eqmm_ase.topology.names import STANDARD_RESIDUES, elements_of_name, is_dummy

IntArray = NDArray[np.integer]

NOT_GIVEN = -1
"""In place of an atomic number that the file does not hold."""

_MOST_BONDS = {1: 1, 6: 4, 7: 4, 8: 3, 9: 1}
_ORGANIC = frozenset({1, 6, 7, 8, 9, 15, 16, 17, 35, 53})
"""Only bonds between these are counted: metals and boranes bind more of them."""

_ADVICE = (
    "correct its name or mass in the topology, or give one with atomic numbers (an AMBER prmtop, a "
    "GROMACS tpr, a PDB with elements and a System)"
)


@dataclass(frozen=True)
class AtomEvidence:
    """What is known of one atom, apart from its bonds."""

    number: int
    """In the file; 0 or less where it holds none."""

    mass: float  # u, as in the file
    restored: float  # u, before any repartitioning
    by_mass: frozenset[int] | None
    missing_hydrogens: int
    name: str
    kind: str
    """Force-field type."""

    residue: str
    """Name of its residue, empty if the atom is alone in it."""


def find_elements(
    masses: FloatArray,
    numbers: IntArray,
    names: Sequence[str],
    kinds: Sequence[str],
    residue_names: Sequence[str],
    bonds: IntArray,
    virtual: NDArray[np.bool_],
) -> tuple[IntArray, dict[int, str]]:
    """Atomic numbers, and what speaks against those that are not certain.

    Parameters
    ----------
    masses : (n,)
        u; 0 or NaN where the file has none.
    numbers : (n,)
        Atomic numbers in the file, `NOT_GIVEN` or 0 where it has none.
    names, kinds
        Of the n sites; kinds are force-field types, empty where there is none.
    residue_names
        Of the residue of each site; empty where the site is alone in it.
    bonds : (n_bonds, 2)
        Between atoms.
    virtual : (n,)
        Sites that are no atoms.

    Returns
    -------
    numbers : (n,)
        0 for virtual sites; a best guess, or 0, for atoms in doubt.
    doubts
        Site → evidence and what to do, a clause without the atom's name.
    """
    mass = mass_evidence(masses, bonds)
    found = np.zeros(len(masses), dtype=np.int64)
    doubts: dict[int, str] = {}
    for i in np.flatnonzero(~virtual).tolist():
        evidence = AtomEvidence(
            int(numbers[i]),
            round(float(masses[i]), 3),
            round(float(mass.restored[i]), 3),
            mass.elements[i],
            int(mass.missing_hydrogens[i]),
            names[i],
            kinds[i],
            residue_names[i],
        )
        found[i], doubt = _decide(evidence)
        if doubt:
            doubts[i] = doubt
    _check_valences(found, mass, doubts)
    return found, doubts


@lru_cache(maxsize=100_000)
def _decide(atom: AtomEvidence) -> tuple[int, str]:
    """Element (or a guess) and a doubt, empty where the evidence is consistent."""
    by_name = elements_of_name(atom.name, atom.residue)
    by_kind = elements_of_name(atom.kind)
    if is_dummy(atom.name, atom.kind):
        return max(atom.number, 0), (
            f"its type {atom.kind!r} is that of a dummy atom of a transformation; give the "
            "topology of one end state"
        )
    if atom.number > 0:
        certain = _number_holds(atom, by_name, by_kind)
    else:
        certain = _only_common(atom, by_name, by_kind)
    if certain and not (certain == 6 and atom.missing_hydrogens):
        return certain, ""
    return _guess(atom, by_name, by_kind), _reason(atom, by_name, by_kind)


def _number_holds(atom: AtomEvidence, by_name: frozenset[int], by_kind: frozenset[int]) -> int:
    """The file's atomic number if mass or names agree with it, else 0.

    Programs without elements make numbers from masses, so a number alone proves little.
    """
    named = atom.number in by_name or atom.number in by_kind or not (by_name or by_kind)
    if atom.by_mass == frozenset({atom.number}):
        return atom.number
    if not atom.by_mass or atom.number in atom.by_mass:  # an isotope, a scaled mass, no mass
        return atom.number if named else 0
    return 0


def _only_common(atom: AtomEvidence, by_name: frozenset[int], by_kind: frozenset[int]) -> int:
    """The one element that mass, name and type have in common, else 0."""
    if atom.by_mass is None:  # names alone, as in a PDB of frozen atoms
        standard = atom.residue.upper() in STANDARD_RESIDUES
        return _single(by_name if standard else by_name & by_kind)
    if not by_name and not by_kind:
        sure = elements_of_mass(atom.restored, sure=True) & _ORGANIC  # metals need a name
        return _single(atom.by_mass) if atom.by_mass <= sure else 0
    common = atom.by_mass & (by_name or by_kind)
    if not common and not by_name & _ORGANIC:  # a name of other letters, such as Y1
        common = atom.by_mass & by_kind
    if len(common) > 1 and by_kind & common:
        common &= by_kind
    return _single(common)


def _single(elements: frozenset[int]) -> int:
    return next(iter(elements)) if len(elements) == 1 else 0


def _guess(atom: AtomEvidence, by_name: frozenset[int], by_kind: frozenset[int]) -> int:
    """What a classical atom may be called: best what two sources agree on."""
    if atom.missing_hydrogens and 6 in by_name | by_kind:
        return 6
    by_mass = atom.by_mass or frozenset()
    for elements in (by_mass & by_name & by_kind, by_mass & by_name, by_mass & by_kind):
        if elements:
            return min(elements, key=lambda z: abs(float(atomic_masses[z]) - atom.restored))
    return atom.number if atom.number > 0 else _single(by_mass)


def _reason(atom: AtomEvidence, by_name: frozenset[int], by_kind: frozenset[int]) -> str:
    """The evidence in words, and what to do."""
    if _united(atom, by_name, by_kind):
        n = atom.missing_hydrogens
        return (
            f"its mass of {atom.mass:g} u is that of a united atom CH{n if n > 1 else ''}, whose "
            "hydrogens a QM region needs; use an all-atom force field"
        )
    if atom.by_mass is None:
        mass = "it has no mass"
    elif atom.by_mass:
        mass = f"its mass of {atom.mass:g} u is that of {_symbols(atom.by_mass)}"
        if abs(atom.restored - atom.mass) > 0.05:
            mass += f" ({atom.restored:g} u before hydrogen mass repartitioning)"
    else:
        mass = f"its mass of {atom.mass:g} u fits no element"
    number = f"its atomic number is {_symbols({atom.number})}" if atom.number > 0 else ""
    says = f"reads as {_symbols(by_name)}" if by_name else "names no element"
    texts = [number, mass, f"its name {says}"]
    if atom.kind:
        says = f"reads as {_symbols(by_kind)}" if by_kind else "names none"
        texts.append(f"its type {atom.kind!r} {says}")
    return f"{', '.join(text for text in texts if text)}; {_ADVICE}"


def _united(atom: AtomEvidence, by_name: frozenset[int], by_kind: frozenset[int]) -> bool:
    return atom.missing_hydrogens > 0 and (atom.number == 6 or 6 in by_name | by_kind)


def _symbols(elements: frozenset[int] | set[int]) -> str:
    return " or ".join(chemical_symbols[z] for z in sorted(elements))


def _check_valences(numbers: IntArray, mass: MassEvidence, doubts: dict[int, str]) -> None:
    """Doubt atoms with more bonds than their element makes, as in two copies of a side chain."""
    for i, partners in enumerate(mass.partners):
        most = _MOST_BONDS.get(int(numbers[i]), len(partners))
        if len(partners) <= most or i in doubts:
            continue
        ends = [int(numbers[k]) for k in partners]
        if numbers[i] == 1 and len(partners) == 2 and 1 in ends:  # H–H of a rigid water
            continue
        if len(ends) > most and _ORGANIC.issuperset(ends):
            doubts[i] = (
                f"it is {chemical_symbols[numbers[i]]} with {len(ends)} bonds, where at most "
                f"{most} {'is' if most == 1 else 'are'} expected; give a topology without a "
                "second copy of the atoms and without restraints among the bonds"
            )
