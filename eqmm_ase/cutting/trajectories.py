"""Snapshots from trajectory files, and atoms chosen by MDAnalysis' selection language.

MDAnalysis is LGPL software, imported here only. What it reads without a box or only in part is
read elsewhere: AMBER restart files by ParmEd, AMBER's NetCDF, gro and PDB files by this package.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import cell_to_cellpar
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.cutting.amber_netcdf import is_netcdf, netcdf_frames
from eqmm_ase.cutting.text_trajectories import gro_frames, pdb_frames
from eqmm_ase.data.lattice import as_box, box_vectors
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.topology import Topology, quiet

IntArray = NDArray[np.integer]

WITHOUT_BOX = "without a periodic box"
_RESTARTS = (".rst7", ".inpcrd", ".restrt", ".rst", ".ncrst")
_LONGEST_REASON = 160


class TrajectoryError(ValueError):
    """A trajectory or a selection cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One frame of a trajectory."""

    number: int
    """As the file counts, from 0, frames that cannot be used included."""

    positions: FloatArray  # (n, 3) Å
    cell: FloatArray | None  # (3, 3) Å, None where the file has no box


@dataclass
class Tally:
    """Counts the frames asked for of a trajectory, and those that cannot be used."""

    path: Path
    asked: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # by what is wrong with them

    def leave_out(self, reason: str) -> None:
        """Count a frame that is not used."""
        self.left_out[reason] += 1

    def note(self) -> str:
        """What was left out, in words; an empty text where nothing was."""
        if not self.left_out:
            return ""
        n = self.left_out.total()
        were = "was" if n == 1 else "were"
        return f"{n} of {self.asked} frames of {self.path} {were} left out: {self._reasons()}"

    def check(self) -> None:
        """Refuse a trajectory of which nothing can be used.

        Raises
        ------
        TrajectoryError
            Naming what the frames lack.
        """
        if self.asked == 0:
            raise TrajectoryError(f"{self.path} has none of the frames asked for")
        if self.left_out.total() < self.asked:
            return
        advice = ""
        if WITHOUT_BOX in self.left_out:
            advice = "; give a trajectory that holds it, or say that the system is isolated"
        raise TrajectoryError(
            f"{self.path} has no frame to cut among the {self.asked} asked for: "
            f"{self._reasons()}{advice}"
        )

    def _reasons(self) -> str:
        return ", ".join(f"{n} {reason}" for reason, n in self.left_out.items())


def read_snapshots(
    path: Path, n_sites: int, which: slice = slice(None), tally: Tally | None = None
) -> Iterator[Snapshot]:
    """Frames of a trajectory one by one, without those that hold no usable positions.

    Parameters
    ----------
    path
        Any trajectory or coordinate file that MDAnalysis reads (nc, xtc, trr, dcd, gro, pdb …), or
        an AMBER restart file, text or NetCDF.
    n_sites
        Sites of the topology, which the file must match.
    which
        The frames wanted, as the file counts them.
    tally
        Counts frames without positions, with NaN or nothing but zeros, damaged, or of another
        number of sites, which are left out.

    Raises
    ------
    TrajectoryError
        When the file is of another kind, damaged at its beginning, of another number of atoms,
        has no such frames, or only such as must be left out.
    FileNotFoundError
        When there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no trajectory {path}")
    tally = tally or Tally(path)
    for number, found in _frames(path, n_sites, which):
        tally.asked += 1
        reason = found if isinstance(found, str) else _fault(found[0])
        if isinstance(found, str) or reason:
            tally.leave_out(reason)
        else:
            yield Snapshot(number, *found)
    tally.check()


