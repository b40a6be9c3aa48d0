"""Writes GROMACS' run input, as GROMACS 5.1 does, as far as a topology goes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

VERSION = 103
_ATOM, VIRTUAL_SITE, SHELL = 0, 4, 2
PARTICLES = {"A": _ATOM, "V": VIRTUAL_SITE, "S": SHELL}


@dataclass
class MoleculeType:
    """Atoms as (name, type, atomic number, mass, charge, particle), all in one residue."""

    name: str
    residue: str
    atoms: list[tuple[str, str, int, float, float, str]]
    interactions: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    """Kind as MDAnalysis calls it, such as BONDS → rows of atoms."""

    state_b: dict[int, float] = field(default_factory=dict)
    """Row → charge in state B."""


def tpr_bytes(molecules: list[tuple[MoleculeType, int]]) -> bytes:
    """The file of these molecules, each so many times."""
    symbols: list[str] = []

    def symbol(text: str) -> int:
        if text not in symbols:
            symbols.append(text)
        return symbols.index(text)

    body = [_int(symbol("system")), _int(1), _int(0), struct.pack(">d", 12.0), _real(1.0)]
    body.append(_int(len(molecules)))
    body += [_molecule(molecule, symbol) for molecule, _ in molecules]
    body.append(_int(len(molecules)))
    for number, (molecule, count) in enumerate(molecules):
        body += [_int(number), _int(count), _int(len(molecule.atoms)), _int(0), _int(0)]
    n = sum(len(molecule.atoms) * count for molecule, count in molecules)
    head = [_string("VERSION 5.1"), _int(4), _int(VERSION), _int(26), _string("release")]
    head += [_int(n), _int(0), _int(0), _real(0.0)]  # no temperature coupling, lambda 0
    head += [_int(value) for value in (0, 1, 0, 0, 0, 0)]  # a topology, nothing else
    table = [_int(len(symbols)), *(_string(text) for text in symbols)]
    return b"".join([*head, *table, *body])


def _molecule(molecule: MoleculeType, symbol) -> bytes:
    parts = [_int(symbol(molecule.name)), _int(len(molecule.atoms)), _int(1)]
    for row, (_, _, number, mass, charge, particle) in enumerate(molecule.atoms):
        charge_b = molecule.state_b.get(row, charge)
        parts += [_real(value) for value in (mass, charge, mass, charge_b)]
        parts += [_int(value) for value in (0, 0, PARTICLES[particle], 0, number)]
    parts += [_int(symbol(atom[0])) for atom in molecule.atoms]
    parts += [_int(symbol(atom[1])) for atom in molecule.atoms] * 2
    parts += [_int(symbol(molecule.residue)), _int(1), _int(ord(" "))]
    parts += _interactions(molecule.interactions)
    parts += [_int(0), _int(0), _int(0), _int(0), _int(0)]  # charge groups, exclusions
    return b"".join(parts)


def _interactions(wanted: dict[str, list[tuple[int, ...]]]) -> list[bytes]:
    from MDAnalysis.topology.tpr import setting

    parts = []
    for number in range(setting.F_NRE):
        if any(version > VERSION and number == kind for version, kind in setting.ftupd):
            continue
        known = number < len(setting.interaction_types)
        rows = wanted.get(setting.interaction_types[number][0], []) if known else []
        words = [word for row in rows for word in (0, *row)]
        parts += [_int(len(words)), *(_int(word) for word in words)]
    return parts


def _int(value: int) -> bytes:
    return struct.pack(">i", value)


def _real(value: float) -> bytes:
    return struct.pack(">f", value)


def _string(text: str) -> bytes:
    raw = text.encode()
    return _int(len(raw) + 1) + _int(len(raw)) + raw + b"\0" * (-len(raw) % 4)
