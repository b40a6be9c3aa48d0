"""What ParmEd leaves out of a GROMACS top: atomic numbers, particle types, states B, includes.

Field 2 of ``[ atomtypes ]``, the atomic number, may be missing; so may the bonded type before it.
As GROMACS does, they are told apart by where the particle type, a single letter, stands.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eqmm_ase.topology.elements import NOT_GIVEN

_CHARGE = 6  # word of an atom line
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # insertion codes
_POLARISATION = ("polarization", "thole_polarization", "water_polarization")


@dataclass(frozen=True)
class AtomKind:
    """An atom type: atomic number if given, charge, and particle type (A, S, V, D)."""

    number: int
    charge: float  # e, of atoms that have none of their own
    particle: str

    def is_no_atom(self, charge: float) -> bool:
        """Whether it is a virtual site, or a mass without charge that carries constraints."""
        return self.particle in "VD" or (self.number == 0 and charge == 0.0)


@dataclass(eq=False)
class MoleculeText:
    """A molecule type; rows of its atoms count from 0."""

    size: int = 0
    residues: list[tuple[str, str]] = field(default_factory=list)  # number and name
    changed: list[int] = field(default_factory=list)  # rows with another state B
    uncharged: list[int] = field(default_factory=list)  # rows without a charge


@dataclass(eq=False)
class TopText:
    """A topology after its includes and conditions."""

    kinds: dict[str, AtomKind] = field(default_factory=dict)
    molecules: list[tuple[MoleculeText, int]] = field(default_factory=list)
    polarisable: bool = False

    def rows(self, of: str) -> list[int]:
        """Rows in the whole system of the atoms ``changed`` or ``uncharged``."""
        rows, start = [], 0
        for molecule, count in self.molecules:
            for copy in range(count):
                rows += [start + copy * molecule.size + i for i in getattr(molecule, of)]
            start += count * molecule.size
        return rows

    def residue_numbers(self) -> list[int]:
        """Of all residues, as GROMACS numbers them."""
        return residue_numbers(
            [
                ([int(number.rstrip(_LETTERS)) for number, _ in molecule.residues], count)
                for molecule, count in self.molecules
            ]
        )


def read_top_text(path: Path) -> TopText:
    """Read those parts of a top that ParmEd has read without an error."""
    text = TopText()
    types: dict[str, MoleculeText] = {}
    for section, words in _lines(path):
        if section == "atomtypes":
            text.kinds[words[0]] = _atom_kind(words)
        elif section == "moleculetype":
            molecule = types[words[0]] = MoleculeText()
        elif section == "atoms":
            _add_atom(molecule, words)
            kind = text.kinds.get(words[1])
            text.polarisable |= kind is not None and kind.particle == "S"
        elif section in _POLARISATION:
            text.polarisable = True
        elif section == "molecules":
            text.molecules.append((types[words[0]], int(words[1])))
    if not text.molecules:
        text.molecules = [(molecule, 1) for molecule in types.values()]
    return text


def residue_numbers(molecules: list[tuple[list[int], int]]) -> list[int]:
    """Of all residues, from those within each molecule and how often it is there.

    As GROMACS writes them into a gro file: molecules of one residue count on from the others.
    """
    several = [number for numbers, _ in molecules if len(numbers) > 1 for number in numbers]
    last = max(several, default=0)
    found: list[int] = []
    for numbers, count in molecules:
        if len(numbers) > 1:
            found += numbers * count
        else:
            found += range(last + 1, last + 1 + count)
            last += count
    return found


def missing_includes(path: Path) -> str:
    """One sentence about the includes of a top that are not there; empty if all are."""
    from parmed.gromacs import GROMACS_TOPDIR

    missing: dict[str, list[str]] = {}
    _follow(path, [str(path.absolute().parent)], str(GROMACS_TOPDIR), missing)
    if not missing:
        return ""
    name, places = next(iter(missing.items()))
    others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
    return (
        f"{path} includes {name}{others}, which is not in {' or '.join(places)}; copy it there, "
        "set GMXDATA to the folder of GROMACS that holds 'top', or give the run input (tpr)"
    )


def _follow(path: Path, folders: list[str], library: str, missing: dict[str, list[str]]) -> None:
    """Collect includes that are in none of the places where ParmEd looks, with those places."""
    from parmed.exceptions import ParmedError

    reader = _preprocessor(path, library, must_find=False)
    try:
        for _ in reader:
            pass
    except (ParmedError, NotImplementedError, OSError, UnicodeDecodeError):
        return  # whatever else is wrong is said elsewhere
    for name in dict.fromkeys(reader.included_files):
        places = list(dict.fromkeys([*folders, library]))
        found = next((p for f in places if (p := Path(f, name)).is_file()), None)
        if found is None:
            missing.setdefault(name, places)
        else:
            _follow(found, [str(found.absolute().parent), *folders], library, missing)


def _preprocessor(path: Path, library: str, must_find: bool = True) -> Any:
    """ParmEd's preprocessor of a file with the definitions that its reader of tops makes."""
    from parmed.gromacs.gromacstop import GromacsFile

    return GromacsFile(
        str(path),
        includes=[library],
        defines=OrderedDict(FLEXIBLE=1),
        notfound_fatal=must_find,
    )


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Section and words of each line that has any."""
    from parmed.gromacs import GROMACS_TOPDIR

    section = ""
    with closing(_preprocessor(path, str(GROMACS_TOPDIR))) as file:
        for line in file:
            words = line.split()
            if line.strip().startswith("["):
                section = line.strip()[1:-1].strip()
            elif words:
                yield section, words


def _atom_kind(words: list[str]) -> AtomKind:
    for place in (3, 4, 5):
        if place < len(words) and len(words[place]) == 1 and words[place].isalpha():
            break
    else:
        return AtomKind(NOT_GIVEN, 0.0, "A")
    number = words[place - 3] if place > 3 else ""  # mass and charge stand in between
    known = number.lstrip("-").isdigit()
    charge, particle = float(words[place - 1]), words[place].upper()
    return AtomKind(int(number) if known else NOT_GIVEN, charge, particle)


def _add_atom(molecule: MoleculeText, words: list[str]) -> None:
    if not molecule.residues or molecule.residues[-1] != (words[2], words[3]):
        molecule.residues.append((words[2], words[3]))
    if len(words) <= _CHARGE:
        molecule.uncharged.append(molecule.size)
    elif _changes(words):
        molecule.changed.append(molecule.size)
    molecule.size += 1


def _changes(words: list[str]) -> bool:
    """Whether state B of an atom line is another type or charge."""
    if len(words) > 8 and words[8] != words[1]:
        return True
    return len(words) > 9 and float(words[9]) != float(words[_CHARGE])
