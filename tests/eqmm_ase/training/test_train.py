"""Training: it learns, it survives being killed, and it says what is wrong."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from training_kit import few_charges

from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.frame_dataset import FrameDataset, collate
from eqmm_ase.network.model import predict
from eqmm_ase.network.model_file import load_model
from eqmm_ase.training import learner as learner_module
from eqmm_ase.training.callbacks import History
from eqmm_ase.training.config import load_config
from eqmm_ase.training.learner import Learner, TrainingError
from eqmm_ase.training.loss import Loss
from eqmm_ase.training.outliers import Influence
from eqmm_ase.training.train import train

TINY = [
    *(f"model.{key}=1" for key in ("l_expansion", "l_hidden", "n_layers")),
    *("model.channels=2", "model.n_radial=4", "model.n_near=0", "model.hidden=8"),
    *("training.batch_size=3", "training.validate_every=4", "training.max_steps=12"),
    *("optimizer.learning_rate=0.02", "hardware.accelerator=cpu"),
]
METHOD = {"functional": "b3lyp", "basis": "6-31g*"}


@pytest.fixture(scope="module")
def frames(methanol_file):
    """Frames with few charges, so that a step takes milliseconds."""
    return few_charges(methanol_file, 12)


@pytest.fixture(scope="module")
def data(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    write_frames(path, frames, METHOD)
    return path


def run(data, output, *overrides, console=None, **options):
    config = load_config(None, [*TINY, *overrides])
    console = console or Console(file=io.StringIO())
    return train([data], output, config, console=console, **options)


def history(output):
    with Path(f"{output}.train", "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(path):
    return load_model(path)[0].state_dict()


def assert_same_weights(one, other):
    """Weights of two trainings that took the same steps.

    Sums may be rounded otherwise each time: 12 steps make 3e-7 of it. One step that is left out or
    taken with other frames, memory or rate makes 1e-2, a part of the learning rate of 0.02.
    """
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A training that ran through."""
    return run(data, tmp_path_factory.mktemp("trained") / "model.eqmm")


def test_training_lowers_the_loss_and_the_errors(data, tmp_path):
    # The first validation is early: labels of all charges where only 30 are given are soon noise.
    output = run(data, tmp_path / "m.eqmm", "training.max_steps=180", "training.validate_every=20")
    rows = history(output)
    assert [int(row["step"]) for row in rows] == [*range(20, 181, 20)]
    assert float(rows[-1]["training_loss"]) < 0.7 * float(rows[0]["training_loss"])
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"])


