"""Frames that are the same up to rounding are found, also by a model that was trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from frames_kit import full_frame
from training_kit import NETWORK, few_charges

from eqmm_ase.cli import cli
from eqmm_ase.command_line import run
from eqmm_ase.data.fingerprints import among, fingerprints, from_text, groups_of_same, to_text
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.training.config import load_config
from eqmm_ase.training.data import TrainingData

METHOD = {"functional": "b3lyp", "basis": "6-31g*"}


@pytest.fixture(scope="module")
def frames(methanol_file):
    return few_charges(methanol_file, 6)


def rounded(frame, decimals):
    return replace(
        frame,
        qm_positions=np.round(frame.qm_positions, decimals),
        mm_positions=np.round(frame.mm_positions, decimals),
        frame_id="",
    )


def permuted(frame):
    order = np.random.default_rng(1).permutation(frame.n_mm)
    return replace(
        frame,
        mm_positions=frame.mm_positions[order],
        mm_charges=frame.mm_charges[order],
        mm_forces=frame.mm_forces[order],
        frame_id="",
    )


@pytest.mark.parametrize(
    "change",
    [lambda f: rounded(f, 8), lambda f: rounded(f, 4), permuted],
    ids=["8 digits", "4 digits", "permuted"],
)
def test_rounding_and_another_order_of_charges_are_the_same_frame(change, frames):
    known = fingerprints(frames[:4])
    assert (
        among(fingerprints([change(f) for f in frames]), known).tolist() == [True] * 4 + [False] * 2
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda f: replace(f, qm_positions=f.qm_positions + 0.05 * np.eye(6, 3)),
        lambda f: replace(f, mm_charges=1.1 * f.mm_charges),
        lambda f: replace(f, total_charge=1, spin_multiplicity=2),
        lambda f: f.in_vacuum(),
        lambda f: replace(f, atomic_numbers=np.array([6, 7, 1, 1, 1, 1])),
    ],
)
def test_another_geometry_charge_state_or_element_is_another_frame(change, frames):
    assert not among(fingerprints([change(f) for f in frames]), fingerprints(frames)).any()


def test_all_frames_of_a_data_set_are_different(methanol_file):
    frames = read_frames(methanol_file)
    for number, frame in enumerate(frames):
        others = frames[:number] + frames[number + 1 :]
        assert not among(fingerprints([frame]), fingerprints(others)).any()
    assert groups_of_same(frames) == [[number] for number in range(len(frames))]


def test_fingerprints_survive_the_card_of_a_model(frames):
    found = fingerprints(frames)
    np.testing.assert_array_equal(from_text(to_text(found)), found)
    assert from_text("").shape == (0, 4)
    assert not among(found, from_text("")).any()


def test_the_same_frames_are_grouped_and_finite_differences_are_not(frames):
    nudged = replace(frames[0], qm_positions=frames[0].qm_positions + 1e-4 * np.eye(6, 3))
    many = [
        frames[0],
        frames[1],
        rounded(frames[0], 6),
        nudged,
        full_frame(3),
        rounded(frames[1], 6),
    ]
    assert groups_of_same(many) == [[0, 2], [1, 5], [3], [4]]
    assert groups_of_same([]) == []


def test_a_training_says_that_it_is_validated_on_frames_that_it_is_trained_on(frames, tmp_path):
    write_frames(tmp_path / "a.h5", frames, METHOD)
    write_frames(tmp_path / "b.h5", [rounded(frames[0], 5), *few_new(frames)], METHOD)
    write_frames(tmp_path / "c.h5", few_new(frames), METHOD)
    by_name = [replace(few_new(frames)[0], frame_id=frames[2].frame_id)]
    write_frames(tmp_path / "d.h5", by_name, METHOD)
    for held, said in (("b", "1 of the 3 validation"), ("c", ""), ("d", "1 of the 1 validation")):
        config = load_config(None, [f"data.validation={tmp_path / held}.h5"])
        notes = TrainingData.load([tmp_path / "a.h5"], config).notes
        assert (len(notes), *(said in note for note in notes)) == ((1, True) if said else (0,)), (
            held
        )


def test_doubles_within_one_file_are_noticed_across_its_split(frames, tmp_path):
    twice = [replace(f, source=f"run-{i % 4}") for i, f in enumerate([*frames, *frames[:2]])]
    write_frames(tmp_path / "a.h5", twice, METHOD)
    config = load_config(None, ["data.validation_fraction=0.5"])
    (note,) = TrainingData.load([tmp_path / "a.h5"], config).notes
    assert "validation frames are training frames as well" in note


def few_new(frames):
    """Frames that nobody has seen."""
    return [replace(f, qm_positions=f.qm_positions + 0.3, frame_id="") for f in frames[:2]]


def test_evaluating_on_training_frames_and_on_another_level_is_said(frames, tmp_path, capsys):
    card = {"method": METHOD, "training_fingerprints": to_text(fingerprints(frames[:3]))}
    save_model(tmp_path / "model.eqmm", MultiscaleModel(NETWORK), card)
    write_frames(tmp_path / "test.h5", frames, {"level": "HF/STO-3G"})
    arguments = ["evaluate", str(tmp_path / "model.eqmm"), str(tmp_path / "test.h5")]
    assert run(cli, "eqmm", arguments) == 0
    said = capsys.readouterr().err
    assert "trained on 3 of the 6 frames" in said
    assert "was labelled with HF/STO-3G and not b3lyp/6-31g* as the model's training set" in said
    write_frames(tmp_path / "test.h5", frames[3:], {"level": "B3LYP/6-31G(d)"})
    assert run(cli, "eqmm", arguments) == 0
    assert "warning" not in capsys.readouterr().err
