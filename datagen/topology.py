"""The topology of a user's simulation: charges, residues and bonds, whatever program wrote it.

AMBER (prmtop), GROMACS (top) and CHARMM or NAMD (psf) files are read with ParmEd; a PDB with the
OpenMM System in XML beside it with OpenMM. ParmEd is LGPL software, imported here only.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MASSLESS = 0.1  # u

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


class TopologyError(ValueError):
    """The topology cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Topology:
    """Sites in the order of the trajectory: atoms, and virtual sites with atomic number 0."""

    atomic_numbers: IntArray  # (n,)
    charges: FloatArray  # (n,) e
    names: tuple[str, ...]  # of the sites, n
    residues: IntArray  # (n,) row of each site's residue
    residue_names: tuple[str, ...]
    residue_numbers: tuple[int, ...]  # as the file counts them
    segments: tuple[str, ...]  # of each residue
    bonds: IntArray  # (n_bonds, 2), between atoms only
    parents: IntArray  # (n,) the atom that a virtual site belongs to; −1 for an atom

    @property
    def n_sites(self) -> int:
        """Number of atoms and virtual sites."""
        return len(self.charges)

    def label(self, site: int) -> str:
        """A site as people call it: ``SER 3 CB``."""
        residue = self.residues[site]
        return f"{self.residue_names[residue]} {self.residue_numbers[residue]} {self.names[site]}"


