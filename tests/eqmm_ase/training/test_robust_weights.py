"""Wrong labels: they hardly count, and are named; ordinary frames do not notice."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from training_kit import few_charges

from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.network.batch import FrameDataset, collate
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.training.config import load_config
from eqmm_ase.training.loss import Loss, LossWeights, RobustWeights
from eqmm_ase.training.scales import LIMIT, fit_statistics
from eqmm_ase.training.train import train

TINY = [
    *(f"model.{key}=1" for key in ("l_expansion", "l_hidden", "n_layers")),
    *("model.channels=2", "model.n_radial=4", "model.n_near=0", "model.hidden=8"),
    *("training.batch_size=4", "training.validate_every=20", "training.max_steps=60"),
    *("data.validation_fraction=0", "hardware.accelerator=cpu", "optimizer.learning_rate=0.02"),
]


@pytest.fixture(scope="module")
def frames(methanol_file):
    """Frames with few charges, so that a step takes milliseconds."""
    return few_charges(methanol_file, 12)


def prediction_off_by(batch, errors) -> Prediction:
    """Energies off by the given errors, everything else exact."""
    parts = {n: getattr(batch.labels, n).nan_to_num() for n in QUANTITIES}
    parts["energy"] = (parts["energy"] + torch.tensor(errors)).requires_grad_()
    return Prediction(**parts)


def energy_loss(frames):
    dataset = FrameDataset(frames, "mulliken", torch.float64)
    batch = collate([dataset[i] for i in range(len(frames))])
    only_energy = LossWeights(**(dict.fromkeys(QUANTITIES, 0.0) | {"energy": 1.0}))
    return Loss.fit(only_energy, [batch]), batch


def test_frames_of_ordinary_error_count_as_without_the_limit(frames):
    loss, batch = energy_loss(frames)
    prediction = prediction_off_by(batch, np.linspace(0.01, 0.1, len(frames)))
    assert loss(prediction, batch, RobustWeights()).item() == loss(prediction, batch).item()


@pytest.mark.parametrize("error", [1.0, 50.0])
def test_a_wrong_energy_counts_the_less_the_more_it_is_wrong(frames, error):
    loss, batch = energy_loss(frames)
    errors = np.full(len(frames), 0.01)
    errors[3] = error
    prediction = prediction_off_by(batch, errors)
    loss(prediction, batch, RobustWeights()).backward()
    limited, no_limit = prediction.energy.grad, prediction_off_by(batch, errors)
    loss(no_limit, batch).backward()
    weight = limited / no_limit.energy.grad
    assert weight[3].item() == pytest.approx((LIMIT / (error / 0.01)) ** 2, rel=1e-9)
    assert torch.allclose(weight[4:], torch.ones(()).double(), rtol=1e-12)
    assert torch.allclose(limited[4:], limited[0].expand(len(frames) - 4), rtol=1e-12)


def test_the_median_is_that_of_the_frames_seen_lately():
    robust = RobustWeights()
    robust.weights({"energy": torch.full((1000,), 1.0)})
    robust.weights({"energy": torch.full((300,), 0.01)})
    weights = robust.weights({"energy": torch.tensor([1.0, 0.01])})["energy"]
    assert weights.tolist() == pytest.approx([(LIMIT / 100) ** 2, 1.0])


def test_exact_and_unknown_quantities_do_not_set_the_limit():
    exact = torch.tensor([0.0, 0.0, 0.0, 0.3])
    assert RobustWeights().weights({"charges": exact})["charges"].tolist() == [1.0] * 4
    unknown = torch.tensor([torch.nan, torch.nan, 0.01, 0.01, 0.01, 1.0])
    weights = RobustWeights().weights({"charges": unknown})["charges"].tolist()
    assert weights == pytest.approx([1.0] * 5 + [(LIMIT / 100) ** 2])


@pytest.fixture(scope="module")
def damaged(frames, tmp_path_factory):
    """Twelve frames: one has the energy of another program, one has forces in other units."""
    path = tmp_path_factory.mktemp("damaged") / "damaged.h5"
    wrong = list(frames)
    wrong[2] = replace(frames[2], energy=frames[2].energy + 500.0)
    wrong[7] = replace(frames[7], qm_forces=627.5 * frames[7].qm_forces)
    write_frames(path, wrong, {})
    return path


def test_wrong_labels_hardly_change_what_is_fitted_before_the_first_step(damaged, frames):
    clean, wrong = (fit_statistics(own, 1) for own in (frames, read_frames(damaged)))
    counts = torch.tensor([4.0, 1.0, 1.0], dtype=torch.float64)
    assert abs(counts @ (clean.atomic_energies - wrong.atomic_energies)) < 0.5
    assert wrong.energy_scale < 3.5 * clean.energy_scale


def run(data, output, *overrides):
    screen = io.StringIO()
    config = load_config(None, [*TINY, *overrides])
    train([data], output, config, console=Console(file=screen, width=200))
    return screen.getvalue(), Path(f"{output}.train", "outliers.txt")


@pytest.mark.slow
def test_frames_with_wrong_labels_are_named_once_and_listed(damaged, frames, tmp_path):
    screen, table = run(damaged, tmp_path / "model.eqmm")
    for i, name in ((2, "energy"), (7, "qm_forces")):
        assert screen.count(f"error of {name} of frame {frames[i].frame_id} is") == 1
    assert screen.count("labels may be wrong") == 2
    head, *rows = table.read_text().splitlines()
    assert head == "frame\tquantity\terror/median"
    assert {tuple(row.split("\t")[:2]) for row in rows} == {
        (frames[2].frame_id, "energy"),
        (frames[7].frame_id, "qm_forces"),
    }


@pytest.mark.slow
def test_clean_data_name_no_frame(frames, tmp_path):
    write_frames(tmp_path / "clean.h5", frames, {})
    screen, table = run(tmp_path / "clean.h5", tmp_path / "model.eqmm")
    assert "warning" not in screen
    assert not table.exists()


@pytest.mark.slow
def test_a_training_that_goes_on_names_no_frame_twice(damaged, tmp_path, monkeypatch):
    from eqmm_ase.training.learner import Learner

    real = Learner.training_step

    def interrupted(learner, batch, number):
        if learner.global_step == 50:
            raise KeyboardInterrupt
        return real(learner, batch, number)

    monkeypatch.setattr(Learner, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(damaged, tmp_path / "model.eqmm")
    monkeypatch.undo()
    screen, table = run(damaged, tmp_path / "model.eqmm")
    assert "going on from" in screen
    assert "warning" not in screen
    through = run(damaged, tmp_path / "through.eqmm")[1]
    assert table.read_text() == through.read_text()