def test_the_training_loss_is_that_of_the_saved_weights(data, frames, tmp_path):
    output = run(data, tmp_path / "m.eqmm", "data.validation_fraction=0", "training.max_steps=8")
    (*_, last) = history(output)
    dataset = FrameDataset(frames, "mulliken")
    items = [dataset[i] for i in range(len(frames))]
    loss = Loss.fit(load_config(None, TINY).loss, items)
    model, influence = load_model(output)[0], Influence()
    batches = [collate(items[i : i + 3]) for i in range(0, len(items), 3)]
    losses = [float(loss(predict(model, b.frames), b, influence)) for b in batches]
    assert float(last["training_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    assert float(last["step_loss"]) > 1.2 * float(last["training_loss"])


def test_rows_of_an_earlier_version_called_the_loss_of_the_steps_training_loss(tmp_path):
    history_of = History(tmp_path / "history.csv")
    history_of.load_state_dict({"rows": [{"step": 4, "training_loss": 2.0}]})
    assert history_of.rows == [{"step": 4, "step_loss": 2.0}]


def test_the_loss_of_a_step_knows_its_number(data, tmp_path, monkeypatch):
    steps: list[int] = []
    monkeypatch.setattr(learner_module, "delta_at", lambda step: steps.append(step) or 1.0)
    run(data, tmp_path / "model.eqmm")
    assert steps == [*range(12)]


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


KILLED = """
import os, signal, sys
from eqmm_ase.training.config import load_config
from eqmm_ase.training.learner import Learner
from eqmm_ase.training.train import train

def die(learner, *_):
    if learner.global_step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

Learner.on_train_batch_end = die
train([sys.argv[1]], sys.argv[2], load_config(None, sys.argv[4:]))
"""


@pytest.fixture
def steps_taken(monkeypatch):
    """Numbers of the frames of every step taken in this process."""
    taken: list[list[int]] = []
    real = Learner.training_step

    def counted(learner, batch, number):
        taken.append(batch.index.tolist())
        return real(learner, batch, number)

    monkeypatch.setattr(Learner, "training_step", counted)
    return taken


def test_a_killed_training_goes_on_to_the_same_weights_as_one_that_ran_through(
    data, trained, tmp_path, steps_taken
):
    output = tmp_path / "model.eqmm"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, data, output, "7", *TINY], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    # QM region, data, head of the table, explanation, one round; no advertisements and no warnings.
    assert len(killed.stderr.decode().splitlines()) == 5, killed.stderr.decode()
    assert not output.exists()
    assert Path(f"{output}.train", "last.ckpt").is_file()
    screen = io.StringIO()
    run(data, output, console=Console(file=screen, width=200))
    assert f"going on from {output}.train/last.ckpt" in screen.getvalue()
    assert len(steps_taken) == 12 - 4
    assert_same_weights(weights(output), weights(trained))
    for row, expected in zip(history(output), history(trained), strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"minutes"}:
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-4), name


def test_a_finished_training_run_again_leaves_its_model_as_it_is(data, trained, steps_taken):
    before = weights(trained)
    again = run(data, trained)
    assert steps_taken == []
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(again).items())
    assert len(history(again)) == 3


def test_rounds_go_on_through_the_data_instead_of_starting_over(data, tmp_path, steps_taken):
    run(data, tmp_path / "m.eqmm", "training.validate_every=1", "data.validation_fraction=0")
    assert sorted(sum(steps_taken[:4], [])) == list(range(12))  # noqa: RUF017
    assert len({tuple(step) for step in steps_taken}) > 4


@pytest.mark.parametrize(("decay", "same"), [(0, True), (0.9, False)])
def test_the_model_file_holds_the_moving_average_of_the_weights(data, tmp_path, decay, same):
    overrides = ["data.validation_fraction=0", f"optimizer.ema_decay={decay}"]
    output = run(data, tmp_path / "m.eqmm", *overrides)
    state = torch.load(f"{output}.train/last.ckpt", weights_only=True)["state_dict"]
    name = "atomic_energy.mlp.2.bias"
    assert torch.equal(weights(output)[name], state[f"average.{name}"])
    assert torch.equal(weights(output)[name], state[f"model.{name}"]) == same


def test_the_seed_decides(data, trained, tmp_path):
    assert_same_weights(weights(run(data, tmp_path / "same.eqmm")), weights(trained))
    other = weights(run(data, tmp_path / "other.eqmm", "training.seed=1"))
    assert max((other[k] - t).abs().max() for k, t in weights(trained).items()) > 0.1


def test_another_training_for_the_same_output_is_refused_until_restarted(data, frames, tmp_path):
    output = tmp_path / "m.eqmm"
    run(data, output, "training.max_steps=4")
    with pytest.raises(ValueError, match=r"m\.eqmm\.train holds .* with other settings"):
        run(data, output)
    changed = tmp_path / "changed.h5"
    write_frames(changed, [replace(frames[0], medium="ice"), *frames[1:]], METHOD)
    with pytest.raises(ValueError, match="other data; choose another output, or use --restart"):
        run(changed, output, "training.max_steps=4")
    run(data, output, restart=True)
    assert len(history(output)) == 3