def read_topology(path: Path, system: Path | None = None) -> Topology:
    """Read a topology file.

    Parameters
    ----------
    path
        AMBER prmtop, GROMACS top, CHARMM psf; or a PDB (or mmCIF), which needs ``system``.
    system
        OpenMM System in XML, of the same atoms as the PDB.

    Raises
    ------
    TopologyError
        When the file is of another kind or damaged, or its charges are not fixed point charges.
    FileNotFoundError
        When there is no such file.
    """
    for file in (path, *([system] if system else [])):
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    if path.suffix.lower() in (".pdb", ".cif", ".pdbx"):
        if system is None:
            raise TopologyError(f"{path} holds no charges; give the OpenMM System in XML with it")
        return _read_openmm(path, system)
    if system is not None:
        raise TopologyError(f"{path} has charges of its own; a System goes with a PDB only")
    return _read_parmed(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice to developers and the remarks on gaps that file readers warn about."""
    log = logging.getLogger("MDAnalysis")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _read_parmed(path: Path) -> Topology:
    import parmed

    structure = _load(path)
    atoms = list(structure.atoms)
    virtual = [isinstance(a, parmed.ExtraPoint) or _is_massless(a) for a in atoms]
    for atom in atoms:
        if isinstance(atom, parmed.topologyobjects.DrudeAtom):
            raise TopologyError(f"{path} is polarisable (Drude); expected fixed point charges")
    pairs = [(b.atom1, b.atom2) for b in structure.bonds]
    bonds = [(a.idx, b.idx) for a, b in pairs if not (virtual[a.idx] or virtual[b.idx])]
    parents = np.full(len(atoms), -1)
    for i in np.flatnonzero(virtual):
        partners = [p.idx for p in atoms[i].bond_partners if not virtual[p.idx]]
        residue = [a.idx for a in atoms[i].residue.atoms if not virtual[a.idx]]
        parents[i] = (partners or residue)[0]
    return Topology(
        atomic_numbers=np.where(virtual, 0, [max(a.atomic_number, 0) for a in atoms]),
        charges=np.array([atom.charge for atom in atoms], dtype=np.float64),
        names=tuple(atom.name for atom in atoms),
        residues=np.array([atom.residue.idx for atom in atoms]),
        residue_names=tuple(residue.name for residue in structure.residues),
        residue_numbers=_residue_numbers(structure),
        segments=tuple(str(r.segid or r.chain or "") for r in structure.residues),
        bonds=np.array(bonds, dtype=np.int64).reshape(-1, 2),
        parents=parents,
    )


def _load(path: Path) -> Any:
    """ParmEd's structure of a kind of file that has charges."""
    import parmed
    from parmed import amber, charmm, gromacs

    try:
        with quiet():
            structure = parmed.load_file(str(path))
    except Exception as error:  # ParmEd raises whatever its parsers stumble over
        reason = str(error).strip() or type(error).__name__
        if path.suffix.lower() == ".top":
            reason += "; what a top includes is looked for beside it and in $GMXDATA/top"
        raise TopologyError(f"ParmEd cannot read {path}: {reason}") from error
    if not getattr(structure, "atoms", True):
        raise TopologyError(f"{path} has no atoms; is it complete?")
    kinds = (amber.AmberParm, charmm.CharmmPsfFile, gromacs.GromacsTopologyFile)
    if not isinstance(structure, kinds) or isinstance(structure, amber.AmoebaParm):
        found = type(structure).__name__
        raise TopologyError(
            f"{path} was read as {found}; expected an AMBER prmtop, a GROMACS top or a CHARMM psf "
            "with fixed point charges"
        )
    return structure


def _is_massless(atom: Any) -> bool:
    """Virtual sites that ParmEd takes for atoms, as it does for some psf files."""
    return bool(atom.atomic_number <= 0 and atom.mass < _MASSLESS)


def _residue_numbers(structure: Any) -> tuple[int, ...]:
    """As the file has them; a prmtop without them counts from 1, where ParmEd counts from 0."""
    from parmed import amber

    counted = isinstance(structure, amber.AmberParm)
    counted = counted and "RESIDUE_NUMBER" not in structure.parm_data
    return tuple(int(residue.number) + counted for residue in structure.residues)


def _read_openmm(path: Path, system_path: Path) -> Topology:
    from openmm import NonbondedForce, OpenMMException, System, XmlSerializer, app, unit

    try:
        system = XmlSerializer.deserialize(system_path.read_text(encoding="utf-8"))
    except (OpenMMException, UnicodeDecodeError) as error:
        raise TopologyError(f"OpenMM cannot read {system_path}: {error}") from error
    if not isinstance(system, System):
        raise TopologyError(f"{system_path} holds a {type(system).__name__}; expected a System")
    file = app.PDBFile(str(path)) if path.suffix.lower() == ".pdb" else app.PDBxFile(str(path))
    topology, n = file.topology, system.getNumParticles()
    if topology.getNumAtoms() != n:
        raise TopologyError(
            f"{path} has {topology.getNumAtoms()} atoms and {system_path} has {n} particles; "
            "expected the same, virtual sites included"
        )
    forces = {type(force).__name__: force for force in system.getForces()}
    if "NonbondedForce" not in forces or {"DrudeForce", "AmoebaMultipoleForce"} & set(forces):
        raise TopologyError(
            f"{system_path} has the forces {', '.join(sorted(forces))}; expected a NonbondedForce, "
            "which holds fixed point charges, and no polarisable force"
        )
    nonbonded: NonbondedForce = forces["NonbondedForce"]
    charges = [
        nonbonded.getParticleParameters(i)[0].value_in_unit(unit.elementary_charge)
        for i in range(n)
    ]
    atoms, residues = list(topology.atoms()), list(topology.residues())
    numbers = np.array([a.element.atomic_number if a.element else 0 for a in atoms])
    parents = np.full(n, -1)
    for i in range(n):
        if system.isVirtualSite(i):
            parents[i], numbers[i] = system.getVirtualSite(i).getParticle(0), 0
    return Topology(
        atomic_numbers=numbers,
        charges=np.array(charges, dtype=np.float64),
        names=tuple(atom.name for atom in atoms),
        residues=np.array([atom.residue.index for atom in atoms]),
        residue_names=tuple(residue.name for residue in residues),
        residue_numbers=tuple(_number(r.id, i + 1) for i, r in enumerate(residues)),
        segments=tuple(str(residue.chain.id) for residue in residues),
        bonds=_openmm_bonds(topology, system, numbers),
        parents=parents,
    )


def _openmm_bonds(topology: Any, system: Any, numbers: IntArray) -> IntArray:
    """Bonds of the PDB and of the force field: a PDB names few bonds of unusual residues.

    A constraint is a bond when one end is hydrogen; those between two hydrogens keep an angle.
    """
    from openmm import HarmonicBondForce

    pairs = {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}
    for force in system.getForces():
        if isinstance(force, HarmonicBondForce):
            for k in range(force.getNumBonds()):
                pairs.add(tuple(sorted(force.getBondParameters(k)[:2])))
    for k in range(system.getNumConstraints()):
        i, j = sorted(system.getConstraintParameters(k)[:2])
        if (numbers[i] == 1) != (numbers[j] == 1):
            pairs.add((i, j))
    real = [(i, j) for i, j in sorted(pairs) if numbers[i] > 0 and numbers[j] > 0]
    return np.array(real, dtype=np.int64).reshape(-1, 2)


def _number(text: str, otherwise: int) -> int:
    try:
        return int(text)
    except ValueError:
        return otherwise
