"""XYZ files, plain and extended, as they are found in the wild; Å.

ASE reads them once the first word of each row is a symbol that it knows. Here also symbols in
small letters, atomic numbers, labels (``C12``), deuterium and tritium (hydrogen with their masses),
Fortran's exponents, columns without a name, and a byte-order mark are understood.
"""

from __future__ import annotations

import io
import re
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io import read
from ase.io.extxyz import key_val_str_to_dict

from eqmm_ase.files.state_in_text import state_in_comment

DEUTERIUM, TRITIUM = 2.014, 3.016
"""u."""

_HEAVY_HYDROGEN = {"D": DEUTERIUM, "T": TRITIUM}
_LABEL = re.compile(r"([A-Za-z]{1,2})([^A-Za-z].*)?")
_PROPERTIES = re.compile(r'Properties\s*=\s*"?([^\s"]+)')
_FORTRAN = re.compile(r"([+-]?\d*\.?\d*)[dD]([+-]?\d+)")


class _Block(NamedTuple):
    line: int  # of its first row, counted from 1
    comment: str
    rows: list[list[str]]


def read_xyz(path: Path, index: int | slice = slice(None)) -> list[Atoms]:
    """Images of an XYZ file.

    Parameters
    ----------
    path
        Of the file.
    index
        Which of its images; all by default.

    Returns
    -------
    list of ase.Atoms
        ``info`` holds what the comment line says as key=value, and charge and spin in other forms.

    Raises
    ------
    ValueError
        When the file has another form; the sentence names the line, not the file.
    IndexError
        When there is no such image.
    """
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    blocks = _blocks(lines)
    chosen = blocks[index] if isinstance(index, slice) else [blocks[index]]
    return [_atoms(block) for block in chosen]


def element(word: str) -> tuple[str, float | None]:
    """Symbol of an element, and the mass in u where the word names an isotope of hydrogen.

    Raises
    ------
    ValueError
        When the word stands for no element.
    """
    if word.isdecimal() and 0 < int(word) < len(chemical_symbols):
        return chemical_symbols[int(word)], None
    match = _LABEL.fullmatch(word)
    head, label = (match[1], match[2]) if match else ("", None)
    if head.upper() in _HEAVY_HYDROGEN:
        return "H", _HEAVY_HYDROGEN[head.upper()]
    symbol = head.capitalize()
    # CA1 may be a carbon with a label or calcium; Ca1 is calcium.
    clear = label is None or len(head) == 1 or head == symbol
    if atomic_numbers.get(symbol, 0) > 0 and clear:
        return symbol, None
    raise ValueError(
        f"{word!r} is no element; expected a symbol or an atomic number, and no dummy atoms or "
        "point charges among the atoms"
    )


def _blocks(lines: list[str]) -> list[_Block]:
    blocks, at = [], 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("VEC"):
            at += 1
            continue
        count = lines[at].strip()
        if not count.isdecimal():
            raise ValueError(f"line {at + 1}: expected the number of atoms, found {count[:40]!r}")
        rows = [line.split() for line in lines[at + 2 : at + 2 + int(count)]]
        if len(rows) < int(count):
            raise ValueError(
                f"line {at + 1} announces {count} atoms; {len(rows)} lines follow its comment"
            )
        blocks.append(_Block(at + 3, lines[at + 1], rows))
        at += 2 + int(count)
    return blocks


def _atoms(block: _Block) -> Atoms:
    properties = _PROPERTIES.search(block.comment)
    is_extended = properties is not None or "Lattice" in block.comment
    words = properties[1].split(":") if properties else ["species", "S", "1", "pos", "R", "3"]
    columns = dict(zip(words[::3], accumulate([0, *map(int, words[2::3])]), strict=False))
    rows, masses = block.rows, dict[int, float]()
    if "species" in columns:
        rows, masses = _with_symbols(block, columns["species"], plain=properties is None)
    comment = block.comment.replace("species:I:1", "species:S:1") if is_extended else ""
    text = "\n".join([str(len(rows)), comment, *(" ".join(row) for row in rows)])
    atoms = read(io.StringIO(text), index=0, format="extxyz")
    if not is_extended:
        atoms.info.update(_entries(block.comment))
    said = state_in_comment(block.comment, int(atoms.numbers.sum()))
    known = {str(key).lower() for key in atoms.info}
    atoms.info.update({key: value for key, value in said.items() if key not in known})
    if masses:
        values = atoms.get_masses()
        values[list(masses)] = list(masses.values())
        atoms.set_masses(values)
    return atoms


def _with_symbols(
    block: _Block, column: int, *, plain: bool
) -> tuple[list[list[str]], dict[int, float]]:
    """Rows with a symbol in the column, and masses of isotopes by row."""
    rows, masses = [], {}
    for number, row in enumerate(block.rows):
        try:
            if len(row) <= column or (plain and len(row) < 4):
                raise ValueError(f"expected a symbol and three numbers, found {' '.join(row)!r}")
            symbol, mass = element(row[column])
            values = [_FORTRAN.sub(r"\1e\2", word) for word in row[1:4]] if plain else []
            [float(value) for value in values]
        except ValueError as error:
            raise ValueError(f"line {block.line + number}: {error}") from error
        if mass is not None:
            masses[number] = mass
        rows.append([symbol, *values] if plain else [*row[:column], symbol, *row[column + 1 :]])
    return rows, masses


def _entries(comment: str) -> dict[str, object]:
    """Pairs key=value of a comment that is no description of columns; words alone mean nothing."""
    if "=" not in comment:
        return {}
    try:
        pairs = key_val_str_to_dict(comment)
    except Exception:  # prose, which ASE's parser was not made for
        return {}
    return {key: value for key, value in pairs.items() if value is not True}
