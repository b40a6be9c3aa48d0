"""AMBER prmtop, CHARMM or NAMD psf and GROMACS top files, read with ParmEd.

ParmEd is LGPL software, imported here and in the reader of GROMACS' includes only. Atomic numbers
are taken from it only where the file itself holds them: it makes the others from masses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.topology.elements import NOT_GIVEN
from eqmm_ase.topology.evidence import FileEvidence
from eqmm_ase.topology.gromacs_top import TopText, missing_includes, read_top_text
from eqmm_ase.topology.sites import TopologyError

_MASSLESS = 0.1  # u
_RESTRAINTS = (6, 9, 10)
"""Kinds of GROMACS bonds that are no chemical bonds: harmonic, tabulated, restraint."""


def read_parmed(path: Path) -> FileEvidence:
    """What a prmtop, psf or top says.

    Raises
    ------
    TopologyError
        When ParmEd cannot read it, it is of another kind, or its charges are not fixed.
    """
    from parmed import gromacs

    structure = _load(path)
    atoms = list(structure.atoms)
    text = None
    if isinstance(structure, gromacs.GromacsTopologyFile):
        text = read_top_text(path)
        _check_top(path, text)
    masses = np.array([atom.mass for atom in atoms], dtype=np.float64)
    masses[masses < 0.0] = np.nan  # ParmEd's for a type that is not defined
    numbers, no_atoms = _numbers(structure, text)
    bonds = [
        (bond.atom1.idx, bond.atom2.idx)
        for bond in structure.bonds
        if getattr(bond, "funct", 1) not in _RESTRAINTS
    ]
    changed = text.rows("changed") if text else []
    return FileEvidence(
        names=[str(atom.name) for atom in atoms],
        kinds=[str(atom.type) if isinstance(atom.type, str) else "" for atom in atoms],
        masses=masses,
        numbers=numbers,
        charges=_charges(atoms, text),
        residues=np.array([atom.residue.idx for atom in atoms]),
        residue_names=[str(residue.name) for residue in structure.residues],
        residue_numbers=text.residue_numbers() if text else _residue_numbers(structure),
        segments=[str(r.segid or r.chain or "") for r in structure.residues],
        bonds=np.array(bonds, dtype=np.int64).reshape(-1, 2),
        virtual=no_atoms,
        parents=_hosts(atoms),
        doubts=dict.fromkeys(changed, _CHANGED),
        notes=_notes(len(changed)),
    )


_CHANGED = (
    "it changes into another atom in state B of the topology; give the topology of one end state"
)


def _notes(n_changed: int) -> list[str]:
    if not n_changed:
        return []
    return [f"{n_changed} atoms change in state B of the topology; charges are those of state A"]


def _load(path: Path) -> Any:
    """ParmEd's structure of a kind of file that has charges."""
    import parmed
    from parmed import amber, charmm, gromacs

    try:
        if amber.AmberFormat.id_format(str(path)):
            structure = _load_amber(path)
        elif path.suffix.lower() in (".top", ".itp") or _is_gromacs(path):
            structure = gromacs.GromacsTopologyFile(str(path), parametrize=False)
        else:
            structure = parmed.load_file(str(path))
    except Exception as error:  # ParmEd raises whatever its parsers stumble over
        missing = missing_includes(path) if "Could not find" in str(error) else ""
        raise TopologyError(missing or _unreadable(path, error)) from error
    if not getattr(structure, "atoms", True):
        raise TopologyError(f"{path} has no atoms; is it complete?")
    kinds = (amber.AmberParm, charmm.CharmmPsfFile, gromacs.GromacsTopologyFile)
    if not isinstance(structure, kinds) or isinstance(structure, amber.AmoebaParm):
        found = type(structure).__name__
        raise TopologyError(
            f"{path} was read as {found}; expected an AMBER prmtop, a GROMACS top or tpr, or a "
            "CHARMM psf with fixed point charges"
        )
    _check_fixed_charges(path, structure)
    return structure


