"""Frames that a trajectory lacks, or holds in part only, are left out and counted."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("MDAnalysis")
pytest.importorskip("parmed")

from box_kit import CELLS, images, in_water

from eqmm_ase.cutting.trajectories import (
    Snapshot,
    Tally,
    TrajectoryError,
    read_slice,
    read_snapshots,
    select_atoms,
)
from eqmm_ase.topology import quiet

with quiet(), warnings.catch_warnings():
    import MDAnalysis
    from MDAnalysis.lib.formats.libmdaxdr import TRRFile
    from scipy.io import netcdf_file

N, EDGE = 12, 20.0
PLACES = np.random.default_rng(0).random((N, 3)) * EDGE
BOX = (EDGE, EDGE, EDGE, 90.0, 90.0, 90.0)
FORMATS = ("xtc", "trr", "nc", "pdb", "gro")


def _frame(i: int) -> np.ndarray:
    return PLACES + np.array([0.5 * i, 0.0, 0.0])


def _write(path: Path, n_frames: int = 6, box: tuple[float, ...] | None = BOX) -> Path:
    """The places, moved on by 0.5 Å a frame."""
    if path.suffix == ".gro":
        path.write_text("".join(_gro(_frame(i), box) for i in range(n_frames)))
        return path
    with quiet():
        universe = MDAnalysis.Universe.empty(N, trajectory=True)
        with MDAnalysis.Writer(str(path), N, multiframe=True) as writer:
            for i in range(n_frames):
                universe.dimensions = box
                universe.atoms.positions = _frame(i)
                writer.write(universe.atoms)
    return path


def _gro(positions: np.ndarray, box: tuple[float, ...] | None) -> str:
    lines = [f"{1:5d}{'MOL':5s}{'C':>5s}{k + 1:5d}" for k in range(len(positions))]
    rows = ["".join(f"{x / 10:8.3f}" for x in place) for place in positions]
    edges = " ".join(f"{x / 10:.5f}" for x in box[:3]) if box else "0.0 0.0 0.0"
    body = "\n".join(line + row for line, row in zip(lines, rows, strict=True))
    return f"a title\n{len(positions)}\n{body}\n{edges}\n"


def _read(path: Path, frames: str = "::", n: int = N) -> tuple[list[Snapshot], Tally]:
    tally = Tally(path)
    return list(read_snapshots(path, n, read_slice(frames), tally)), tally


def _check(snapshots: list[Snapshot], numbers: list[int]) -> None:
    assert [snapshot.number for snapshot in snapshots] == numbers
    for snapshot in snapshots:
        np.testing.assert_allclose(snapshot.positions, _frame(snapshot.number), atol=6e-3)
        np.testing.assert_allclose(snapshot.cell, np.eye(3) * EDGE, atol=1e-3)


def _partial_trr(path: Path, holds: str) -> Path:
    """One frame a letter: x positions, v velocities only, f forces only, b no box."""
    box, nothing = np.eye(3, dtype=np.float32) * EDGE / 10, None
    with TRRFile(str(path), "w") as file:
        for i, kind in enumerate(holds):
            values = (_frame(i) / 10).astype(np.float32)
            file.write(
                values if kind in "xb" else nothing,
                values if kind == "v" else nothing,
                values if kind == "f" else nothing,
                box * (kind != "b"),
                i,
                float(i),
                0.0,
                N,
            )
    return path


@pytest.mark.parametrize("holds", ["xvxfxv", "vvxxff", "fxxxvx"])
def test_trr_frames_of_velocities_or_forces_only_are_left_out_and_counted(tmp_path, holds):
    """They do not repeat the positions of the frame before, as a reader's buffer would."""
    snapshots, tally = _read(_partial_trr(tmp_path / "run.trr", holds))
    _check(snapshots, [i for i, kind in enumerate(holds) if kind == "x"])
    left = sum(kind != "x" for kind in holds)
    assert tally.note().endswith(f"run.trr were left out: {left} without positions")
    assert f"{left} of 6 frames" in tally.note()


def test_frames_are_counted_as_in_the_file(tmp_path):
    path = _partial_trr(tmp_path / "run.trr", "xvxvxv")
    for frames, numbers in (("::2", [0, 2, 4]), ("::4", [0, 4]), ("-3:", [4]), ("2", [2])):
        _check(_read(path, frames)[0], numbers)
    with pytest.raises(TrajectoryError, match=r"no frame to cut among the 3 asked for: 3 without"):
        _read(path, "1::2")


def test_a_frame_without_a_box_has_none_though_its_neighbours_do(tmp_path):
    snapshots, _ = _read(_partial_trr(tmp_path / "run.trr", "xbx"))
    assert [snapshot.cell is None for snapshot in snapshots] == [False, True, False]


