"""AMBER's NetCDF trajectories, image by image: a killed run leaves whole what it has written.

SciPy writes the header. It would keep all images in memory and write the file anew each time, so
that images are appended here: in classic NetCDF those of all variables that grow stand behind each
other, in the order in which the variables were made, big-endian.

Source: the AMBER NetCDF conventions 1.0 B, ambermd.org/netcdf; the NetCDF classic format
specification, docs.unidata.ucar.edu.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.geometry import cell_to_cellpar
from scipy.io import netcdf_file

from eqmm_ase.arrays import FloatArray

COUNT = 4
"""Byte at which the number of images stands, four bytes, big-endian."""


class NetCDFTrajectory:
    """An AMBER NetCDF file to which images are appended.

    Parameters
    ----------
    path
        The file.
    n_atoms
        Virtual sites included.
    periodic
        Whether images have a box.
    images
        That the file holds already; 0 starts it anew.
    """

    def __init__(self, path: Path, n_atoms: int, periodic: bool, images: int = 0) -> None:
        self._periodic, self._images = periodic, images
        if not images:
            _write_header(path, n_atoms, periodic)
        self._stream = path.open("r+b")
        if not images:
            self._stream.truncate(path.stat().st_size - (4 + 12 * n_atoms + 48 * periodic))
            self._count()

    def write(self, positions: FloatArray, cell: FloatArray | None, time: float) -> None:
        """Append an image: positions (n, 3) and lattice vectors (3, 3) in Å, time in ps."""
        self._stream.seek(0, 2)
        self._stream.write(np.array(time, ">f4").tobytes() + np.array(positions, ">f4").tobytes())
        if self._periodic:
            self._stream.write(np.array(cell_to_cellpar(cell), ">f8").tobytes())
        self._images += 1
        self._count()

    def _count(self) -> None:
        self._stream.seek(COUNT)
        self._stream.write(self._images.to_bytes(4, "big"))
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _write_header(path: Path, n_atoms: int, periodic: bool) -> None:
    """With one empty image, as SciPy tells the size of images by the first."""
    with netcdf_file(path, "w", version=2) as file:  # with offsets of 64 bits
        file.Conventions, file.ConventionVersion = "AMBER", "1.0"
        file.program, file.programVersion = "EqMM", "1"
        file.createDimension("frame", None)
        file.createDimension("spatial", 3)
        file.createDimension("atom", n_atoms)
        file.createVariable("spatial", "c", ("spatial",))[:] = list("xyz")
        _growing(file, "time", "f4", (), "picosecond")
        _growing(file, "coordinates", "f4", ("atom", "spatial"), "angstrom")
        if not periodic:
            return
        file.createDimension("cell_spatial", 3)
        file.createDimension("cell_angular", 3)
        file.createDimension("label", 5)
        file.createVariable("cell_spatial", "c", ("cell_spatial",))[:] = list("abc")
        angles = file.createVariable("cell_angular", "c", ("cell_angular", "label"))
        angles[:] = [list(name) for name in ("alpha", "beta ", "gamma")]
        _growing(file, "cell_lengths", "f8", ("cell_spatial",), "angstrom")
        _growing(file, "cell_angles", "f8", ("cell_angular",), "degree")


def _growing(
    file: netcdf_file, name: str, kind: str, dimensions: tuple[str, ...], units: str
) -> None:
    """A variable with a value for every image, the first of them zero."""
    variable = file.createVariable(name, kind, ("frame", *dimensions))
    variable.units = units
    variable[0] = 0.0
