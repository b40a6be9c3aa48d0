"""Alters AMBER topologies: sections replaced, left out, or written as before AMBER 7."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

Sections = dict[str, list[str]]

_OLD_ORDER = """POINTERS ATOM_NAME CHARGE MASS ATOM_TYPE_INDEX NUMBER_EXCLUDED_ATOMS
NONBONDED_PARM_INDEX RESIDUE_LABEL RESIDUE_POINTER BOND_FORCE_CONSTANT BOND_EQUIL_VALUE
ANGLE_FORCE_CONSTANT ANGLE_EQUIL_VALUE DIHEDRAL_FORCE_CONSTANT DIHEDRAL_PERIODICITY DIHEDRAL_PHASE
SOLTY LENNARD_JONES_ACOEF LENNARD_JONES_BCOEF BONDS_INC_HYDROGEN BONDS_WITHOUT_HYDROGEN
ANGLES_INC_HYDROGEN ANGLES_WITHOUT_HYDROGEN DIHEDRALS_INC_HYDROGEN DIHEDRALS_WITHOUT_HYDROGEN
EXCLUDED_ATOMS_LIST HBOND_ACOEF HBOND_BCOEF HBCUT AMBER_ATOM_TYPE TREE_CHAIN_CLASSIFICATION
JOIN_ARRAY IROTAT"""
_WIDTHS = {"a": (4, 20), "I": (8, 10), "E": (16, 5)}
_OLD_WIDTHS = {"a": (4, 20), "I": (6, 12), "E": (16, 5)}


def altered(text: str, change: Callable[[Sections], None]) -> str:
    """A topology whose sections ``change`` has changed in place."""
    head, kinds, sections = _parse(text)
    change(sections)
    parts = [head]
    for flag, words in sections.items():
        kind, form = kinds[flag]
        lines = _lines(words, *_WIDTHS[kind]) if kind != "t" else words
        parts += [f"%FLAG {flag}", f"%FORMAT({form})", *lines]
    return "\n".join(parts) + "\n"


def before_amber_7(text: str) -> str:
    """The format without flags, in which names keep the blanks behind them."""
    _, kinds, sections = _parse(text)
    sections["POINTERS"] = sections["POINTERS"][:30]
    lines = ["a title"]
    for flag in _OLD_ORDER.split():
        lines += _lines(sections[flag], *_OLD_WIDTHS[kinds[flag][0]])
    return "\n".join(lines) + "\n"


def _parse(text: str) -> tuple[str, dict[str, tuple[str, str]], Sections]:
    head, *blocks = re.split(r"^%FLAG ", text, flags=re.MULTILINE)
    kinds, sections = {}, {}
    for block in blocks:
        flag, rest = block.split("\n", 1)
        comments, body = rest.split("%FORMAT(", 1)
        form, body = body.split(")", 1)
        assert comments == ""
        kind = next(c for c in form if c in "aIE")
        flag = flag.strip()
        if flag in ("TITLE", "RADIUS_SET", "RADIUS SET"):
            kinds[flag], sections[flag] = ("t", form), body.split("\n")[1:-1]
            continue
        width = _WIDTHS[kind][0]
        kinds[flag], sections[flag] = (kind, form), []
        for line in body.split("\n")[1:]:
            sections[flag] += [line[i : i + width] for i in range(0, len(line.rstrip("\n")), width)]
        if kind != "a":
            sections[flag] = [word for word in sections[flag] if word.strip()]
    return head.rstrip("\n"), kinds, sections


def _lines(words: list[str], width: int, per_line: int) -> list[str]:
    rest, lines = iter(words), []
    while row := list(islice(rest, per_line)):
        rights = [w.strip().rjust(width) if width != 4 else w.ljust(4) for w in row]
        lines.append("".join(rights))
    return lines or [""]
