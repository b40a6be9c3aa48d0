"""OpenMM Systems from the files of other programs, with the topology as EqMM reads it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from eqmm_ase.arrays import FloatArray
from eqmm_ase.cutting.trajectories import read_snapshots
from eqmm_ase.engines.openmm_context import box_of, reduced_box
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.topology import Topology, quiet, read_topology
from eqmm_ase.topology.evidence import topology_of
from eqmm_ase.topology.openmm_system import openmm_evidence

_CUTOFF = 10.0  # Å
_PDB = (".pdb", ".ent", ".cif", ".pdbx")


class LoadingError(ValueError):
    """Files that make no system; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class LoadedSystem:
    """A classical system from files."""

    topology: app.Topology
    system: openmm.System
    sites: Topology
    """Elements, charges and bonds by all that the topology file says."""

    positions: FloatArray  # (n, 3) Å
    cell: FloatArray | None  # (3, 3) Å, lattice vectors as rows


def load_system(
    topology: Path,
    coordinates: Path | None = None,
    *,
    system: Path | None = None,
    force_field: Sequence[str] = (),
    cutoff: float | None = None,
    rigid: bool = True,
    hydrogen_mass: float | None = None,
    isolated: bool = False,
) -> LoadedSystem:
    """Read a classical system.

    Parameters
    ----------
    topology
        AMBER prmtop, GROMACS top, CHARMM psf (with its parameter files as `force_field`), or a PDB
        or mmCIF with an OpenMM System in XML (`system`) or the names of OpenMM force fields
        (`force_field`).
    coordinates
        Any file that `eqmm_ase.cutting.trajectories` reads; its last frame counts. None: those of
        a PDB.
    cutoff
        Å, of the real-space part of PME and of Lennard-Jones; by default 10, or as much as fits
        into a smaller box. A System in XML keeps its own.
    rigid
        Whether waters are rigid and bonds to hydrogen are constrained.
    hydrogen_mass
        u, to which masses are repartitioned; None leaves them.
    isolated
        The system does not repeat; a box in the files is ignored. Without it, there must be one,
        but for a System in XML that is not periodic.

    Raises
    ------
    LoadingError, TopologyError, TrajectoryError, FileNotFoundError
        When files are missing, of another kind, or do not fit each other.
    """
    if not topology.is_file():
        raise FileNotFoundError(f"there is no topology {topology}")
    kind = topology.suffix.lower()
    if coordinates is None and kind not in _PDB:
        raise LoadingError(f"{topology} holds no coordinates; give a file that does")
    if system is not None and hydrogen_mass is not None:
        raise LoadingError(f"{system} has masses of its own; leave out --hydrogen-mass")
    settings: dict[str, Any] = {"constraints": app.HBonds if rigid else None, "rigidWater": rigid}
    if hydrogen_mass is not None:
        settings["hydrogenMass"] = hydrogen_mass * unit.dalton
    sites = None if kind in _PDB else read_topology(topology)
    with quiet():
        source, found, box = _open(topology, system, force_field)
    count = source.getNumAtoms()
    snapshot = None
    for snapshot in read_snapshots(coordinates or topology, count):  # noqa: B007 - the last one
        pass
    assert snapshot is not None  # `read_snapshots` refuses files without frames
    cell = _reduced(snapshot.cell if snapshot.cell is not None else box)
    if isinstance(found, openmm.System):
        cell = _box_of_ready_made(found, cell, isolated)
    elif isolated:
        cell = None
    elif cell is None:
        raise LoadingError(
            f"{coordinates or topology} holds no periodic box; give coordinates that do, or say "
            "that the system is isolated (--isolated)"
        )
    if cell is not None:
        source.setPeriodicBoxVectors(cell * unit.angstrom)
        within = _cutoff(cell, cutoff)
        settings |= {"nonbondedMethod": app.PME, "nonbondedCutoff": within * unit.angstrom}
    made = found if isinstance(found, openmm.System) else _create(found, settings, topology)
    if cell is not None:
        made.setDefaultPeriodicBoxVectors(*(cell * unit.angstrom))
    if sites is None:
        sites = topology_of(openmm_evidence(source, made))
    if rigid:
        _warn_of_flexible_water(made, sites, topology)
    return LoadedSystem(source, made, sites, np.asarray(snapshot.positions, np.float64), cell)


