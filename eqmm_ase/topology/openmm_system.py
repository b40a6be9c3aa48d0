"""A PDB or mmCIF file with the OpenMM System in XML beside it, read with OpenMM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.topology.elements import NOT_GIVEN
from eqmm_ase.topology.evidence import FileEvidence
from eqmm_ase.topology.sites import TopologyError

IntArray = NDArray[np.integer]

_LONGEST_BOND = 3.0  # Å; a harmonic force over more is a restraint
_LONGEST_SIDE = 1.2
"""Times the other two sides of a triangle; longer is a Urey–Bradley term, or an angle held."""


def read_openmm(path: Path, system_path: Path) -> FileEvidence:
    """What the structure file and the System say.

    Raises
    ------
    TopologyError
        When one cannot be read, they do not fit, or the charges are not fixed point charges.
    """
    from openmm import app

    system = _read_system(system_path)
    pdb = path.suffix.lower() in (".pdb", ".ent")
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            file = app.PDBFile(stream) if pdb else app.PDBxFile(stream)
    except Exception as error:  # OpenMM's parsers raise whatever they stumble over
        raise TopologyError(f"OpenMM cannot read {path} ({short_reason(error)})") from error
    topology, n = file.topology, system.getNumParticles()
    if topology.getNumAtoms() != n:
        raise TopologyError(
            f"{path} has {topology.getNumAtoms()} atoms and {system_path} has {n} particles; "
            "expected the same, virtual sites included"
        )
    charges = _charges(system, system_path)
    atoms, residues = list(topology.atoms()), list(topology.residues())
    virtual = np.array([system.isVirtualSite(i) for i in range(n)], dtype=bool)
    return FileEvidence(
        names=[atom.name for atom in atoms],
        kinds=[""] * n,
        masses=np.array([system.getParticleMass(i)._value for i in range(n)]),
        numbers=_pdb_numbers(path, atoms) if pdb else _numbers(atoms),
        charges=charges,
        residues=np.array([atom.residue.index for atom in atoms]),
        residue_names=[residue.name for residue in residues],
        residue_numbers=[_number(r.id, i + 1) for i, r in enumerate(residues)],
        segments=[str(residue.chain.id) for residue in residues],
        bonds=_bonds(topology, system),
        virtual=virtual,
        massless_atoms=True,
        parents={
            int(i): system.getVirtualSite(int(i)).getParticle(0) for i in np.flatnonzero(virtual)
        },
    )


def _read_system(path: Path) -> Any:
    from openmm import OpenMMException, System, XmlSerializer

    try:
        system = XmlSerializer.deserialize(path.read_text(encoding="utf-8"))
    except (OpenMMException, UnicodeDecodeError, OSError, ValueError) as error:
        raise TopologyError(f"OpenMM cannot read {path} ({short_reason(error)})") from error
    if not isinstance(system, System):
        raise TopologyError(f"{path} holds a {type(system).__name__}; expected a System")
    return system


def _charges(system: Any, path: Path) -> NDArray[np.float64]:
    forces = {type(force).__name__: force for force in system.getForces()}
    if "NonbondedForce" not in forces or {"DrudeForce", "AmoebaMultipoleForce"} & set(forces):
        raise TopologyError(
            f"{path} has the forces {', '.join(sorted(forces))}; expected a NonbondedForce, "
            "which holds fixed point charges, and no polarisable force"
        )
    nonbonded = forces["NonbondedForce"]
    if nonbonded.getNumParticleParameterOffsets():
        raise TopologyError(
            f"{path} has charges that change with global parameters; expected fixed point charges"
        )
    sites = range(system.getNumParticles())
    return np.array([nonbonded.getParticleParameters(i)[0]._value for i in sites])


def _numbers(atoms: list[Any]) -> IntArray:
    """Atomic numbers of an mmCIF file, which states its elements."""
    return np.array([a.element.atomic_number if a.element else NOT_GIVEN for a in atoms])


def _pdb_numbers(path: Path, atoms: list[Any]) -> IntArray:
    """Atomic numbers from columns 77 and 78 of a PDB.

    Where they are blank, OpenMM makes elements from names, which proves nothing more than those.
    """
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("ENDMDL"):
            break
        if line.startswith(("ATOM", "HETATM")):
            lines.append((line[12:16].strip(), line[76:78].strip().capitalize()))
    if len(lines) != len(atoms):  # alternate locations: OpenMM keeps one of each
        return np.full(len(atoms), NOT_GIVEN)
    return np.array([atomic_numbers.get(symbol, NOT_GIVEN) for _, symbol in lines])


def _bonds(topology: Any, system: Any) -> IntArray:
    """Bonds of the PDB and of the force field: a PDB names few bonds of unusual residues.

    Constraints are bonds too, and some harmonic forces are none: those are told by their length.
    """
    from openmm import HarmonicBondForce

    named = {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}
    lengths: dict[tuple[int, ...], float] = {}  # Å
    for force in system.getForces():
        if isinstance(force, HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, length, _ = force.getBondParameters(k)
                pair = tuple(sorted((i, j)))
                lengths[pair] = min(10.0 * length._value, lengths.get(pair, np.inf))
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        lengths.setdefault(tuple(sorted((i, j))), 10.0 * length._value)
    pairs = named | (set(lengths) - _no_bonds(lengths, system.getNumParticles()))
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _no_bonds(lengths: dict[tuple[int, ...], float], n: int) -> set[tuple[int, ...]]:
    """Pairs held over too long a distance, or across an angle whose sides are bonds."""
    partners: list[dict[int, float]] = [{} for _ in range(n)]
    for (i, j), length in lengths.items():
        partners[i][j] = partners[j][i] = length
    found: set[tuple[int, ...]] = set()
    for (i, j), length in lengths.items():
        apexes = partners[i].keys() & partners[j].keys()
        sides = [max(partners[i][k], partners[j][k]) for k in apexes]
        if length > _LONGEST_BOND or any(length > _LONGEST_SIDE * side for side in sides):
            found.add((i, j))
    return found


def _number(text: str, otherwise: int) -> int:
    try:
        return int(text)
    except ValueError:
        return otherwise
