"""Training: it learns, and it says what is wrong."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from training_kit import (
    METHOD,
    TINY,
    assert_same_weights,
    history,
    run_training,
    weights,
)

from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.batch import FrameDataset, collate
from eqmm_ase.network.model_file import load_model
from eqmm_ase.network.prediction import Prediction, predict
from eqmm_ase.training import learner as learner_module
from eqmm_ase.training.callbacks import History
from eqmm_ase.training.config import load_config
from eqmm_ase.training.learner import TrainingError
from eqmm_ase.training.loss import Loss, RobustWeights
from eqmm_ase.training.traced_steps import TracedSteps
from eqmm_ase.training.train import train


@pytest.mark.slow
def test_training_lowers_the_loss_and_the_errors(data, tmp_path):
    # The first validation is early: labels of all charges where only 30 are given are soon noise.
    output = run_training(
        data, tmp_path / "m.eqmm", "training.max_steps=180", "training.validate_every=20"
    )
    rows = history(output)
    assert [int(row["step"]) for row in rows] == [*range(20, 181, 20)]
    assert float(rows[-1]["training_loss"]) < 0.7 * float(rows[0]["training_loss"])
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"])


def test_the_training_loss_is_that_of_the_saved_weights(data, frames, tmp_path):
    output = run_training(
        data, tmp_path / "m.eqmm", "data.validation_fraction=0", "training.max_steps=8"
    )
    (*_, last) = history(output)
    dataset = FrameDataset(frames, "mulliken")
    items = [dataset[i] for i in range(len(frames))]
    loss = Loss.fit(load_config(None, TINY).loss, items)
    model, robust = load_model(output)[0], RobustWeights()
    batches = [collate(items[i : i + 3]) for i in range(0, len(items), 3)]
    losses = [float(loss(predict(model, b.frames), b, robust)) for b in batches]
    assert float(last["training_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    assert float(last["step_loss"]) > 1.2 * float(last["training_loss"])


def test_rows_of_an_earlier_version_called_the_loss_of_the_steps_training_loss(tmp_path):
    history_of = History(tmp_path / "history.csv")
    history_of.load_state_dict({"rows": [{"step": 4, "training_loss": 2.0}]})
    assert history_of.rows == [{"step": 4, "step_loss": 2.0}]


@pytest.mark.slow
def test_the_loss_of_a_step_knows_its_number(data, tmp_path, monkeypatch):
    steps: list[int] = []
    monkeypatch.setattr(learner_module, "delta_at", lambda step: steps.append(step) or 1.0)
    run_training(data, tmp_path / "model.eqmm")
    assert steps == [*range(12)]


@pytest.mark.slow
def test_the_model_file_says_what_it_was_trained_on(trained, frames):
    model, card = load_model(trained)
    assert model.config.elements == (1, 6, 8)
    assert card["method"] == METHOD
    assert card["charge_scheme"] == "mulliken"
    assert card["media"] == ["water"]
    assert card["domain"]["compositions"] == ["CH4O"]
    assert card["n_training_frames"] + card["n_validation_frames"] == len(frames)
    assert card["metrics"]["validation"]["all"]["energy"]["mae"] > 0
    assert card["training"]["training"]["max_steps"] == 12
    energies = [frame.energy for frame in frames]
    counts = torch.tensor([4.0, 1.0, 1.0], dtype=torch.float64)
    assert abs(counts @ model.atomic_energies - np.mean(energies)) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "same"), [(0, True), (0.9, False)])
def test_the_model_file_holds_the_moving_average_of_the_weights(data, tmp_path, decay, same):
    overrides = ["data.validation_fraction=0", f"optimizer.ema_decay={decay}"]
    output = run_training(data, tmp_path / "m.eqmm", *overrides)
    state = torch.load(f"{output}.train/last.ckpt", weights_only=True)["state_dict"]
    name = "atomic_energy.mlp.2.bias"
    assert torch.equal(weights(output)[name], state[f"average.{name}"])
    assert torch.equal(weights(output)[name], state[f"model.{name}"]) == same


@pytest.mark.slow
def test_the_seed_decides(data, trained, tmp_path):
    assert_same_weights(weights(run_training(data, tmp_path / "same.eqmm")), weights(trained))
    other = weights(run_training(data, tmp_path / "other.eqmm", "training.seed=1"))
    assert max((other[k] - t).abs().max() for k, t in weights(trained).items()) > 0.1


def spoil(monkeypatch, frame_numbers):
    """Let training and validation get no number for batches with some frames."""

    def spoiled(predict):
        def call(model, frames, **options):
            prediction = predict(model, frames, **options)
            first = [frames.qm_positions[start, 0].item() for start in frames.qm_ptr[:-1]]
            hit = torch.tensor([number in frame_numbers for number in first])
            nothing = torch.where(hit, torch.nan, 1.0).double()
            return Prediction(prediction | {"energy": prediction.energy * nothing})

        return call

    monkeypatch.setattr(learner_module, "predict", spoiled(learner_module.predict))
    monkeypatch.setattr(TracedSteps, "__call__", spoiled(TracedSteps.__call__))


@pytest.mark.slow
def test_a_frame_without_a_finite_loss_is_named_and_left_out(
    data, frames, tmp_path, monkeypatch, caplog
):
    config = load_config(None, [*TINY, "data.validation_fraction=0"])
    culprit = np.float32(frames[3].qm_positions[0, 0]).item()
    spoil(monkeypatch, {culprit})
    output = train([data], tmp_path / "m.eqmm", config, console=Console(file=io.StringIO()))
    assert [r.getMessage() for r in caplog.records if r.name == "eqmm_ase.training.learner"] == [
        f"the loss of frame {frames[3].frame_id} is not a finite number; it is left out"
    ]
    assert all(math.isfinite(float(row["training_loss"])) for row in history(output))
    assert all(t.isfinite().all() for t in weights(output).values())


def test_a_training_that_diverges_stops_with_a_sentence(data, frames, tmp_path, monkeypatch):
    everything = {np.float32(frame.qm_positions[0, 0]).item() for frame in frames}
    spoil(monkeypatch, everything)
    with pytest.raises(TrainingError, match=r"step 0 \(methanol-.* lower optimizer.learning_rate"):
        run_training(data, tmp_path / "model.eqmm")
    assert not (tmp_path / "model.eqmm").exists()


@pytest.mark.slow
def test_time_can_end_a_training(data, tmp_path):
    output = run_training(
        data, tmp_path / "m.eqmm", "training.max_steps=100000", "training.max_minutes=0.02"
    )
    rows = history(output)
    assert 0.02 <= float(rows[-1]["minutes"]) < 0.2
    assert float(rows[-1]["learning_rate"]) < 1e-3 * 0.02


@pytest.mark.slow
def test_patience_can_end_a_training(data, tmp_path):
    overrides = ["training.patience=2", "optimizer.learning_rate=1e-12", "training.max_steps=400"]
    output = run_training(data, tmp_path / "m.eqmm", *overrides, "optimizer.ema_decay=0")
    assert 2 <= len(history(output)) < 50


def test_training_on_all_frames_keeps_the_last_weights(data, frames, tmp_path):
    output = run_training(
        data, tmp_path / "m.eqmm", "data.validation_fraction=0", "training.max_steps=4"
    )
    _, card = load_model(output)
    assert card["n_training_frames"] == len(frames)
    assert card["metrics"] == {"validation": {}}


def test_validation_files_of_their_own_are_not_trained_on(data, frames, tmp_path):
    held = tmp_path / "held.h5"
    write_frames(held, frames[:2], METHOD)
    output = run_training(
        data, tmp_path / "m.eqmm", f"data.validation={held}", "training.max_steps=4"
    )
    _, card = load_model(output)
    assert (card["n_training_frames"], card["n_validation_frames"]) == (len(frames), 2)


def test_double_precision_gives_a_double_precision_model(data, tmp_path):
    output = run_training(
        data, tmp_path / "m.eqmm", "training.dtype=float64", "training.max_steps=4"
    )
    assert next(load_model(output)[0].parameters()).dtype == torch.float64


@pytest.mark.slow
def test_gas_phase_and_solvated_frames_train_one_model(frames, tmp_path):
    gas = [
        replace(f.in_vacuum(), energy=f.energy, qm_forces=f.qm_forces, source="gas")
        for f in frames[:4]
    ]
    write_frames(tmp_path / "both.h5", [*gas, *frames[4:]], METHOD)
    output = run_training(tmp_path / "both.h5", tmp_path / "m.eqmm", "training.max_steps=8")
    assert load_model(output)[1]["media"] == ["gas", "water"]


def test_tensorboard_logs_are_written_on_request(data, tmp_path):
    pytest.importorskip("tensorboard")
    output = run_training(
        data, tmp_path / "m.eqmm", "hardware.tensorboard=true", "training.max_steps=4"
    )
    assert list(Path(f"{output}.train", "tensorboard").glob("events.out.*"))


@pytest.mark.slow
def test_nothing_but_the_report_is_written(data, tmp_path, capfd):
    run_training(data, tmp_path / "model.eqmm")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


@pytest.mark.slow
def test_the_report_has_a_line_per_round(data, tmp_path):
    screen = io.StringIO()
    run_training(data, tmp_path / "model.eqmm", console=Console(file=screen, width=200))
    lines = screen.getvalue().splitlines()
    assert lines[2].split()[:3] == ["step", "min", "rate"]
    assert [line.split()[0] for line in lines[4:7]] == ["4", "8", "12"]
    assert all(len(line) <= 100 for line in lines[2:7])


@pytest.mark.slow
def test_a_terminal_gets_a_bar_with_rate_and_time_left(data, tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True)
    run_training(data, tmp_path / "model.eqmm", "training.max_steps=60", console=console)
    assert "steps/s" in screen.getvalue()
    assert "left" in screen.getvalue()


@pytest.mark.parametrize("output", ["missing/m.eqmm", "."])
def test_an_output_that_cannot_be_written_is_refused_before_training(data, tmp_path, output):
    with pytest.raises(OSError, match="cannot write"):
        run_training(data, tmp_path / output)