def test_a_folder_that_is_not_a_training_is_never_thrown_away(data, tmp_path):
    folder = tmp_path / "model.eqmm.train"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not a training's folder; move it away"):
        run(data, tmp_path / "model.eqmm", restart=True)
    assert (folder / "thesis.tex").exists()


def test_where_a_training_runs_may_change_when_it_goes_on(data, tmp_path):
    output = tmp_path / "model.eqmm"
    run(data, output)
    run(data, output, "hardware.accelerator=auto")


def test_a_full_disk_leaves_the_last_checkpoint_to_go_on_from(data, trained, tmp_path, monkeypatch):
    output = tmp_path / "model.eqmm"
    real, calls = Path.write_bytes, []

    def full_at_the_second(path, content):
        calls.append(path.name)
        if sum("ckpt" in name for name in calls) == 2:
            real(path, bytes(content)[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_at_the_second)
    with pytest.raises(OSError, match=r"cannot write the checkpoint .*No space left.* is intact"):
        run(data, output)
    monkeypatch.undo()
    folder = Path(f"{output}.train")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "history.csv",
        "last.ckpt",
        "training.json",
    ]
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    run(data, output)
    assert_same_weights(weights(output), weights(trained))


def test_a_full_disk_at_the_end_leaves_the_previous_model(data, tmp_path, monkeypatch):
    output = run(data, tmp_path / "model.eqmm", "training.max_steps=4")
    before = output.read_bytes()
    real = Path.write_bytes

    def full(path, content):
        if "ckpt" in path.name:
            return real(path, content)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run(data, output, restart=True)
    assert output.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(
    ("number", "raised", "message"),
    [
        (signal.SIGINT, KeyboardInterrupt, None),
        (signal.SIGTERM, TrainingError, "ended by SIGTERM before it was done; the same command"),
    ],
)
def test_a_training_that_is_told_to_end_says_so_and_can_go_on(
    data, trained, tmp_path, monkeypatch, number, raised, message
):
    output = tmp_path / "model.eqmm"
    handler = signal.getsignal(number)
    real = Learner.training_step

    def interrupted(learner, batch, index):
        if learner.global_step == 6:
            os.kill(os.getpid(), number)
        return real(learner, batch, index)

    monkeypatch.setattr(Learner, "training_step", interrupted)
    with pytest.raises(raised, match=message):
        run(data, output)
    assert signal.getsignal(number) == handler
    assert not output.exists()
    monkeypatch.undo()
    assert_same_weights(weights(run(data, output)), weights(trained))


def spoiled(frame_numbers):
    """`predict` that gives no number for batches with some frames."""
    real = learner_module.predict

    def predict(model, frames, **options):
        prediction = real(model, frames, **options)
        hit = torch.tensor(
            [frames.qm_positions[start, 0].item() in frame_numbers for start in frames.qm_ptr[:-1]]
        )
        nothing = torch.where(hit, torch.nan, 1.0).double()
        return prediction._replace(energy=prediction.energy * nothing)

    return predict


def test_a_frame_without_a_finite_loss_is_named_and_left_out(
    data, frames, tmp_path, monkeypatch, caplog
):
    config = load_config(None, [*TINY, "data.validation_fraction=0"])
    culprit = np.float32(frames[3].qm_positions[0, 0]).item()
    monkeypatch.setattr(learner_module, "predict", spoiled({culprit}))
    output = train([data], tmp_path / "m.eqmm", config, console=Console(file=io.StringIO()))
    assert [r.getMessage() for r in caplog.records if r.name == "eqmm_ase.training.learner"] == [
        f"the loss of frame {frames[3].frame_id} is not a finite number; it is left out"
    ]
    assert all(math.isfinite(float(row["training_loss"])) for row in history(output))
    assert all(t.isfinite().all() for t in weights(output).values())


