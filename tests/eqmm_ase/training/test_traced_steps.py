"""Traced steps of training give what untraced ones give, whatever batches come."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eqmm_ase import tracing
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import Prediction, predict
from eqmm_ase.training import traced_steps
from eqmm_ase.training.traced_steps import TracedSteps
from tests.eqmm_ase.network.test_features import CONFIGS, make_frames, random_model

pytestmark = pytest.mark.skipif(not tracing.POSSIBLE, reason="torch has no interpreter")
BATCHES = [
    make_frames([3, 6], [40, 25]),
    make_frames([6, 3], [20, 0]),  # as many atoms, in frames of other sizes
    make_frames([4, 5], [10, 90]),
    make_frames([2], [0]),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_steps, "PATIENCE", 0)


def gradients(model: MultiscaleModel, found: Prediction) -> torch.Tensor:
    """Of the weights, from a loss that takes every quantity in a direction of its own."""
    generator = torch.Generator().manual_seed(5)
    loss = sum(
        (value * torch.randn(value.shape, generator=generator)).sum() + value.square().sum()
        for value in found.values()
    )
    weights = list(model.parameters())
    parts = torch.autograd.grad(loss, weights, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def assert_same(model: MultiscaleModel, steps: TracedSteps, frames: FrameBatch) -> None:
    found, expected = steps(frames), predict(model, frames, create_graph=True)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-11)
    by_weight = gradients(model, expected)
    assert float((gradients(model, found) - by_weight).abs().max()) < 1e-11 * by_weight.abs().max()


def move(model: MultiscaleModel) -> None:
    """As an optimiser does, in place."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1).add_(0.01)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "long range"])
def test_predictions_and_gradients_are_those_without_a_trace(name: str) -> None:
    model = random_model(CONFIGS[name])
    steps = TracedSteps(model)
    for _ in range(2):
        for frames in BATCHES:
            assert_same(model, steps, frames)
        move(model)
    assert all(steps._traces.values())
    assert len(steps._traces) == len(BATCHES)


def test_atoms_that_move_share_a_trace() -> None:
    model, frames = random_model(CONFIGS["default"]), make_frames([6, 3], [20, 10])
    steps = TracedSteps(model)
    for scale in (1.0, 1.5, 2.2):  # fewer and fewer edges, filled up to one number
        moved = replace(frames, qm_positions=scale * frames.qm_positions)
        assert_same(model, steps, moved)
    assert len(steps._traces) == 2


def test_long_range_is_not_traced() -> None:
    model = random_model(CONFIGS["long range"])
    steps = TracedSteps(model)
    assert_same(model, steps, BATCHES[0])
    assert not steps._traces


def test_only_so_many_forms_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_steps, "_MOST", 1)
    model = random_model(CONFIGS["default"])
    steps = TracedSteps(model)
    for frames in BATCHES:
        assert_same(model, steps, frames)
    assert len(steps._traces) == 1
