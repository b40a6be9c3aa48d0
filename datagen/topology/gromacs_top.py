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

from datagen.topology.elements import NOT_GIVEN

_POLARISATION = ("polarization", "thole_polarization", "water_polarization")


@dataclass(frozen=True)
class AtomKind:
    """An atom type: its atomic number if given, and its particle type (A, S, V, D)."""

    number: int
    particle: str

    def is_no_atom(self, charge: float) -> bool:
        """Whether it is a virtual site, or a mass without charge that carries constraints."""
        return self.particle in "VD" or (self.number == 0 and charge == 0.0)


@dataclass(eq=False)
class TopText:
    """A topology after its includes and conditions."""

    kinds: dict[str, AtomKind] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # of the molecule types
    changed: dict[str, list[int]] = field(default_factory=dict)  # rows with another state B
    molecules: list[tuple[str, int]] = field(default_factory=list)
    polarisable: bool = False


def read_top_text(path: Path) -> TopText:
    """Read those parts of a top that ParmEd has read without an error."""
    text = TopText()
    molecule = ""
    for section, words in _lines(path):
        if section == "atomtypes":
            text.kinds[words[0]] = _atom_kind(words)
        elif section == "moleculetype":
            molecule = words[0]
            text.sizes[molecule], text.changed[molecule] = 0, []
        elif section == "atoms":
            if _changes(words):
                text.changed[molecule].append(text.sizes[molecule])
            text.sizes[molecule] += 1
            kind = text.kinds.get(words[1])
            text.polarisable |= kind is not None and kind.particle == "S"
        elif section in _POLARISATION:
            text.polarisable = True
        elif section == "molecules":
            text.molecules.append((words[0], int(words[1])))
    if not text.molecules:
        text.molecules = [(name, 1) for name in text.sizes]
    return text


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
        return AtomKind(NOT_GIVEN, "A")
    number = words[place - 3] if place > 3 else ""  # mass and charge stand in between
    known = number.lstrip("-").isdigit()
    return AtomKind(int(number) if known else NOT_GIVEN, words[place].upper())


def _changes(words: list[str]) -> bool:
    """Whether state B of an atom line is another type or charge."""
    if len(words) > 8 and words[8] != words[1]:
        return True
    return len(words) > 9 and float(words[9]) != float(words[6])
