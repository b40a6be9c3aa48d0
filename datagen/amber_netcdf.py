"""AMBER's NetCDF trajectories and restart files, frame by frame.

MDAnalysis insists on files with 64-bit offsets, which not every program writes, and on more than
one frame; the files themselves are plain: `coordinates` in Å, `cell_lengths` and `cell_angles`.

Source: the AMBER NetCDF conventions 1.0 B, ambermd.org/netcdf.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

FloatArray = NDArray[np.floating]


def is_netcdf(path: Path) -> bool:
    """Whether a file is classic NetCDF."""
    with path.open("rb") as file:
        return file.read(3) == b"CDF"


def netcdf_frames(path: Path, which: slice) -> Iterator[tuple[int, FloatArray, FloatArray | None]]:
    """Number, positions (n, 3) in Å, and box lengths and angles (6,) in Å and degrees.

    Raises
    ------
    ValueError, OSError
        When the file is another kind of NetCDF or truncated.
    """
    file = netcdf_file(path, "r", mmap=True)  # a long trajectory need not fit into memory
    try:
        if "coordinates" not in file.variables:
            raise ValueError("it has no variable 'coordinates'")
        for number in range(*which.indices(_n_frames(file))):
            yield number, _values(file, "coordinates", number), _box(file, number)
    finally:
        file.close()


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