def _open(
    path: Path, system: Path | None, force_field: Sequence[str]
) -> tuple[app.Topology, Any, FloatArray | None]:
    """Topology, what makes the System or the System itself, and the box of the file."""
    try:
        if path.suffix.lower() in _PDB:
            return _open_pdb(path, system, force_field)
        if system is not None:
            raise LoadingError(f"{path} has a force field of its own; a System goes with a PDB")
        if path.suffix.lower() == ".top":
            made = app.GromacsTopFile(str(path))
        elif path.suffix.lower() == ".psf":
            return _open_psf(path, force_field)
        else:
            made = app.AmberPrmtopFile(str(path))
    except LoadingError:
        raise
    except Exception as error:  # OpenMM's readers raise whatever they stumble over
        raise LoadingError(f"OpenMM cannot read {path}: {short_reason(error)}") from error
    return made.topology, made.createSystem, _box(made.topology)


def _open_psf(path: Path, parameters: Sequence[str]) -> tuple[app.Topology, Any, None]:
    if not parameters:
        raise LoadingError(f"{path} needs the files of its parameters (--force-field)")
    psf = app.CharmmPsfFile(str(path))
    field = app.CharmmParameterSet(*parameters)

    def create(**settings: Any) -> openmm.System:
        psf.boxVectors = psf.topology.getPeriodicBoxVectors()  # which come from the coordinates
        return psf.createSystem(field, **settings)

    return psf.topology, create, None


def _open_pdb(
    path: Path, system: Path | None, force_field: Sequence[str]
) -> tuple[app.Topology, Any, FloatArray | None]:
    if (system is None) == (not force_field):
        raise LoadingError(
            f"{path} needs either an OpenMM System in XML (--system) or the names of OpenMM force "
            "fields (--force-field amber14-all.xml --force-field amber14/tip3p.xml)"
        )
    pdb = path.suffix.lower() in (".pdb", ".ent")
    file = app.PDBFile(str(path)) if pdb else app.PDBxFile(str(path))
    if system is not None:
        return file.topology, _ready_made(system), _box(file.topology)
    field = app.ForceField(*force_field)
    return (
        file.topology,
        (lambda **args: field.createSystem(file.topology, **args)),
        _box(file.topology),
    )


def _ready_made(path: Path) -> openmm.System:
    try:
        made = openmm.XmlSerializer.deserialize(path.read_text(encoding="utf-8"))
    except (openmm.OpenMMException, OSError, ValueError) as error:
        raise LoadingError(f"OpenMM cannot read {path}: {short_reason(error)}") from error
    if not isinstance(made, openmm.System):
        raise LoadingError(f"{path} holds a {type(made).__name__}; expected a System")
    return made


def _box_of_ready_made(
    system: openmm.System, in_files: FloatArray | None, isolated: bool
) -> FloatArray | None:
    """The System says whether it repeats, and the files where they stand in which box."""
    own = box_of(system)
    if own is not None and isolated:
        raise LoadingError(
            "the System is periodic and cannot be isolated; leave out --isolated, or give a System "
            "without a cutoff"
        )
    return own if own is None or in_files is None else in_files


def _create(make: Any, settings: dict[str, Any], path: Path) -> openmm.System:
    try:
        return make(**settings)
    except Exception as error:  # missing parameters, a box that is too small
        raise LoadingError(
            f"OpenMM cannot make a System of {path}: {short_reason(error)}"
        ) from error


def _warn_of_flexible_water(system: openmm.System, sites: Topology, path: Path) -> None:
    """Waters that OpenMM does not hold rigid, as their files say nothing of a bond H–H."""
    constraints = (system.getConstraintParameters(k) for k in range(system.getNumConstraints()))
    held = {(min(i, j), max(i, j)) for i, j, _ in constraints}
    atoms = np.flatnonzero(sites.parents < 0)
    ends = np.flatnonzero(np.diff(sites.residues[atoms])) + 1
    flexible = 0
    for rows in np.split(atoms, ends):
        if sorted(sites.atomic_numbers[rows]) == [1, 1, 8]:
            first, second = rows[sites.atomic_numbers[rows] == 1].tolist()
            flexible += (first, second) not in held
    if flexible:
        warnings.warn(
            f"{flexible} waters of {path} are not rigid, as their topology has no bond H–H: their "
            "angles bend, and steps longer than 1 fs are too long",
            stacklevel=2,
        )


def _cutoff(cell: FloatArray, wanted: float | None) -> float:
    """Å, at most half of the width of the box."""
    width = float((1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min())
    if wanted is None:
        return float(min(_CUTOFF, np.floor(0.48 * width * 10.0) / 10.0))
    if wanted > width / 2.0:
        raise LoadingError(
            f"the box is {width:.1f} Å wide, less than twice the cutoff of {wanted:g} Å; give a "
            "smaller cutoff or a larger box"
        )
    return wanted


def _box(topology: app.Topology) -> FloatArray | None:
    vectors = topology.getPeriodicBoxVectors()
    return None if vectors is None else np.array(vectors.value_in_unit(unit.angstrom))


def _reduced(cell: FloatArray | None) -> FloatArray | None:
    return None if cell is None else reduced_box(cell)[0]