@pytest.mark.parametrize("kind", FORMATS)
def test_what_stands_before_a_torn_end_is_used(tmp_path, kind):
    whole = _write(tmp_path / f"whole.{kind}").read_bytes()
    path = tmp_path / f"torn.{kind}"
    path.write_bytes(whole[:-45])
    snapshots, tally = _read(path)
    _check(snapshots, [0, 1, 2, 3, 4])
    assert tally.note().startswith("1 of 6 frames of")
    assert "was left out: 1 " in tally.note()


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_but_a_torn_beginning_is_a_sentence(tmp_path, kind, capfd):
    whole = _write(tmp_path / f"whole.{kind}").read_bytes()
    for length in (0, 50, 70):
        path = tmp_path / f"torn.{kind}"
        path.write_bytes(whole[:length])
        with pytest.raises(TrajectoryError) as error:
            _read(path)
        assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_netcdf_that_promises_more_frames_than_it_holds_gives_those(tmp_path):
    path = _write(tmp_path / "run.nc", n_frames=3)
    content = path.read_bytes()
    path.write_bytes(content[:4] + (2**31 - 1).to_bytes(4, "big") + content[8:])
    snapshots, tally = _read(path)
    _check(snapshots, [0, 1, 2])
    assert tally.left_out["damaged"] == 1


def test_netcdf_of_velocities_is_a_sentence(tmp_path):
    with netcdf_file(str(tmp_path / "run.nc"), "w") as file:
        file.createDimension("frame", None)
        file.createDimension("atom", N)
        file.createVariable("velocities", "f", ("frame", "atom"))[:] = np.zeros((2, N), "f")
    with pytest.raises(TrajectoryError, match="has no variable 'coordinates'"):
        _read(tmp_path / "run.nc")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["trr", "nc"])
def test_a_frame_that_blew_up_or_was_never_written_is_left_out(tmp_path, kind, value):
    universe = MDAnalysis.Universe.empty(N, trajectory=True)
    universe.dimensions = BOX
    with quiet(), MDAnalysis.Writer(str(tmp_path / f"run.{kind}"), N) as writer:
        for i in range(4):
            universe.atoms.positions = _frame(i) if i != 2 else np.zeros((N, 3))
            if i == 1:
                universe.atoms.positions = np.where(np.arange(3) == 1, value, _frame(1))
            writer.write(universe.atoms)
    snapshots, tally = _read(tmp_path / f"run.{kind}")
    _check(snapshots, [0, 3])
    assert "1 with NaN positions, 1 with nothing but zeros as positions" in tally.note()


def test_every_frame_of_a_gro_is_read_in_any_number_of_digits(tmp_path):
    path = _write(tmp_path / "run.gro", n_frames=4)
    _check(_read(path)[0], [0, 1, 2, 3])
    _check(_read(path, "1:4:2")[0], [1, 3])
    fine = tmp_path / "fine.gro"
    lines = [f"{1:5d}MOL      C{k + 1:5d}" for k in range(N)]
    rows = ["".join(f"{x / 10:11.6f}" for x in place) + "  0.1  0.1  0.1" for place in PLACES]
    body = "\n".join(line + row for line, row in zip(lines, rows, strict=True))
    fine.write_text(f"t\n{N}\n{body}\n 2.0 2.0 1.5 0.0 0.0 0.5 0.0 0.25 0.125\n")
    (snapshot,), _ = _read(fine)
    np.testing.assert_allclose(snapshot.positions, PLACES, atol=1e-5)
    expected = [[20.0, 0.0, 0.0], [5.0, 20.0, 0.0], [2.5, 1.25, 15.0]]
    np.testing.assert_allclose(snapshot.cell, expected)


CRYSTAL = f"CRYST1{EDGE:9.3f}{EDGE:9.3f}{EDGE:9.3f}  90.00  90.00  90.00 P 1           1\n"
PLACEHOLDER = CRYSTAL.replace(f"{EDGE:9.3f}", f"{1:9.3f}")


