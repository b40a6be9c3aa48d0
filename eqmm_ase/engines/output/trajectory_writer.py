"""Trajectories that a killed run leaves whole, and that go on where its checkpoint is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openmm
from openmm import app, unit

from eqmm_ase.engines.openmm_context import positions_in
from eqmm_ase.engines.output.netcdf_trajectory import COUNT, NetCDFTrajectory
from eqmm_ase.engines.run_settings import SystemRunError

FORMATS = ("dcd", "xtc", "nc")
_COUNTS = {".dcd": (8, "little"), ".nc": (COUNT, "big")}
"""Byte at which the number of images stands, in four bytes, and their order."""


class TrajectoryWriter:
    """Appends images of a simulation to a DCD, XTC or AMBER NetCDF file.

    Parameters
    ----------
    path
        Ends in one of `FORMATS`.
    topology
        Of all particles.
    timestep, interval
        ps between steps, and steps between images.
    keep
        Bytes and frames of the file that count, from an earlier run; what was written behind its
        last checkpoint goes. None starts the file anew.

    Raises
    ------
    SystemRunError
        When the file is of another kind, or shorter than it should be.
    """

    def __init__(
        self,
        path: Path,
        topology: app.Topology,
        timestep: float,
        interval: int,
        keep: tuple[int, int] | None = None,
    ) -> None:
        kind = path.suffix.lower()
        if kind.removeprefix(".") not in FORMATS:
            raise SystemRunError(
                f"{path} ends in {kind!r}; expected a trajectory .{', .'.join(FORMATS)}"
            )
        self.path, self.frames = path, 0
        if keep is not None and keep[1] > 0:
            self.frames = keep[1]
            _truncate(path, *keep)
        if kind == ".nc":
            self._write, self._close = _netcdf(path, topology, self.frames)
        else:
            self._write, self._close = _of_openmm(path, topology, timestep, interval, self.frames)

    def write(self, state: openmm.State) -> None:
        """Append an image."""
        self._write(state)
        self.frames += 1

    @property
    def size(self) -> int:
        """Bytes of the file by now."""
        return os.stat(self.path).st_size

    def close(self) -> None:
        """Close the file."""
        self._close()


_Writer = tuple[Callable[[openmm.State], None], Callable[[], None]]
"""What appends an image, and what closes the file."""


def _netcdf(path: Path, topology: app.Topology, frames: int) -> _Writer:
    periodic = topology.getPeriodicBoxVectors() is not None
    file = NetCDFTrajectory(path, topology.getNumAtoms(), periodic, frames)

    def write(state: openmm.State) -> None:
        time = state.getTime().value_in_unit(unit.picosecond)
        file.write(*positions_in(state, periodic), time)

    return write, file.close


def _of_openmm(
    path: Path, topology: app.Topology, timestep: float, interval: int, frames: int
) -> _Writer:
    stream: Any = None
    if path.suffix.lower() == ".dcd":
        stream = path.open("r+b" if frames else "wb")
        file = app.DCDFile(stream, topology, timestep, 0, interval, append=bool(frames))
    else:
        if not frames:
            path.unlink(missing_ok=True)
        file = app.XTCFile(str(path), topology, timestep, 0, interval, append=bool(frames))

    def write(state: openmm.State) -> None:
        positions = state.getPositions(asNumpy=True)
        file.writeModel(positions, periodicBoxVectors=state.getPeriodicBoxVectors())
        if stream is not None:
            stream.flush()

    return write, (lambda: None) if stream is None else stream.close


def _truncate(path: Path, size: int, frames: int) -> None:
    if not path.is_file() or os.stat(path).st_size < size:
        raise SystemRunError(
            f"{path} is not the trajectory of the run to go on with; put it back, or start anew"
        )
    os.truncate(path, size)
    if (place := _COUNTS.get(path.suffix.lower())) is not None:
        with path.open("r+b") as file:
            file.seek(place[0])
            file.write(frames.to_bytes(4, place[1]))  # type: ignore[arg-type]
