"""AMBER NetCDF files that are written image by image, as other programs read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.geometry import cell_to_cellpar
from scipy.io import netcdf_file

from eqmm_ase.cutting.trajectories import read_snapshots
from eqmm_ase.engines.output.netcdf_trajectory import NetCDFTrajectory

POSITIONS = np.random.default_rng(2).normal(0.0, 10.0, (3, 7, 3))
CELLS = np.array([[[20.0, 0, 0], [5.0, 21.0, 0], [-4.0, 3.0, 22.0 + k]] for k in range(3)])


def written(path: Path, periodic: bool = True) -> Path:
    file = NetCDFTrajectory(path, 7, periodic)
    for number in range(3):
        file.write(POSITIONS[number], CELLS[number] if periodic else None, 0.5 * number)
    file.close()
    return path


@pytest.mark.parametrize("periodic", [True, False])
def test_images_are_those_that_this_package_reads(tmp_path, periodic) -> None:
    path = written(tmp_path / "run.nc", periodic)
    found = list(read_snapshots(path, 7))
    assert len(found) == 3
    for snapshot, positions, cell in zip(found, POSITIONS, CELLS, strict=True):
        np.testing.assert_allclose(snapshot.positions, positions, rtol=1e-6)
        assert (snapshot.cell is not None) is periodic
        if periodic:
            np.testing.assert_allclose(
                cell_to_cellpar(snapshot.cell), cell_to_cellpar(cell), rtol=1e-12
            )


def test_mdanalysis_reads_them(tmp_path) -> None:
    MDAnalysis = pytest.importorskip("MDAnalysis")
    universe = MDAnalysis.Universe.empty(7, trajectory=True)
    universe.load_new(str(written(tmp_path / "run.nc")), format="NCDF")
    for step, positions, cell in zip(universe.trajectory, POSITIONS, CELLS, strict=True):
        np.testing.assert_allclose(step.positions, positions, rtol=1e-6)
        np.testing.assert_allclose(step.dimensions, cell_to_cellpar(cell), rtol=1e-6)
        assert step.time == pytest.approx(0.5 * step.frame)


def test_parmed_reads_them(tmp_path) -> None:
    parmed = pytest.importorskip("parmed")
    found = parmed.amber.NetCDFTraj.open_old(str(written(tmp_path / "run.nc")))
    np.testing.assert_allclose(found.coordinates, POSITIONS, rtol=1e-6)
    np.testing.assert_allclose(found.time, [0.0, 0.5, 1.0])
    found.close()


def test_conventions_are_those_of_amber(tmp_path) -> None:
    with netcdf_file(written(tmp_path / "run.nc"), mmap=False) as file:
        assert (file.Conventions, file.ConventionVersion) == (b"AMBER", b"1.0")
        assert file.variables["coordinates"].units == b"angstrom"
        assert file.variables["time"].units == b"picosecond"
        names = file.variables["cell_angular"][:].astype("S1")
    assert [b"".join(name) for name in names] == [b"alpha", b"beta ", b"gamma"]


def test_a_file_that_is_gone_on_with_is_the_file_of_one_go(tmp_path) -> None:
    whole = written(tmp_path / "whole.nc")
    parts = tmp_path / "parts.nc"
    for number in range(3):  # opened anew for each image
        file = NetCDFTrajectory(parts, 7, True, number)
        file.write(POSITIONS[number], CELLS[number], 0.5 * number)
        file.close()
    assert parts.read_bytes() == whole.read_bytes()