def _model(i: int, n: int = N) -> str:
    lines = [
        f"ATOM  {k + 1:5d}  C   MOL A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00\n"
        for k, (x, y, z) in enumerate(_frame(i)[:n])
    ]
    return "".join(lines)


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        (CRYSTAL + "".join(f"MODEL {i + 1}\n{_model(i)}ENDMDL\n" for i in range(3)), "yyy"),
        ("".join(f"{CRYSTAL}MODEL {i + 1}\n{_model(i)}ENDMDL\n" for i in range(3)), "yyy"),
        ("".join(f"MODEL {i + 1}\n{CRYSTAL}{_model(i)}TER\nENDMDL\n" for i in range(3)), "yyy"),
        ("".join(f"{CRYSTAL}{_model(i)}END\n" for i in range(3)), "yyy"),
        (f"MODEL 1\n{_model(0)}ENDMDL\n{CRYSTAL}MODEL 2\n{_model(1)}ENDMDL\nEND\n", "ny"),
        (f"{CRYSTAL}{_model(0)}END\n{_model(1)}END\n{CRYSTAL}{_model(2)}END\n", "yny"),
        (f"REMARK\n{PLACEHOLDER}{_model(0)}END\n", "n"),
        (f"{_model(0)}", "n"),
    ],
    ids=["one box", "before", "inside", "END only", "mixed", "gap", "placeholder", "none"],
)
def test_models_of_a_pdb_have_the_box_that_the_file_gives_them(tmp_path, text, boxes):
    (tmp_path / "run.pdb").write_text(text)
    snapshots, tally = _read(tmp_path / "run.pdb")
    assert [snapshot.number for snapshot in snapshots] == list(range(len(boxes)))
    assert "".join("n" if snapshot.cell is None else "y" for snapshot in snapshots) == boxes
    for snapshot in snapshots:
        np.testing.assert_allclose(snapshot.positions, _frame(snapshot.number), atol=1e-3)
    assert tally.note() == ""


@pytest.mark.parametrize("kind", ["pdb", "gro"])
def test_models_of_another_size_are_left_out(tmp_path, kind):
    path = tmp_path / f"run.{kind}"
    if kind == "pdb":
        sizes = (N, N - 1, N + 0, 3)
        models = [f"MODEL {i}\n{_model(i, n)}ENDMDL\n" for i, n in enumerate(sizes)]
        path.write_text(CRYSTAL + "".join(models))
    else:
        path.write_text("".join(_gro(_frame(i)[:n], BOX) for i, n in enumerate((N, 5, N, 3))))
    snapshots, tally = _read(path)
    _check(snapshots, [0, 2])
    assert "2 with another number of sites" in tally.note()
    with pytest.raises(TrajectoryError, match=rf"has {N} sites; the topology has 40"):
        _read(path, n=40)


@pytest.mark.parametrize("kind", [*FORMATS, "dcd"])
def test_a_trajectory_of_another_system_is_one_sentence(tmp_path, kind):
    path = _write(tmp_path / f"run.{kind}")
    with pytest.raises(TrajectoryError, match=rf"run.{kind} has {N} sites; the topology has 5$"):
        _read(path, n=5)


def test_an_ending_that_nobody_knows_is_a_short_sentence(tmp_path):
    (tmp_path / "run.foo").write_text("anything")
    with pytest.raises(TrajectoryError, match="by which no trajectory format is known") as error:
        _read(tmp_path / "run.foo")
    assert len(str(error.value)) < 250 + len(str(tmp_path))


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 0.0, 90.0, 90.0, 90.0),
        (EDGE, EDGE, 0.0, 90.0, 90.0, 90.0),
        (EDGE, EDGE, EDGE, 0.0, 0.0, 0.0),
        (EDGE, EDGE, EDGE, 30.0, 30.0, 90.0),
        (EDGE, EDGE, EDGE, 60.0, 60.0, 120.0),
        (EDGE, np.nan, EDGE, 90.0, 90.0, 90.0),
        (1.0, 1.0, 1.0, 90.0, 90.0, 90.0),
    ],
    ids=str,
)
def test_a_box_that_is_none_is_no_box(tmp_path, box):
    with netcdf_file(str(tmp_path / "run.nc"), "w") as file:
        for name, size in (("frame", None), ("atom", N), ("spatial", 3)):
            file.createDimension(name, size)
        file.createVariable("coordinates", "f", ("frame", "atom", "spatial"))[:] = PLACES[None]
        file.createVariable("cell_lengths", "d", ("frame", "spatial"))[:] = np.array([box[:3]])
        file.createVariable("cell_angles", "d", ("frame", "spatial"))[:] = np.array([box[3:]])
    (snapshot,), tally = _read(tmp_path / "run.nc")
    assert snapshot.cell is None
    assert tally.note() == ""


@pytest.mark.parametrize("name", CELLS)
def test_distances_in_a_selection_are_those_of_nearest_images(name):
    """The dipeptide stands across a face of the box; waters beyond the face are near it as well."""
    cell = CELLS[name]
    topology, positions = in_water(cell)
    wrapped = positions - positions[10]
    wrapped = wrapped - np.floor(wrapped @ np.linalg.inv(cell)) @ cell
    found = select_atoms(topology, "resname WAT and name O and around 6 name CB", wrapped, cell)
    oxygens = np.arange(22, topology.n_sites, 4)
    apart = positions[oxygens][:, None] + images(2) @ cell - positions[10]
    near = np.linalg.norm(apart, axis=-1).min(axis=1) < 6.0
    np.testing.assert_array_equal(found, oxygens[near])
    assert len(select_atoms(topology, "around 6 name CB", wrapped)) < len(
        select_atoms(topology, "around 6 name CB", wrapped, cell)
    )
