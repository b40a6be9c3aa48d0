"""The pieces of a training that need no training: rounds, learning rate, averages, files."""

from __future__ import annotations

import pytest
import torch

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.config import load_config
from eqmm_ase.learner import Learner, averaging_decay
from eqmm_ase.train import rounds_of


def test_rounds_are_equal_and_never_exceed_the_steps_asked_for():
    def rounds(max_steps, every):
        return rounds_of(
            load_config(
                None, [f"training.max_steps={max_steps}", f"training.validate_every={every}"]
            )
        )

    assert rounds(5000, 250) == (20, 250)
    assert rounds(10, 4) == (3, 3)
    assert rounds(3, 250) == (1, 3)


def test_the_learning_rate_warms_up_and_ends_at_zero():
    learner = Learner.__new__(Learner)
    torch.nn.Module.__init__(learner)
    learner.config = load_config(None, ["optimizer.warmup_steps=10"])
    learner.total_steps = 1000
    rates = [learner.rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates.index(max(rates)) == 10
    assert rates[-1] == 0.0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_average_of_the_weights_starts_as_the_weights_and_grows_longer():
    assert averaging_decay(0.99, 0) == 0.0
    assert averaging_decay(0.99, 9) == 0.5
    assert averaging_decay(0.99, 10**6) == 0.99
    assert averaging_decay(0.0, 10**6) == 0.0


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    with pytest.raises(RuntimeError), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