def test_a_training_that_diverges_stops_with_a_sentence(data, frames, tmp_path, monkeypatch):
    everything = {np.float32(frame.qm_positions[0, 0]).item() for frame in frames}
    monkeypatch.setattr(learner_module, "predict", spoiled(everything))
    with pytest.raises(TrainingError, match=r"step 0 \(methanol-.* lower optimizer.learning_rate"):
        run(data, tmp_path / "model.eqmm")
    assert not (tmp_path / "model.eqmm").exists()


def test_time_can_end_a_training(data, tmp_path):
    output = run(
        data, tmp_path / "m.eqmm", "training.max_steps=100000", "training.max_minutes=0.02"
    )
    rows = history(output)
    assert 0.02 <= float(rows[-1]["minutes"]) < 0.2
    assert float(rows[-1]["learning_rate"]) < 1e-3 * 0.02


def test_patience_can_end_a_training(data, tmp_path):
    overrides = ["training.patience=2", "optimizer.learning_rate=1e-12", "training.max_steps=400"]
    output = run(data, tmp_path / "m.eqmm", *overrides, "optimizer.ema_decay=0")
    assert 2 <= len(history(output)) < 50


def test_training_on_all_frames_keeps_the_last_weights(data, frames, tmp_path):
    output = run(data, tmp_path / "m.eqmm", "data.validation_fraction=0", "training.max_steps=4")
    _, card = load_model(output)
    assert card["n_training_frames"] == len(frames)
    assert card["metrics"] == {"validation": {}}


def test_validation_files_of_their_own_are_not_trained_on(data, frames, tmp_path):
    held = tmp_path / "held.h5"
    write_frames(held, frames[:2], METHOD)
    output = run(data, tmp_path / "m.eqmm", f"data.validation={held}", "training.max_steps=4")
    _, card = load_model(output)
    assert (card["n_training_frames"], card["n_validation_frames"]) == (len(frames), 2)


def test_double_precision_gives_a_double_precision_model(data, tmp_path):
    output = run(data, tmp_path / "m.eqmm", "training.dtype=float64", "training.max_steps=4")
    assert next(load_model(output)[0].parameters()).dtype == torch.float64


def test_gas_phase_and_solvated_frames_train_one_model(frames, tmp_path):
    gas = [
        replace(f.in_vacuum(), energy=f.energy, qm_forces=f.qm_forces, source="gas")
        for f in frames[:4]
    ]
    write_frames(tmp_path / "both.h5", [*gas, *frames[4:]], METHOD)
    output = run(tmp_path / "both.h5", tmp_path / "m.eqmm", "training.max_steps=8")
    assert load_model(output)[1]["media"] == ["gas", "water"]


def test_tensorboard_logs_are_written_on_request(data, tmp_path):
    pytest.importorskip("tensorboard")
    output = run(data, tmp_path / "m.eqmm", "hardware.tensorboard=true", "training.max_steps=4")
    assert list(Path(f"{output}.train", "tensorboard").glob("events.out.*"))


def test_nothing_but_the_report_is_written(data, tmp_path, capfd):
    run(data, tmp_path / "model.eqmm")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_the_report_has_a_line_per_round(data, tmp_path):
    screen = io.StringIO()
    run(data, tmp_path / "model.eqmm", console=Console(file=screen, width=200))
    lines = screen.getvalue().splitlines()
    assert lines[2].split()[:3] == ["step", "min", "rate"]
    assert [line.split()[0] for line in lines[4:7]] == ["4", "8", "12"]
    assert all(len(line) <= 100 for line in lines[1:7])


def test_a_terminal_gets_a_bar_with_rate_and_time_left(data, tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True)
    run(data, tmp_path / "model.eqmm", "training.max_steps=60", console=console)
    assert "steps/s" in screen.getvalue()
    assert "left" in screen.getvalue()


@pytest.mark.parametrize("output", ["missing/m.eqmm", "."])
def test_an_output_that_cannot_be_written_is_refused_before_training(data, tmp_path, output):
    with pytest.raises(OSError, match="cannot write"):
        run(data, tmp_path / output)
