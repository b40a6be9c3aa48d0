"""The pieces of a training that need no training: rounds, learning rate, averages, files."""

from __future__ import annotations

import pytest
import torch

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.training.config import load_config
from eqmm_ase.training.fit import rounds_of
from eqmm_ase.training.learner import Learner, averaging_decay
from eqmm_ase.training.loss import Loss


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


def learner(*overrides: str, total_steps: int = 1000) -> Learner:
    model = MultiscaleModel(ModelConfig((1,), channels=2, l_hidden=1, l_expansion=1, n_layers=1))
    return Learner(model, Loss(), load_config(None, overrides), total_steps, ["gas"], [])


def test_the_learning_rate_warms_up_and_ends_at_zero():
    rate = learner("optimizer.warmup_steps=10").rate
    rates = [rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates.index(max(rates)) == 10
    assert rates[-1] == 0.0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_checkpoint_carries_best_weights_clock_and_random_numbers():
    before, after = learner(), learner()
    before._earlier_seconds = 1000.0
    before.best = {"loss": 0.5, "step": 7, "metrics": {}, "weights": {}}
    checkpoint: dict[str, object] = {}
    before.on_save_checkpoint(checkpoint)
    expected = torch.rand(3)
    after.on_load_checkpoint(checkpoint)
    assert after.best == before.best
    assert 1000.0 <= after.seconds < 1010.0
    assert torch.equal(torch.rand(3), expected)


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


def test_a_limit_of_time_tells_how_much_of_it_is_left():
    assert learner().seconds_left() == float("inf")
    limited = learner("training.max_minutes=2")
    assert 110.0 < limited.seconds_left() <= 120.0
    limited._earlier_seconds = 60.0
    assert 50.0 < limited.seconds_left() <= 60.0