def _is_gromacs(path: Path) -> bool:
    from parmed import gromacs

    return bool(gromacs.GromacsTopologyFile.id_format(str(path)))


def _load_amber(path: Path) -> Any:
    """An AMBER topology; zeros among its atomic numbers are gaps where there is a mass.

    ParmEd would take those atoms for virtual sites.
    """
    from parmed import amber

    raw = amber.AmberFormat(str(path))
    numbers, names = raw.parm_data.get("ATOMIC_NUMBER", []), raw.parm_data["ATOM_NAME"]
    for i, (number, mass) in enumerate(zip(numbers, raw.parm_data["MASS"], strict=False)):
        if number == 0 and mass > _MASSLESS and not names[i].startswith(("EP", "LP")):
            numbers[i] = NOT_GIVEN
    if "AMOEBA_FORCEFIELD" in raw.parm_data:
        return raw.view_as(amber.AmoebaParm)
    return raw.view_as(amber.ChamberParm if "CTITLE" in raw.parm_data else amber.AmberParm)


def _unreadable(path: Path, error: Exception) -> str:
    sentence = f"ParmEd cannot read {path} ({short_reason(error)})"
    if path.suffix.lower() == ".top":
        sentence += "; GROMACS' run input (tpr) of the same system can be given instead"
    return sentence


def _check_fixed_charges(path: Path, structure: Any) -> None:
    from parmed import amber
    from parmed.topologyobjects import DrudeAtom

    polarisable = any(isinstance(atom, DrudeAtom) for atom in structure.atoms)
    if isinstance(structure, amber.AmberParm):
        polarisable |= any(structure.parm_data.get("IPOL", [0]))
    if polarisable:
        raise TopologyError(f"{path} is polarisable; expected fixed point charges")


def _check_top(path: Path, text: TopText) -> None:
    if text.polarisable:
        raise TopologyError(f"{path} is polarisable; expected fixed point charges")


def _numbers(structure: Any, text: TopText | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Atomic numbers that the file holds, and sites that it calls virtual."""
    from parmed import ExtraPoint, amber

    atoms = structure.atoms
    numbers = np.full(len(atoms), NOT_GIVEN, dtype=np.int64)
    if text is not None:
        kinds = [text.kinds.get(str(atom.type)) for atom in atoms]
        numbers[:] = [NOT_GIVEN if kind is None else kind.number for kind in kinds]
        pairs = zip(atoms, kinds, strict=True)
        return numbers, np.array(
            [kind is not None and kind.is_no_atom(float(atom.charge)) for atom, kind in pairs]
        )
    if isinstance(structure, amber.AmberParm):
        numbers[:] = structure.parm_data.get("ATOMIC_NUMBER", numbers)
    return numbers, np.array([isinstance(atom, ExtraPoint) for atom in atoms])


def _charges(atoms: list[Any], text: TopText | None) -> NDArray[np.float64]:
    """In e; where a top gives an atom none, that of its type."""
    charges = np.array([atom.charge for atom in atoms], dtype=np.float64)
    if text is not None:
        for row in text.rows("uncharged"):
            charges[row] = text.kinds[str(atoms[row].type)].charge
    return charges


def _hosts(atoms: list[Any]) -> dict[int, int]:
    """First atom of the frame that a lone pair of a psf is built on."""
    hosts = {}
    for atom in atoms:
        frame = getattr(atom, "_frame_type", None)
        if frame is not None and hasattr(frame, "get_atoms"):
            hosts[atom.idx] = frame.get_atoms()[0].idx
    return hosts


def _residue_numbers(structure: Any) -> list[int]:
    """As the file has them; a prmtop without them counts from 1, where ParmEd counts from 0."""
    from parmed import amber

    counted = isinstance(structure, amber.AmberParm)
    counted = counted and "RESIDUE_NUMBER" not in structure.parm_data
    return [int(residue.number) + counted for residue in structure.residues]
