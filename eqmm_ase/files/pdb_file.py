"""Atoms of PDB files: elements also where their column is empty, formal charges, one conformation.

Columns as in the format's definition, version 3.3: name 13–16, residue 18–20, position 31–54 (Å),
element 77–78, charge 79–80. Names begin in column 14 for elements of one letter, in column 13 for
those of two, and for hydrogens with names of four.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from eqmm_ase.files.xyz_file import DEUTERIUM

_ALWAYS = frozenset(["CL", "BR"])
"""Elements of two letters that a name at column 13 means in any residue."""


def read_pdb(path: Path) -> list[Atoms]:
    """Models of a PDB file, each with the first of alternative locations.

    Returns
    -------
    list of ase.Atoms
        Names of atoms and residues as arrays; ``info["total_charge"]`` is the sum of the formal
        charges where there are any.

    Raises
    ------
    ValueError
        When a line has no position, or its element cannot be told; the sentence names the line.
    """
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [_atoms(model) for model in _models(lines)]


def _models(lines: list[str]) -> Iterator[list[tuple[int, str]]]:
    model: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if line.startswith(("ATOM  ", "HETATM")):
            model.append((number, line.ljust(80)))
        elif line.startswith("END") and model:
            yield model
            model = []
    if model:
        yield model


def _atoms(model: list[tuple[int, str]]) -> Atoms:
    symbols, positions, charges, kept = [], [], [], []
    locations: dict[str, str] = {}
    for number, line in model:
        if line[16] != locations.setdefault(line[17:27], line[16]) and line[16] != " ":
            if locations[line[17:27]] != " ":
                continue
            locations[line[17:27]] = line[16]
        try:
            positions.append([float(line[at : at + 8]) for at in (30, 38, 46)])
            symbols.append(_element(line))
            charges.append(_charge(line[78:80]))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        kept.append(line)
    atoms = Atoms(["H" if symbol == "D" else symbol for symbol in symbols], positions)
    if "D" in symbols:
        heavy = np.array(symbols) == "D"
        atoms.set_masses(np.where(heavy, DEUTERIUM, atoms.get_masses()))
    atoms.set_array("atomtypes", np.array([line[12:16].strip() for line in kept]))
    atoms.set_array("residuenames", np.array([line[17:21].strip() for line in kept]))
    atoms.set_array("residuenumbers", np.array([line[22:26].strip() for line in kept]))
    if any(charges):
        atoms.info["total_charge"] = sum(charges)
    return atoms


def _element(line: str) -> str:
    written = line[76:78].strip().capitalize()
    if written == "D" or atomic_numbers.get(written, 0) > 0:
        return written
    field, residue = line[12:16].upper(), line[17:21].strip().upper()
    letters = field.strip().lstrip("0123456789")
    one, two = letters[:1], field[:2]
    single = one if one == "D" or atomic_numbers.get(one, 0) > 0 else ""
    double = two.capitalize() if two.isalpha() and two.capitalize() in atomic_numbers else ""
    if not double:
        if single:
            return single
    elif two in _ALWAYS or residue.rstrip("0123456789+-") == two:
        return double
    elif single == "H" and len(field.strip()) == 4:
        return "H"
    elif not single:
        return double
    raise ValueError(
        f"the element of atom {field.strip()!r} of {residue or 'no residue'} cannot be told from "
        "its name; write it into columns 77–78"
    )


def _charge(field: str) -> int:
    """``1-`` or ``+2``; nothing is zero."""
    text = field.strip()
    if not text:
        return 0
    digits, sign = text.strip("+-"), "-" if "-" in text else ""
    if not digits.isdecimal():
        return 0  # older files have other things there
    return int(sign + digits)
