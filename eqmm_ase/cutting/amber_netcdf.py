"""AMBER's NetCDF trajectories and restart files, frame by frame.

MDAnalysis insists on files with 64-bit offsets, which not every program writes, and on more than
one frame; the files themselves are plain: `coordinates` in Å, `cell_lengths` and `cell_angles`.

Source: the AMBER NetCDF conventions 1.0 B, ambermd.org/netcdf.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import netcdf_file

from eqmm_ase.arrays import FloatArray

_HEADER = 1 << 16
"""Bytes in which names and shapes of the variables certainly stand."""

_COUNT = slice(4, 8)
"""Where the header says how many frames there are."""

_MOST = 10**6
"""Frames beyond those that are there which a header that is itself intact may promise."""

_UNREADABLE = (OSError, ValueError, TypeError, IndexError, KeyError)


def is_netcdf(path: Path) -> bool:
    """Whether a file is classic NetCDF."""
    with path.open("rb") as file:
        return file.read(3) == b"CDF"


def netcdf_frames(
    path: Path, which: slice
) -> Iterator[tuple[int, FloatArray | None, FloatArray | None]]:
    """Number, positions (n, 3) in Å, and box lengths and angles (6,) in Å and degrees.

    Positions are None in frames that the header counts and the file does not hold, as after a
    crash or on a full disk.

    Raises
    ------
    ValueError, OSError
        When the file is another kind of NetCDF, or damaged at its beginning.
    """
    file, promised = _open(path)  # mapped: a long trajectory need not fit into memory
    try:
        if "coordinates" not in file.variables:
            raise ValueError("it has no variable 'coordinates'")
        there = _n_frames(file)
        for number in range(*which.indices(max(there, promised))):
            if number < there:
                yield number, _values(file, "coordinates", number), _box(file, number)
            else:
                yield number, None, None
    finally:
        file.close()


class _Header(io.BytesIO):
    """The beginning of a NetCDF file, with another number of frames than it says."""

    def __init__(self, header: bytes, n_frames: int, descriptor: int) -> None:
        count = n_frames.to_bytes(4, "big")
        super().__init__(header[: _COUNT.start] + count + header[_COUNT.stop :])
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The file's own, which SciPy maps into memory."""
        return self._descriptor


def _open(path: Path) -> tuple[Any, int]:
    """The file with as many frames as it holds, and how many its header promises."""
    with path.open("rb") as raw:
        header = raw.read(_HEADER)
        promised = int.from_bytes(header[_COUNT], "big")

        def opened(n_frames: int) -> Any:
            return netcdf_file(_Header(header, n_frames, raw.fileno()), "r", mmap=True)

        try:
            return opened(promised), promised
        except _UNREADABLE as error:
            reason = str(error)
        low, high = 0, promised  # at least, and less than, the number that can be read
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _works(opened, middle) else (low, middle)
        if low == 0:
            raise ValueError(f"not one frame is whole: {reason}")
        return opened(low), promised if promised - low <= _MOST else low + 1


def _works(opened: Any, n_frames: int) -> bool:
    with suppress(*_UNREADABLE):
        opened(n_frames).close()
        return True
    return False


def _n_frames(file: Any) -> int:
    """A restart file has no dimension of frames."""
    shape = file.variables["coordinates"].shape
    return int(shape[0]) if len(shape) == 3 else 1


def _box(file: Any, number: int) -> FloatArray | None:
    names = ("cell_lengths", "cell_angles")
    if not all(name in file.variables for name in names):
        return None
    return np.concatenate([_values(file, name, number) for name in names])


def _values(file: Any, name: str, number: int) -> FloatArray:
    """A copy: nothing may point into the file once it is closed."""
    variable = file.variables[name]
    per_frame = len(variable.shape) == (3 if name == "coordinates" else 2)
    values = np.array(variable.data[number] if per_frame else variable.data, np.float64)
    return values * getattr(variable, "scale_factor", 1.0)
