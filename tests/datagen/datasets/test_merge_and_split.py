"""Datasets come together only when their labels do, and fall apart between trajectories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_kit import water_in_charges

from datagen.cli import cli
from datagen.datasets.merge import merge
from datagen.datasets.split import choose_sources, split
from datagen.errors import ContradictingLabelsError, DifferentMethodsError
from eqmm_ase.command_line import run
from eqmm_ase.data.boundary import Boundary
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames

METHOD = {
    "functional": "b3lyp",
    "basis": "6-31g*",
    "program": "pyscf",
    "versions": {"pyscf": "2.14.0"},
}


def write(path: Path, seeds: range, method: object = METHOD, **labels: object) -> Path:
    frames = [replace(water_in_charges(s), energy=float(s), **labels) for s in seeds]
    write_frames(path, frames, method)
    return path


def test_merged_dataset_has_every_frame_once_in_order(tmp_path, capsys):
    first = write(tmp_path / "a.h5", range(3))
    second = write(tmp_path / "b.h5", range(1, 5))
    arguments = ["merge", str(first), str(second), "-o", str(tmp_path / "c.h5")]
    assert run(cli, "eqmm-datagen", arguments) == 0
    assert "5 frames; 2 that occur again left out" in capsys.readouterr().out
    with ReferenceData(tmp_path / "c.h5") as data:
        assert [frame.energy for frame in data] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert data.method == METHOD
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "exists already" in capsys.readouterr().err


def test_of_two_frames_that_are_the_same_the_better_known_stays(tmp_path):
    plain = write(tmp_path / "a.h5", range(2))
    charges = {"charges": {"mbis": np.zeros(3)}}
    better = write(tmp_path / "b.h5", range(1, 2), {**METHOD, "charges": ["mbis"]}, **charges)
    for order in ([plain, better], [better, plain]):
        assert merge(order, tmp_path / "c.h5") == (2, 1)
        found = {frame.energy: set(frame.charges) for frame in read_frames(tmp_path / "c.h5")}
        assert found == {0.0: set(), 1.0: {"mbis"}}
    with ReferenceData(tmp_path / "c.h5") as data:
        assert data.method["charges"] == ["mbis"]
    # Another charge in the surroundings or another state is another frame.
    other = replace(water_in_charges(0), energy=0.0, total_charge=2)
    write_frames(better, [other], METHOD)
    assert merge([plain, better], tmp_path / "c.h5") == (3, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"basis": "def2-svp"}, "with basis = 'def2-svp' and .* with '6-31g\\*': datasets of"),
        ({"basis": "x", "functional": "hf"}, r"\(functional differ too\)"),
        ({"dispersion": "d3bj"}, "dispersion = 'd3bj' and .* with None"),
    ],
)
def test_datasets_of_different_methods_are_not_merged(change, sentence, tmp_path):
    first = write(tmp_path / "a.h5", range(2))
    second = write(tmp_path / "b.h5", range(2, 4), {**METHOD, **change})
    with pytest.raises(DifferentMethodsError, match=sentence):
        merge([first, second], tmp_path / "c.h5")
    assert not (tmp_path / "c.h5").exists()


def test_versions_and_origins_stand_side_by_side_after_a_merge(tmp_path):
    newer = {**METHOD, "versions": {"pyscf": "2.15.0", "dftd4": "1"}, "sampling": {"seed": 2}}
    first = write(tmp_path / "a.h5", range(2), {**METHOD, "sampling": {"seed": 1}})
    merge([first, write(tmp_path / "b.h5", range(2, 3), newer)], tmp_path / "c.h5")
    with ReferenceData(tmp_path / "c.h5") as data:
        assert data.method["versions"] == {"dftd4": "1", "pyscf": "2.14.0, 2.15.0"}
        assert data.method["sampling"] == [{"seed": 1}, {"seed": 2}]
    again = merge([tmp_path / "c.h5", first], tmp_path / "d.h5")
    assert again == (3, 2)
    with ReferenceData(tmp_path / "d.h5") as data:
        assert data.method["versions"] == {"dftd4": "1", "pyscf": "2.14.0, 2.15.0"}
        assert data.method["sampling"] == [{"seed": 1}, {"seed": 2}]


@pytest.fixture
def trajectories(tmp_path: Path) -> Path:
    frames: list[Frame] = [
        replace(water_in_charges(number), source=f"water-{number % 3}", energy=float(number))
        for number in range(6)
    ]
    write_frames(tmp_path / "labels.h5", frames, METHOD)
    return tmp_path / "labels.h5"


def test_splitting_keeps_whole_trajectories_apart(trajectories, tmp_path):
    train, test = tmp_path / "train.h5", tmp_path / "test.h5"
    assert split(trajectories, ["water-2"], train, test) == (4, 2)
    assert {frame.source for frame in read_frames(train)} == {"water-0", "water-1"}
    assert {frame.source for frame in read_frames(test)} == {"water-2"}
    assert [frame.energy for frame in read_frames(test)] == [2.0, 5.0]
    with pytest.raises(ValueError, match="no trajectory 'water-7'; it has water-0, water-1"):
        split(trajectories, ["water-7"], train, test)
    with pytest.raises(ValueError, match="none is left to train on"):
        split(trajectories, [f"water-{i}" for i in range(3)], train, test)


def test_a_fraction_is_held_out_as_whole_trajectories_the_same_for_a_seed(trajectories):
    assert len(choose_sources(trajectories, 0.34, 1)) == 1
    assert len(choose_sources(trajectories, 0.7, 1)) == 2
    assert len(choose_sources(trajectories, 0.05, 1)) == 1
    assert choose_sources(trajectories, 0.34, 1) == choose_sources(trajectories, 0.34, 1)
    assert len({choose_sources(trajectories, 0.34, seed)[0] for seed in range(20)}) == 3
    with pytest.raises(ValueError, match=r"is 1\.5; expected between 0 and 1"):
        choose_sources(trajectories, 1.5, 1)


def test_the_command_splits_by_name_or_by_fraction(trajectories, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(cli, "eqmm-datagen", ["split", "labels.h5", "--hold-out", "water-1"]) == 0
    assert "train.h5: 4 frames; test.h5: 2 frames of water-1" in capsys.readouterr().out
    assert run(cli, "eqmm-datagen", ["split", "labels.h5", "--fraction", "0.7"]) == 0
    assert "train.h5: 2 frames; test.h5: 4 frames" in capsys.readouterr().out
    assert run(cli, "eqmm-datagen", ["split", "labels.h5"]) == 2
    assert "give either --hold-out or --fraction" in capsys.readouterr().err


def test_a_cheaper_method_is_put_beside_the_labels(tmp_path, capsys):
    forces = {"qm_forces": np.ones((3, 3))}
    labels = write(tmp_path / "a.h5", range(3), **forces)
    cheap = {**METHOD, "functional": "hf"}
    cheaper = write(tmp_path / "cheap.h5", range(3, -1, -1), cheap, qm_forces=np.zeros((3, 3)))
    arguments = ["merge", str(labels), "-o", str(tmp_path / "c.h5"), "--baseline", str(cheaper)]
    assert run(cli, "eqmm-datagen", arguments) == 0
    with ReferenceData(tmp_path / "c.h5") as data:
        assert data.method == {**METHOD, "baseline": cheap}
        for frame in data:
            assert frame.baseline["energy"] == frame.energy
            assert frame.baseline.keys() == {"energy", "qm_forces"}
            assert (frame.qm_forces - frame.baseline["qm_forces"] == 1).all()
    few = write(tmp_path / "few.h5", range(2), cheap)
    assert run(cli, "eqmm-datagen", [*arguments[:-1], str(few), "--overwrite"]) == 2
    assert "few.h5 lacks 1 of 3 frames" in capsys.readouterr().err.replace("\n", " ")


def test_the_frame_with_more_labels_stays_whatever_else_the_other_has(tmp_path, capsys):
    labels = {"qm_forces": np.ones((3, 3)), "charges": {"mbis": np.zeros(3)}}
    poorer = replace(
        water_in_charges(0),
        energy=0.0,
        cell=20.0 * np.eye(3),
        mm_charges_original=np.ones(20),
        frame_id="poorer",
    )
    richer = replace(water_in_charges(0), energy=1e-6, **labels, frame_id="richer", medium="")
    write_frames(tmp_path / "a.h5", [poorer], METHOD)
    write_frames(tmp_path / "b.h5", [richer], METHOD)
    for number, order in enumerate((("a", "b"), ("b", "a"))):
        paths = [str(tmp_path / f"{name}.h5") for name in order]
        target = tmp_path / f"c{number}.h5"
        assert run(cli, "eqmm-datagen", ["merge", *paths, "-o", str(target)]) == 0
        said = capsys.readouterr().out
        assert "put together from what each of them knows" in said
        assert "1 frames; 1 that occur again left out" in said
        (frame,) = read_frames(target)
        assert (frame.energy, frame.frame_id, frame.medium) == (1e-6, "richer", "water")
        assert frame.charges.keys() == {"mbis"}
        np.testing.assert_array_equal(frame.mm_charges_original, np.ones(20))
        np.testing.assert_array_equal(frame.cell, 20.0 * np.eye(3))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"energy": 0.01}, "differ by 0.01 in energy"),
        ({"qm_forces": np.full((3, 3), 1.5)}, "differ by 0.5 in qm_forces"),
        ({"charges": {"mbis": np.full(3, 0.1)}}, "differ by 0.1 in charges/mbis"),
        ({"cell": 21.0 * np.eye(3)}, "differ by 1 in cell"),
        ({"boundary": Boundary("zero", ())}, "different bonds"),
    ],
)
def test_doubles_that_contradict_each_other_are_not_merged(change, sentence, tmp_path):
    frame = replace(
        water_in_charges(0),
        energy=0.0,
        qm_forces=np.ones((3, 3)),
        charges={"mbis": np.zeros(3)},
        cell=20.0 * np.eye(3),
        boundary=Boundary("rcd", ()),
    )
    write_frames(tmp_path / "a.h5", [water_in_charges(1), frame], METHOD)
    write_frames(tmp_path / "b.h5", [replace(frame, **change)], METHOD)
    with pytest.raises(
        ContradictingLabelsError, match=rf"frame 1 of .*a\.h5 and frame 0 of .*b\.h5 .*{sentence}"
    ):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")


def test_a_frame_that_was_rounded_on_its_way_is_the_same_frame(tmp_path):
    frames = [replace(water_in_charges(s), energy=float(s)) for s in range(3)]
    rounded = [
        replace(
            f,
            qm_positions=np.round(f.qm_positions, 8),
            mm_positions=f.mm_positions.astype(np.float32),
            mm_charges=np.round(f.mm_charges, 7),
        )
        for f in frames
    ]
    nudged = replace(frames[0], qm_positions=frames[0].qm_positions + 1e-4 * np.eye(3))
    write_frames(tmp_path / "a.h5", frames, METHOD)
    write_frames(tmp_path / "b.h5", [*rounded, nudged], METHOD)
    assert merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5") == (4, 3)
    cheap = {**METHOD, "functional": "hf"}
    write_frames(tmp_path / "cheap.h5", rounded[::-1], cheap)
    merge([tmp_path / "a.h5"], tmp_path / "d.h5", tmp_path / "cheap.h5")
    assert [f.baseline["energy"] for f in read_frames(tmp_path / "d.h5")] == [0.0, 1.0, 2.0]


def test_one_level_in_two_spellings_is_merged_and_a_level_alone_is_not_taken_for_another(tmp_path):
    first = write(tmp_path / "a.h5", range(2), {"level": "B3LYP/6-31G*"})
    second = write(tmp_path / "b.h5", range(2, 4), {"level": "b3lyp/6-31g(d)"})
    other = write(tmp_path / "c.h5", range(2, 4), {"level": "HF/STO-3G"})
    assert merge([first, second], tmp_path / "d.h5") == (4, 0)
    with pytest.raises(DifferentMethodsError, match="with level = 'HF/STO-3G' and"):
        merge([first, other], tmp_path / "e.h5")
    with pytest.raises(DifferentMethodsError, match="with basis = '6-31g"):
        merge([other, write(tmp_path / "f.h5", range(2))], tmp_path / "e.h5")


def test_a_baseline_of_the_same_level_is_warned_of(tmp_path):
    labels = write(tmp_path / "a.h5", range(2), {"level": "B3LYP/6-31G*"})
    same = write(tmp_path / "b.h5", range(2), {"functional": "b3lyp", "basis": "6-31G(d)"})
    cheaper = write(tmp_path / "c.h5", range(2), {"level": "HF/STO-3G"})
    said: list[str] = []
    merge([labels], tmp_path / "d.h5", cheaper, said.append)
    assert not said
    merge([labels], tmp_path / "d.h5", same, said.append)
    assert "of the level of theory of the labels themselves" in said[0]


def test_a_split_says_that_both_parts_hold_the_same_frame(tmp_path, capsys):
    frames = [replace(water_in_charges(i % 3), source=f"run-{i}", energy=0.0) for i in range(5)]
    write_frames(tmp_path / "labels.h5", frames, METHOD)
    paths = [str(tmp_path / name) for name in ("labels.h5", "train.h5", "test.h5")]
    arguments = ["split", paths[0], "--train", paths[1], "--test", paths[2], "--hold-out"]
    assert run(cli, "eqmm-datagen", [*arguments, "run-0"]) == 0
    assert "1 of the 1 test frames are training frames as well" in capsys.readouterr().err
    assert run(cli, "eqmm-datagen", [*arguments, "run-2"]) == 0
    assert not capsys.readouterr().err
