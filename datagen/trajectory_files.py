"""Snapshots from trajectory files, and atoms chosen by MDAnalysis' selection language.

MDAnalysis is LGPL software, imported here only. AMBER restart files, which it reads without their
box, are read with ParmEd instead, and AMBER's NetCDF files directly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from datagen.amber_netcdf import is_netcdf, netcdf_frames
from datagen.topology import Topology, quiet
from eqmm_ase.foreign_errors import short_reason

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

_RESTARTS = (".rst7", ".inpcrd", ".restrt", ".rst", ".ncrst")
_SMALLEST_EDGE = 2.0  # Å; programs without a box write one of 0 or 1 Å


class TrajectoryError(ValueError):
    """A trajectory or a selection cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One frame of a trajectory."""

    number: int
    positions: FloatArray  # (n, 3) Å
    cell: FloatArray | None  # (3, 3) Å, None where the file has no box


def read_snapshots(path: Path, n_sites: int, which: slice = slice(None)) -> Iterator[Snapshot]:
    """Frames of a trajectory one by one.

    Parameters
    ----------
    path
        Any trajectory or coordinate file that MDAnalysis reads (nc, xtc, trr, dcd, gro, pdb …), or
        an AMBER restart file, text or NetCDF.
    n_sites
        Sites of the topology, which the file must match.
    which
        The frames wanted.

    Raises
    ------
    TrajectoryError
        When the file is of another kind, damaged, of another number of atoms, or has no such
        frames.
    FileNotFoundError
        When there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no trajectory {path}")
    if is_netcdf(path):
        read = _read_netcdf
    else:
        read = _read_restart if path.suffix.lower() in _RESTARTS else _read_trajectory
    empty = True
    for snapshot in read(path, n_sites, which):
        empty = False
        if not np.isfinite(snapshot.positions).all():
            raise TrajectoryError(f"frame {snapshot.number} of {path} has NaN positions")
        yield snapshot
    if empty:
        raise TrajectoryError(f"{path} has none of the frames asked for")


def select_atoms(topology: Topology, selection: str, positions: FloatArray) -> IntArray:
    """Rows of the sites that a selection names, ascending.

    Parameters
    ----------
    topology
        Knows names, residues, segments, elements, charges and bonds.
    selection
        In MDAnalysis' language: ``resname SER and name CB HB2 HB3 OG HG``, ``protein``,
        ``byres around 3 index 0`` …
    positions : (n, 3)
        Å; the geometric parts of a selection refer to them.

    Raises
    ------
    TrajectoryError
        When MDAnalysis does not understand it, or it selects nothing.
    """
    with quiet():
        universe = _universe(topology, positions)
        try:
            group = universe.select_atoms(selection)
        except Exception as error:  # SelectionError, and what its parser stumbles over
            raise TrajectoryError(
                f"MDAnalysis does not understand the selection {selection!r}: {short_reason(error)}"
            ) from error
    if len(group) == 0:
        names = ", ".join(sorted(set(topology.residue_names))[:8])
        raise TrajectoryError(
            f"the selection {selection!r} selects nothing; the residues are called {names} …"
        )
    return np.asarray(group.indices)


def read_slice(text: str) -> slice:
    """``START:STOP:STEP`` as Python slices are written, or one number.

    Raises
    ------
    TrajectoryError
        When it is neither.
    """
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None and numbers[0] >= 0:
        return slice(numbers[0], numbers[0] + 1)
    steps = [step for step in numbers[2:] if step is not None]
    if len(numbers) not in (2, 3) or any(step < 1 for step in steps):
        raise TrajectoryError(f"frames {text!r} is no START:STOP:STEP, such as 100:200:10 or ::5")
    return slice(*numbers)


def _universe(topology: Topology, positions: FloatArray) -> Any:
    with quiet():
        import MDAnalysis

    segments = list(dict.fromkeys(topology.segments))
    universe = MDAnalysis.Universe.empty(
        topology.n_sites,
        n_residues=len(topology.residue_names),
        n_segments=len(segments),
        atom_resindex=topology.residues,
        residue_segindex=[segments.index(name) for name in topology.segments],
        trajectory=True,
    )
    elements = [chemical_symbols[z] if z > 0 else "" for z in topology.atomic_numbers]
    for name, values in (
        ("names", list(topology.names)),
        ("elements", elements),
        ("types", elements),
        ("charges", topology.charges),
        ("resnames", list(topology.residue_names)),
        ("resids", list(topology.residue_numbers)),
        ("segids", segments),
        ("bonds", [tuple(bond) for bond in topology.bonds.tolist()]),
    ):
        universe.add_TopologyAttr(name, values)
    universe.atoms.positions = positions
    return universe


def _read_trajectory(path: Path, n_sites: int, which: slice) -> Iterator[Snapshot]:
    with quiet():  # MDAnalysis puts filters of its own in front, which end with this block
        import MDAnalysis
    with quiet():
        try:
            universe = MDAnalysis.Universe.empty(n_sites)
            universe.load_new(str(path))
            frames = range(*which.indices(len(universe.trajectory)))
        except Exception as error:  # each of MDAnalysis' many readers has its own
            reason = short_reason(error)
            if count := re.search(r"Number of atoms (\d+)", str(error)):
                reason = f"it has {count.group(1)}"
            raise TrajectoryError(
                f"MDAnalysis cannot read {path} as a trajectory of {n_sites} sites: {reason}"
            ) from error.with_traceback(None)  # which lets go of its reader here
    for number in frames:
        with quiet():
            try:
                step = universe.trajectory[number]
            except (OSError, EOFError, ValueError) as error:
                raise TrajectoryError(
                    f"frame {number} of {path} is damaged: {short_reason(error)}"
                ) from error
            box = None if step.dimensions is None else np.asarray(step.dimensions, np.float64)
        yield Snapshot(number, np.array(step.positions, np.float64), _cell(box))


def _read_netcdf(path: Path, n_sites: int, which: slice) -> Iterator[Snapshot]:
    frames = netcdf_frames(path, which)
    while True:
        try:
            number, positions, box = next(frames)
        except StopIteration:
            return
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise TrajectoryError(
                f"{path} is no AMBER NetCDF trajectory: {short_reason(error)}"
            ) from error
        _check_sites(path, len(positions), n_sites)
        yield Snapshot(number, positions, _cell(box))


def _read_restart(path: Path, n_sites: int, which: slice) -> Iterator[Snapshot]:
    import parmed

    with quiet():
        try:
            file = parmed.load_file(str(path))
            positions = np.array(file.coordinates, np.float64).reshape(-1, 3)
        except Exception as error:  # ParmEd raises whatever its parsers stumble over
            raise TrajectoryError(
                f"ParmEd cannot read {path} as an AMBER restart file: {short_reason(error)}"
            ) from error
    _check_sites(path, len(positions), n_sites)
    if list(range(1))[which]:
        yield Snapshot(0, positions, _cell(file.box))


def _check_sites(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise TrajectoryError(f"{path} has {found} sites; the topology has {expected}")


def _cell(box: FloatArray | None) -> FloatArray | None:
    """Lattice vectors of lengths (Å) and angles (degrees); None for what is no box."""
    if box is None or min(box[:3]) < _SMALLEST_EDGE:
        return None
    return np.asarray(cellpar_to_cell(box))
