"""Which elements the name or the force-field type of an atom can stand for."""

from __future__ import annotations

import re
from functools import cache

from ase.data import chemical_symbols

_SYMBOLS = {symbol.upper(): z for z, symbol in enumerate(chemical_symbols[:93]) if z > 0}
_UNNAMED = {"Tc", "Pm", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Pa", "Ho", "Ne", "Ar", "Kr", "Xe"}
"""Not read from names that begin with these letters; HO is a hydrogen, NE a nitrogen."""

for _symbol in _UNNAMED:
    del _SYMBOLS[_symbol.upper()]

_IONS = {
    "SOD": 11, "CIO": 11, "IP": 11, "CLA": 17, "IM": 17, "POT": 19, "CAL": 20, "C0": 20,
    "CES": 55, "LIT": 3, "RUB": 37, "CAD": 48, "BAR": 56, "MAG": 12, "NE": 10, "AR": 18,
    "KR": 36, "XE": 54,
}  # fmt: skip
"""Whole names and types of CHARMM and AMBER that no rule of letters covers."""

_AMINO_ACIDS = (
    "ALA ARG ARN ASN ASP ASH ASPP CYS CYM CYX CYS2 CYSH GLN GLU GLH GLUP GLY HIS HID HIE HIP HSD "
    "HSE HSP HISA HISB HISD HISE HISH ILE LEU LYS LYN LYSH MET PHE PRO SER THR TRP TYR VAL ACE "
    "NME NMA NHE CT3 HYP"
)
_NUCLEOTIDES = "A C G U DA DC DG DT RA RC RG RU ADE CYT GUA THY URA"
_WATERS = "HOH WAT SOL TIP3 TIP3P TP3 TIP4 TIP4P TP4 TP4E TIP5 SPC SPCE OPC OPC3 H2O"
STANDARD_RESIDUES = frozenset(
    [*_AMINO_ACIDS.split(), *_NUCLEOTIDES.split(), *_WATERS.split()]
    + [end + name for name in _AMINO_ACIDS.split() for end in "NC" if len(name) == 3]
    + [name + end for name in _NUCLEOTIDES.split() for end in "35" if len(name) <= 2]
)
"""Residues of H, C, N, O, P and S only, in which the first letter of a name is the element."""

_DUMMIES = ("DUM", "DUMMY", "DU", "DUMMYATOM")


@cache
def elements_of_name(name: str, residue: str = "") -> frozenset[int]:
    """Elements that an atom's name (or type) can stand for; none if it says nothing.

    ``CA`` can be carbon or calcium, ``HG`` hydrogen or mercury; in a standard residue the first
    letter decides. Digits and signs in front do not count: ``1HB``.

    Parameters
    ----------
    name
        Of the atom, or its force-field type.
    residue
        Name of its residue, when that has more than one atom.
    """
    match = re.match(r"[^A-Za-z]*([A-Za-z]+)", name)
    if match is None or name.lower().startswith("opls"):
        return frozenset()
    letters = match.group(1).upper()
    found = {_IONS[name.upper()]} if name.upper() in _IONS else set()
    if re.fullmatch(r"[DT]W?\d*", letters + name[match.end() :]):
        found.add(1)  # deuterium, tritium
    if letters[0] in _SYMBOLS:
        found.add(_SYMBOLS[letters[0]])
    if residue.upper() in STANDARD_RESIDUES:
        return frozenset(found & {1, 6, 7, 8, 15, 16})
    if letters[:2] in _SYMBOLS:
        found.add(_SYMBOLS[letters[:2]])
    return frozenset(found)


def is_dummy(name: str, kind: str) -> bool:
    """Whether name or type say that there is no atom, as alchemical transformations do."""
    return kind.upper().startswith("DUM") or kind.upper() in _DUMMIES or name.upper() in _DUMMIES
