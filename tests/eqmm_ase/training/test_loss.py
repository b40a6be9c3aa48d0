"""The loss: masked, weighted, and on the same footing for every system."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.batch import FrameDataset, collate
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.training.loss import Loss, LossWeights, delta_at

NONE = dict.fromkeys(QUANTITIES, 0.0)


@pytest.fixture(scope="module")
def frames(methanol_file):
    return read_frames(methanol_file, range(4))


def batch_of(frames):
    dataset = FrameDataset(frames, "mulliken", torch.float64)
    return collate([dataset[i] for i in range(len(frames))])


def off_by(batch, **errors: float) -> Prediction:
    parts = {
        name: (getattr(batch.labels, name).nan_to_num() + errors.get(name, 0.0)).requires_grad_()
        for name in QUANTITIES
    }
    return Prediction(**parts)


def test_exact_predictions_cost_nothing(frames):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(), [batch])
    assert loss(off_by(batch), batch).item() == 0.0


@pytest.mark.parametrize("name", ["mm_forces", "charges", "dipole"])
def test_an_error_as_large_as_the_labels_costs_the_weight(frames, name):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(**(NONE | {name: 0.7})), [batch])
    zeros = Prediction(off_by(batch) | {name: torch.zeros_like(batch.labels[name])})
    assert loss(zeros, batch).item() == pytest.approx(0.7)


def test_the_energy_error_counts_per_root_of_the_number_of_atoms_in_units_of_the_forces(frames):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(**(NONE | {"energy": 2.0})), [batch])
    rms = batch.labels.qm_forces.square().mean().sqrt().item()
    expected = 2.0 * (1e-4 / rms) ** 2 / 6
    assert loss(off_by(batch, energy=1e-4), batch).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["energy", "qm_forces"])
def test_large_errors_of_energies_and_qm_forces_count_linearly_and_small_ones_squared(frames, name):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(**(NONE | {name: 1.0})), [batch])
    scale = loss.scales[name]

    def cost(error: float) -> float:
        return loss(off_by(batch, **{name: error * scale}), batch).item()

    assert cost(2e-5) / cost(1e-5) == pytest.approx(4.0, rel=1e-3)
    assert cost(20.0) / cost(10.0) == pytest.approx(2.0, rel=1e-2)
    squared = (1e-5) ** 2 / (6 if name == "energy" else 1)
    assert cost(1e-5) == pytest.approx(squared, rel=1e-3)


@pytest.mark.parametrize("name", ["energy", "qm_forces"])
def test_while_a_training_begins_errors_count_squared(frames, name):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(**(NONE | {name: 1.0})), [batch])

    def cost(error: float, step: int) -> float:
        predicted = off_by(batch, **{name: error * loss.scales[name]})
        return loss(predicted, batch, delta=delta_at(step)).item()

    assert cost(0.2, step=0) / cost(0.1, step=0) == pytest.approx(4.0, rel=0.03)
    assert (
        cost(0.2, step=10_000)
        == loss(off_by(batch, **{name: 0.2 * loss.scales[name]}), batch).item()
    )
    deltas = [delta_at(step) for step in range(2000)]
    assert deltas == sorted(deltas, reverse=True)
    assert (deltas[0], deltas[-1]) == (1.0, 0.01)


def test_the_cost_of_force_errors_does_not_depend_on_how_the_frame_lies(frames):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(**(NONE | {"qm_forces": 1.0})), [batch])
    exact, error = off_by(batch), torch.zeros_like(batch.labels.qm_forces)
    error[:, 0] = 0.1
    turned = error @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    first, second = (
        loss(Prediction(exact | {"qm_forces": exact.qm_forces + e}), batch).item()
        for e in (error, turned)
    )
    assert first == pytest.approx(second, rel=1e-10)


def test_scaling_all_labels_and_errors_leaves_the_loss_as_it_is(frames):
    weights = LossWeights(**(NONE | {"energy": 1.0, "qm_forces": 1.0, "mm_forces": 1.0}))

    def loss_with(factor):
        scaled = [
            replace(
                frame,
                energy=factor * frame.energy,
                qm_forces=factor * frame.qm_forces,
                mm_forces=factor * frame.mm_forces,
            )
            for frame in frames
        ]
        batch = batch_of(scaled)
        off = off_by(batch, energy=0.1 * factor, qm_forces=0.1 * factor, mm_forces=0.01 * factor)
        return Loss.fit(weights, [batch])(off, batch).item()

    assert loss_with(5.0) == pytest.approx(loss_with(1.0), rel=1e-6)


def test_labels_that_are_not_known_neither_count_nor_send_gradients(frames):
    half = [frames[0], replace(frames[1], energy=None, qm_forces=None, charges={})]
    batch, alone = batch_of(half), batch_of(half[:1])
    weights = LossWeights(**(NONE | {"energy": 1.0, "qm_forces": 1.0, "charges": 1.0}))
    loss = Loss.fit(weights, [batch])
    errors = {"energy": 0.2, "qm_forces": 0.1, "charges": 0.05}
    prediction = off_by(batch, **errors)
    value = loss(prediction, batch)
    assert value.item() == pytest.approx(loss(off_by(alone, **errors), alone).item())
    value.backward()
    for name in errors:
        gradient = getattr(prediction, name).grad
        assert torch.isfinite(gradient).all()
        assert (gradient[len(gradient) // 2 :] == 0).all()


def test_quantities_without_any_label_are_left_out(frames):
    batch = batch_of(frames)
    loss = Loss.fit(LossWeights(), [batch])
    assert loss.weights.mm_potential == 0.0
    assert "mm_potential" not in loss.terms(off_by(batch), batch)
    assert loss.weights.mm_forces == LossWeights().mm_forces


def test_gas_phase_frames_have_a_finite_loss(frames):
    gas = replace(frames[0].in_vacuum(), energy=frames[0].energy, qm_forces=frames[0].qm_forces)
    batch = batch_of([gas])
    loss = Loss.fit(LossWeights(), [batch_of(frames)])
    assert torch.isfinite(loss(off_by(batch, energy=0.1), batch))


def test_small_errors_of_large_energies_survive_single_precision(frames):
    dataset = FrameDataset(frames[:1], "mulliken", torch.float32)
    loss = Loss.fit(LossWeights(**(NONE | {"energy": 1.0})), [dataset[0]])
    error = 1e-6  # eV, on 3149 eV; float32 resolves 2e-4 there
    value = loss(off_by(dataset[0], energy=error), dataset[0]).item()
    assert value == pytest.approx((error / loss.scales["energy"]) ** 2 / 6, rel=1e-3)


def test_every_label_has_a_weight():
    assert {f.name for f in fields(LossWeights)} == set(QUANTITIES)
    assert np.min([getattr(LossWeights(), name) for name in QUANTITIES]) >= 0.0
