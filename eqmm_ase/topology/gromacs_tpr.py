"""GROMACS' run input (tpr): the topology as it was simulated, includes and all.

The file's pieces are unpacked by MDAnalysis (LGPL software), which keeps up with its many
versions; they are put together here, because virtual sites, restraints and the state B of atoms
matter for a QM region and do not appear in MDAnalysis' own topology.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.topology.elements import NOT_GIVEN
from eqmm_ase.topology.evidence import FileEvidence
from eqmm_ase.topology.gromacs_top import residue_numbers
from eqmm_ase.topology.sites import TopologyError

_BONDS = ("BONDS", "G96BONDS", "MORSE", "CUBICBONDS", "CONNBONDS", "TABBONDS", "CONSTR")
"""Chemical bonds; harmonic potentials and restraints between atoms are none."""

_POLARISATION = ("POLARIZATION", "WATERPOL", "THOLE", "ANHARM_POL")
_SHELL, _VIRTUAL_SITE = 2, 4  # particle types
_WITH_RESIDUE_NUMBERS = 63  # file version
_CHANGED = "it changes into another atom in state B of the run; use a run of one end state"


@dataclass(frozen=True, eq=False)
class _Molecule:
    """One molecule type; rows count from 0 within it."""

    name: str
    atoms: Any  # MDAnalysis' atoms: masses, charges, types of states A and B
    residue_numbers: list[int]
    bonds: list[tuple[int, int]]
    parents: dict[int, int]
    """Virtual site → first atom that it is built on."""

    polarisable: bool


def read_tpr(path: Path) -> FileEvidence:
    """What a tpr says.

    Raises
    ------
    TopologyError
        When MDAnalysis cannot read it (it knows most versions from GROMACS 4.0 on), or it is
        polarisable.
    """
    try:
        blocks = list(_blocks(path.read_bytes()))
    except Exception as error:  # the file can break at any of its many fields
        raise TopologyError(
            f"MDAnalysis cannot read {path} ({short_reason(error)}); it knows most versions from "
            "GROMACS 4.0 on, or give the top"
        ) from error
    if not sum(count * molecule.atoms.nr for _, molecule, count in blocks):
        raise TopologyError(f"{path} has no atoms; is it complete?")
    if any(molecule.polarisable for _, molecule, _ in blocks):
        raise TopologyError(f"{path} is polarisable; expected fixed point charges")
    return _assemble(blocks)


def _blocks(content: bytes) -> Iterator[tuple[int, _Molecule, int]]:
    """Molecules in order: number of the block, type, how many."""
    from MDAnalysis.topology.tpr import setting, utils

    data = utils.TPXUnpacker(content)
    header = utils.read_tpxheader(data)
    if header.fver >= setting.tpxv_AddSizeField and header.fgen >= 27:
        data = utils.TPXUnpacker2020.from_unpacker(data)
    if not header.bTop:
        raise ValueError("it holds no topology")
    if header.bBox:
        utils.extract_box_info(data, header.fver)
    for _ in range(2 if header.fver < 69 else 1):  # temperature coupling
        utils.ndo_real(data, header.ngtc)
    symbols = utils.do_symtab(data)
    utils.do_symstr(data, symbols)  # the system's name
    utils.do_ffparams(data, header.fver)
    kinds = [_molecule(data, symbols, header.fver) for _ in range(data.unpack_int())]
    for number in range(data.unpack_int()):
        block = utils.do_molblock(data)
        yield number, kinds[block.molb_type], block.molb_nmol


def _molecule(data: Any, symbols: list[bytes], version: int) -> _Molecule:
    from MDAnalysis.topology.tpr import obj, utils

    name = utils.do_symstr(data, symbols).decode()
    n, n_residues = data.unpack_int(), data.unpack_int()
    atoms = [utils.do_atom(data, version) for _ in range(n)]
    names, types, types_b = ([symbols[i] for i in utils.ndo_int(data, n)] for _ in range(3))
    residues, numbers = [], []
    for i in range(n_residues):
        residues.append(symbols[data.unpack_int()])
        numbers.append(i + 1)
        if version >= _WITH_RESIDUE_NUMBERS:
            numbers[-1] = data.unpack_int()
            data.unpack_uchar()  # insertion code
    lists = [entry for entry in utils.do_ilists(data, version) if entry.nr]
    utils.do_block(data)
    utils.do_blocka(data)
    gathered = obj.Atoms(atoms, n, n_residues, types, types_b, names, residues)
    polarisable = any(entry.ik[0] in _POLARISATION for entry in lists)
    polarisable |= any(atom.ptype == _SHELL for atom in atoms)
    return _Molecule(name, gathered, numbers, *_interactions(lists), polarisable)


def _interactions(lists: list[Any]) -> tuple[list[tuple[int, int]], dict[int, int]]:
    """Bonds, and the parents of virtual sites."""
    from MDAnalysis.topology.tpr import obj

    bonds: list[tuple[int, int]] = []
    parents: dict[int, int] = {}
    for entry in lists:
        kind = obj.InteractionKind(*entry.ik)
        if kind.name == "SETTLE" and len(entry.iatoms) == 2:  # old files name the oxygen only
            oxygen = entry.iatoms[1]
            bonds += [(oxygen, oxygen + 1), (oxygen, oxygen + 2)]
        elif kind.name == "SETTLE":
            bonds += [(o, h) for o, *hs in kind.process(entry.iatoms) for h in hs]
        elif kind.name in _BONDS:
            bonds += [(i, j) for i, j in kind.process(entry.iatoms)]
        elif kind.name.startswith("VSITE"):
            for site, first, *_ in kind.process(entry.iatoms):
                parents.setdefault(site, first)
    return bonds, parents


def _assemble(blocks: list[tuple[int, _Molecule, int]]) -> FileEvidence:
    """All copies of all molecules."""
    parts = [_of_block(number, molecule, count) for number, molecule, count in blocks]
    starts = np.cumsum([0] + [len(part.names) for part in parts])
    first_residues = np.cumsum([0] + [len(part.residue_names) for part in parts])
    shifted = list(zip(parts, starts.tolist(), first_residues.tolist(), strict=False))
    doubts = {start + i: doubt for part, start, _ in shifted for i, doubt in part.doubts.items()}
    note = f"{len(doubts)} atoms change in state B of the run; charges are those of state A"
    return FileEvidence(
        names=[name for part in parts for name in part.names],
        kinds=[kind for part in parts for kind in part.kinds],
        masses=np.concatenate([part.masses for part in parts]),
        numbers=np.concatenate([part.numbers for part in parts]),
        charges=np.concatenate([part.charges for part in parts]),
        residues=np.concatenate([part.residues + residue for part, _, residue in shifted]),
        residue_names=[name for part in parts for name in part.residue_names],
        residue_numbers=residue_numbers([(m.residue_numbers, count) for _, m, count in blocks]),
        segments=[segment for part in parts for segment in part.segments],
        bonds=np.concatenate([part.bonds + start for part, start, _ in shifted]),
        virtual=np.concatenate([part.virtual for part in parts]),
        parents={
            start + i: start + j for part, start, _ in shifted for i, j in part.parents.items()
        },
        doubts=doubts,
        notes=[note] if doubts else [],
    )


def _of_block(number: int, molecule: _Molecule, count: int) -> FileEvidence:
    """Copies of one molecule; rows and residues count from 0."""
    gathered, atoms = molecule.atoms, molecule.atoms.atoms
    copies = np.arange(count)[:, None]
    pairs = np.array(molecule.bonds, dtype=np.int64).reshape(1, -1)
    states = zip(atoms, gathered.type, gathered.typeB, strict=True)
    changed = [i for i, (atom, a, b) in enumerate(states) if a != b or atom.q != atom.qB]
    n = gathered.nr
    return FileEvidence(
        names=[name.decode() for name in gathered.atomnames] * count,
        kinds=[kind.decode() for kind in gathered.type] * count,
        masses=np.tile(np.array([atom.m for atom in atoms], dtype=np.float64), count),
        numbers=np.tile([max(atom.atomnumber, NOT_GIVEN) for atom in atoms], count),
        charges=np.tile(np.array([atom.q for atom in atoms], dtype=np.float64), count),
        residues=(np.array([[a.resind for a in atoms]]) + gathered.nres * copies).ravel(),
        residue_names=[name.decode() for name in gathered.resnames] * count,
        residue_numbers=[],
        segments=[f"seg_{number}_{molecule.name}"] * (count * gathered.nres),
        bonds=(pairs + n * copies).reshape(-1, 2),
        virtual=np.tile([_is_virtual(atom) for atom in atoms], count),
        parents={n * c + i: n * c + j for c in range(count) for i, j in molecule.parents.items()},
        doubts={n * c + i: _CHANGED for c in range(count) for i in changed},
    )


def _is_virtual(atom: Any) -> bool:
    """A site on others; not a hydrogen that moves with its group, nor a mass for constraints."""
    if atom.ptype == _VIRTUAL_SITE:
        return bool(atom.atomnumber <= 0)
    return bool(atom.atomnumber == 0 and atom.q == 0.0)
