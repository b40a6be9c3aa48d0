"""MDL mol and sdf files, V2000 and V3000, with what ASE leaves out: charges, radicals, isotopes.

Source: CTFile Formats, BIOVIA (2020), chapters 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from eqmm_ase.files.xyz_file import element

Bond = tuple[int, int, float]
"""Two atoms counted from 0, and the order: 1, 2, 3, or 1.5 for aromatic ones."""

_CHARGE_CODES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
_UNPAIRED = {0: 0, 1: 0, 2: 1, 3: 2}
"""Electrons by the code of a radical: none, singlet, doublet, triplet."""

_LENGTH_PER_ORDER = 0.32  # Å; benzene then has an order of 1.5
_DRAWN = 0.14
"""Relative error of bond lengths; those of real molecules follow from order and radii within 10 %,
and drawings give all bonds one length."""


def read_mol(path: Path) -> list[Atoms]:
    """Molecules of a mol or sdf file.

    Returns
    -------
    list of ase.Atoms
        With ``info["total_charge"]`` where atoms have charges, and ``info["n_unpaired"]`` where
        there are radicals.

    Raises
    ------
    ValueError
        When the file has another form, or holds a drawing instead of positions.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    records = [record for record in text.split("$$$$") if record.strip()]
    return [_molecule(record.lstrip("\r\n") if n else record) for n, record in enumerate(records)]


def bonds_of_mol_block(block: str) -> list[Bond]:
    """Bonds of a molecule in the V2000 format."""
    return _v2000(block.splitlines())[1]


def is_drawing(
    numbers: NDArray[np.integer], positions: NDArray[np.floating], bonds: Sequence[Bond]
) -> bool:
    """Whether positions in a plane are those of a structural formula.

    Real planar molecules lie in a plane, too: the lengths of their bonds tell.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (n,) and positions (n, 3) in Å.
    bonds
        With orders.
    """
    if np.ptp(positions[:, 2]) > 1e-4:
        return False
    for i, j, order in bonds:
        radii = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
        expected = radii - _LENGTH_PER_ORDER * np.log(order)
        if abs(np.linalg.norm(positions[i] - positions[j]) / expected - 1) > _DRAWN:
            return True
    return False


def _molecule(record: str) -> Atoms:
    lines = record.splitlines()
    try:
        parts = _v3000(lines) if "V3000" in lines[3] else _v2000(lines)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(
            "expected a mol file: three lines of header, one of counts, then atoms and bonds"
        ) from error
    rows, bonds, charge, unpaired = parts
    if not rows:
        raise ValueError("it holds no atoms")
    symbols, masses = zip(*(element(row[0]) for row in rows), strict=True)
    atoms = Atoms(symbols, [row[1] for row in rows])
    if charge is not None:
        atoms.info["total_charge"] = charge
    if any(masses):
        standard = zip(masses, atoms.get_masses(), strict=True)
        atoms.set_masses([mass or other for mass, other in standard])
    if unpaired:
        atoms.info["n_unpaired"] = unpaired
    if is_drawing(atoms.numbers, atoms.positions, bonds):
        raise ValueError("it holds no three-dimensional coordinates but a drawing")
    return atoms


_Parts = tuple[list[tuple[str, list[float]]], list[Bond], int | None, int]
"""Symbols and positions, bonds, total charge if any atom has one, unpaired electrons."""


def _v2000(lines: list[str]) -> _Parts:
    n_atoms, n_bonds = int(lines[3][:3]), int(lines[3][3:6])
    block = lines[4 : 4 + n_atoms]
    rows = [
        (line[31:34].strip(), [float(line[at : at + 10]) for at in (0, 10, 20)]) for line in block
    ]
    codes = [int(line[36:39].strip() or 0) for line in block]
    bonds = [
        (int(line[:3]) - 1, int(line[3:6]) - 1, _order(int(line[6:9])))
        for line in lines[4 + n_atoms : 4 + n_atoms + n_bonds]
    ]
    charges = {n: _CHARGE_CODES.get(code, 0) for n, code in enumerate(codes)}
    radicals = {n: 1 for n, code in enumerate(codes) if code == 4}
    listed = [line.split() for line in lines if line.startswith(("M  CHG", "M  RAD"))]
    if listed:  # these lines replace the codes of the atoms
        charges, radicals = {}, {}
    for words in listed:
        for atom, value in zip(words[3::2], words[4::2], strict=False):
            if words[1] == "CHG":
                charges[int(atom)] = int(value)
            else:
                radicals[int(atom)] = _UNPAIRED.get(int(value), 0)
    charge = sum(charges.values()) if any(charges.values()) else None
    return rows, bonds, charge, sum(radicals.values())


def _v3000(lines: list[str]) -> _Parts:
    rows: list[tuple[str, list[float]]] = []
    bonds: list[Bond] = []
    charges: list[int] = []
    place, section, unpaired = dict[str, int](), "", 0
    for line in lines:
        words = line.removeprefix("M  V30").split()
        if words[:1] == ["BEGIN"] and len(words) > 1:
            section = words[1]
        elif words[:1] == ["END"]:
            section = ""
        elif section == "ATOM":
            place[words[0]] = len(rows)
            rows.append((words[1], [float(word) for word in words[2:5]]))
            for word in words[6:]:
                key, _, value = word.partition("=")
                charges += [int(value)] if key == "CHG" else []
                unpaired += _UNPAIRED.get(int(value), 0) if key == "RAD" else 0
        elif section == "BOND":
            bonds.append((place[words[2]], place[words[3]], _order(int(words[1]))))
    return rows, bonds, sum(charges) if any(charges) else None, unpaired


def _order(code: int) -> float:
    return {2: 2.0, 3: 3.0, 4: 1.5}.get(code, 1.0)
