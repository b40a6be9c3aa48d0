"""Training survives being killed, full disks and second thoughts."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
from eqmm_ase.training.learner import Learner, TrainingError

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


@pytest.mark.slow
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
    run_training(data, output, console=Console(file=screen, width=200))
    assert f"going on from {output}.train/last.ckpt" in screen.getvalue()
    assert len(steps_taken) == 12 - 4
    assert_same_weights(weights(output), weights(trained))
    for row, expected in zip(history(output), history(trained), strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"minutes"}:
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-4), name


def test_a_finished_training_run_again_leaves_its_model_as_it_is(data, trained, steps_taken):
    before = weights(trained)
    again = run_training(data, trained)
    assert steps_taken == []
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(again).items())
    assert len(history(again)) == 3


@pytest.mark.slow
def test_rounds_go_on_through_the_data_instead_of_starting_over(data, tmp_path, steps_taken):
    run_training(
        data, tmp_path / "m.eqmm", "training.validate_every=1", "data.validation_fraction=0"
    )
    assert sorted(sum(steps_taken[:4], [])) == list(range(12))  # noqa: RUF017
    assert len({tuple(step) for step in steps_taken}) > 4


@pytest.mark.slow
def test_another_training_for_the_same_output_is_refused_until_restarted(data, frames, tmp_path):
    output = tmp_path / "m.eqmm"
    run_training(data, output, "training.max_steps=4")
    with pytest.raises(ValueError, match=r"m\.eqmm\.train holds .* with other settings"):
        run_training(data, output)
    changed = tmp_path / "changed.h5"
    write_frames(changed, [replace(frames[0], medium="ice"), *frames[1:]], METHOD)
    with pytest.raises(ValueError, match="other data; choose another output, or use --restart"):
        run_training(changed, output, "training.max_steps=4")
    run_training(data, output, restart=True)
    assert len(history(output)) == 3


def test_a_folder_that_is_not_a_training_is_never_thrown_away(data, tmp_path):
    folder = tmp_path / "model.eqmm.train"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not a training's folder; move it away"):
        run_training(data, tmp_path / "model.eqmm", restart=True)
    assert (folder / "thesis.tex").exists()


@pytest.mark.slow
def test_where_a_training_runs_may_change_when_it_goes_on(data, tmp_path):
    output = tmp_path / "model.eqmm"
    run_training(data, output)
    run_training(data, output, "hardware.accelerator=auto")


@pytest.mark.slow
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
        run_training(data, output)
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
    run_training(data, output)
    assert_same_weights(weights(output), weights(trained))


@pytest.mark.slow
def test_a_full_disk_at_the_end_leaves_the_previous_model(data, tmp_path, monkeypatch):
    output = run_training(data, tmp_path / "model.eqmm", "training.max_steps=4")
    before = output.read_bytes()
    real = Path.write_bytes

    def full(path, content):
        if "ckpt" in path.name:
            return real(path, content)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run_training(data, output, restart=True)
    assert output.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.slow
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
        run_training(data, output)
    assert signal.getsignal(number) == handler
    assert not output.exists()
    monkeypatch.undo()
    assert_same_weights(weights(run_training(data, output)), weights(trained))
