"""Trajectories that a killed run leaves whole, and that go on where its checkpoint is."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import openmm
from openmm import app

from eqmm_ase.engines.run_settings import SystemRunError

_COUNT = 8
"""Byte of a DCD file at which the number of its frames stands."""


class TrajectoryWriter:
    """Appends images of a simulation to a DCD or XTC file.

    Parameters
    ----------
    path
        Ends in ``.dcd`` or ``.xtc``.
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
        kinds = {".dcd": app.DCDFile, ".xtc": app.XTCFile}
        kind = path.suffix.lower()
        if kind not in kinds:
            raise SystemRunError(f"{path} ends in {kind!r}; expected a trajectory .dcd or .xtc")
        self.path, self.frames = path, 0
        self._stream: Any = None
        append = keep is not None and keep[1] > 0
        if append:
            assert keep is not None
            self.frames = keep[1]
            _truncate(path, *keep)
        if kind == ".dcd":
            self._stream = path.open("r+b" if append else "wb")
            self._file = app.DCDFile(self._stream, topology, timestep, 0, interval, append=append)
        else:
            if not append:
                path.unlink(missing_ok=True)
            self._file = app.XTCFile(str(path), topology, timestep, 0, interval, append=append)

    def write(self, state: openmm.State) -> None:
        """Append an image."""
        positions = state.getPositions(asNumpy=True)
        vectors = state.getPeriodicBoxVectors()
        self._file.writeModel(positions, periodicBoxVectors=vectors)
        if self._stream is not None:
            self._stream.flush()
        self.frames += 1

    @property
    def size(self) -> int:
        """Bytes of the file by now."""
        return os.stat(self.path).st_size

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


def _truncate(path: Path, size: int, frames: int) -> None:
    if not path.is_file() or os.stat(path).st_size < size:
        raise SystemRunError(
            f"{path} is not the trajectory of the run to go on with; put it back, or start anew"
        )
    os.truncate(path, size)
    if path.suffix.lower() == ".dcd":
        with path.open("r+b") as file:
            file.seek(_COUNT)
            file.write(struct.pack("<i", frames))