def select_atoms(
    topology: Topology, selection: str, positions: FloatArray, cell: FloatArray | None = None
) -> IntArray:
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
    cell : (3, 3)
        Å; distances in a selection are those of nearest images. None where nothing repeats.

    Raises
    ------
    TrajectoryError
        When MDAnalysis does not understand it, or it selects nothing.
    """
    with quiet():
        universe = _universe(topology, positions, cell)
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


def _universe(topology: Topology, positions: FloatArray, cell: FloatArray | None) -> Any:
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
    universe.dimensions = None if cell is None else cell_to_cellpar(cell)
    return universe


_Found = tuple[FloatArray, FloatArray | None] | str
"""Positions and cell of a frame, or what is wrong with it."""


def _frames(path: Path, n_sites: int, which: slice) -> Iterator[tuple[int, _Found]]:
    kind = path.suffix.lower()
    if is_netcdf(path):
        return _read_netcdf(path, n_sites, which)
    if kind in _RESTARTS:
        return _read_restart(path, n_sites, which)
    if kind in (".gro", ".pdb", ".ent"):
        return _read_text(path, n_sites, which)
    return _read_trajectory(path, n_sites, which)


def _fault(positions: FloatArray) -> str:
    if not np.isfinite(positions).all():
        return "with NaN positions"
    return "" if positions.any() or len(positions) == 1 else "with nothing but zeros as positions"


def _read_trajectory(path: Path, n_sites: int, which: slice) -> Iterator[tuple[int, _Found]]:
    reader = _reader(path, n_sites)
    _check_sites(path, reader.n_atoms, n_sites)
    for number in range(*which.indices(len(reader))):
        with quiet():
            try:
                step = reader[number]
            except Exception:  # each of MDAnalysis' many readers has its own
                yield number, "damaged"
                continue
            box = None if step.dimensions is None else box_vectors(step.dimensions)
            # A reader keeps the positions of the frame before where a frame has none.
            has_positions = step.has_positions
            positions = np.array(step.positions, np.float64) if has_positions else None
        yield number, "without positions" if positions is None else (positions, box)


def _reader(path: Path, n_sites: int) -> Any:
    with quiet():  # MDAnalysis puts filters of its own in front, which end with this block
        from MDAnalysis.coordinates.core import get_reader_for
    with quiet(), _deaf():
        try:
            kind = get_reader_for(str(path))
        except (ValueError, TypeError):
            kind = None
        try:
            if kind is not None:
                return kind(str(path), n_atoms=n_sites)
        except Exception as error:  # each of MDAnalysis' many readers has its own
            reason = short_reason(error)
    if kind is None:
        raise TrajectoryError(
            f"{path} ends in {path.suffix!r}, by which no trajectory format is known; expected nc, "
            "xtc, trr, dcd, gro, pdb, rst7 or another that MDAnalysis reads"
        )
    raise TrajectoryError(
        f"MDAnalysis cannot read {path} as a trajectory of {n_sites} sites: {reason}"
    )


@contextmanager
def _deaf() -> Iterator[None]:
    """Without what half-made readers of MDAnalysis print when they are thrown away."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook


def _read_netcdf(path: Path, n_sites: int, which: slice) -> Iterator[tuple[int, _Found]]:
    frames = netcdf_frames(path, which)
    while True:
        try:
            number, positions, box = next(frames)
        except StopIteration:
            return
        except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
            raise TrajectoryError(
                f"{path} is no AMBER NetCDF trajectory: {short_reason(error)}"
            ) from error
        if positions is None:
            yield number, "damaged"
            continue
        _check_sites(path, len(positions), n_sites)
        yield number, (positions, None if box is None else box_vectors(box))


def _read_restart(path: Path, n_sites: int, which: slice) -> Iterator[tuple[int, _Found]]:
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
        yield 0, (positions, None if file.box is None else box_vectors(file.box))


def _read_text(path: Path, n_sites: int, which: slice) -> Iterator[tuple[int, _Found]]:
    frames = (gro_frames if path.suffix.lower() == ".gro" else pdb_frames)(path, which)
    others: list[int] = []
    any_fits = False
    while True:
        try:
            number, frame = next(frames)
        except StopIteration:
            break
        except ValueError as error:
            kind = path.suffix[1:].lower()
            raise TrajectoryError(f"{path} cannot be read as a {kind} file: {error}") from error
        if frame.positions is None:
            yield number, "damaged"
        elif len(frame.positions) != n_sites:
            others.append(len(frame.positions))
            yield number, "with another number of sites"
        else:
            any_fits = True
            yield number, (frame.positions, None if frame.cell is None else as_box(frame.cell))
    if others and not any_fits:
        _check_sites(path, others[0], n_sites)


def _check_sites(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise TrajectoryError(f"{path} has {found} sites; the topology has {expected}")
