"""What is refused as training data, and what several files make together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eqmm_ase.files.dataset_file import DatasetError, read_frames, write_frames
from eqmm_ase.training.config import ConfigError, TrainConfig, load_config
from eqmm_ase.training.data import TrainingData

METHOD = {"functional": "b3lyp", "basis": "6-31g*"}


@pytest.fixture(scope="module")
def frames(methanol_file):
    return read_frames(methanol_file, range(4))


def test_several_files_are_one_training_set(methanol_file, frames, tmp_path):
    write_frames(tmp_path / "gas.h5", [replace(f, medium="gas") for f in frames], METHOD)
    both = TrainingData.load([methanol_file, tmp_path / "gas.h5"], TrainConfig())
    alone = TrainingData.load([methanol_file], TrainConfig())
    assert len(both.training) + len(both.validation) == 18 + 4
    assert both.training.media == both.validation.media == ("gas", "water")
    assert both.content_hash != alone.content_hash


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"energy": None, "qm_forces": None}, "none of the .* training frames .* label them first"),
        (
            {"mm_positions": "on nucleus"},
            r"bad\.h5: frame 0 \(methanol-water-133\): .* lies on QM atom 0",
        ),
        ({"qm_positions": "in nm"}, r"bad\.h5: frame 0 .*are the positions in Å"),
    ],
)
def test_frames_that_cannot_be_learned_from_are_refused(frames, tmp_path, change, sentence):
    changed = []
    for frame in frames:
        own = dict(change)
        if own.get("mm_positions") == "on nucleus":
            own["mm_positions"] = np.vstack([frame.qm_positions[:1], frame.mm_positions[1:]])
        if own.get("qm_positions") == "in nm":
            own["qm_positions"] = 0.1 * frame.qm_positions
        changed.append(replace(frame, **own))
    write_frames(tmp_path / "bad.h5", changed, METHOD)
    with pytest.raises(DatasetError, match=sentence):
        TrainingData.load([tmp_path / "bad.h5"], TrainConfig())


def test_files_of_different_levels_of_theory_are_refused(methanol_file, frames, tmp_path):
    write_frames(tmp_path / "other.h5", frames, {**METHOD, "basis": "sto-3g"})
    with pytest.raises(DatasetError, match="basis 'sto-3g' and not '6-31g"):
        TrainingData.load([methanol_file, tmp_path / "other.h5"], TrainConfig())


def test_elements_that_do_not_fit_the_data_are_refused(methanol_file):
    with pytest.raises(ConfigError, match=r"model.elements is H, Cl; expected .* H, C, O"):
        TrainingData.load([methanol_file], load_config(None, ["model.elements=[1, 17]"]))


def test_an_element_only_in_validation_is_refused(methanol_file, frames, tmp_path):
    chlorides = [replace(f, atomic_numbers=np.array([6, 17, 1, 1, 1, 1])) for f in frames]
    write_frames(tmp_path / "held.h5", chlorides, METHOD)
    config = load_config(None, [f"data.validation={tmp_path / 'held.h5'}"])
    with pytest.raises(DatasetError, match="validation frames hold Cl, which no training frame"):
        TrainingData.load([methanol_file], config)
