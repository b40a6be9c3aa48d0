"""Forces, potential and dipole are derivatives of one energy, in every model: float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from physics_kit import (
    CONFIGS,
    MODELS,
    assert_same,
    evaluate,
    interaction_energy,
    model_called,
    physics_frames,
)

from eqmm_ase.data.frame import Frame
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.expansion import expand
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import predict


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> MultiscaleModel | Committee:
    return model_called(request.param)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return physics_frames()


def _difference(model: MultiscaleModel, frame: Frame, name: str, index: tuple[int, ...]) -> float:
    """dE/d(frame.name[index]) by central differences of fourth order."""
    step = 4e-4

    def odd(steps: int) -> float:
        ends = []
        for sign in (1, -1):
            values = np.array(getattr(frame, name))
            values[index] += sign * steps * step
            ends.append(float(evaluate(model, replace(frame, **{name: values})).energy))
        return ends[0] - ends[1]

    return (8 * odd(1) - odd(2)) / (12 * step)


@pytest.mark.slow
def test_forces_and_potential_are_derivatives_of_the_energy(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    # The differences are good to about 1e-14 times the fifth derivative, plus 1e-10 of rounding.
    rng = np.random.default_rng(3)
    for frame in (frames[0], frames[2], frames[4], frames[6]):
        out = evaluate(model, frame)
        for atom in range(frame.n_qm):
            axis = int(rng.integers(3))
            found = -_difference(model, frame, "qm_positions", (atom, axis))
            assert found == pytest.approx(float(out.qm_forces[atom, axis]), abs=1e-6)
        nearest = np.linalg.norm(frame.mm_positions - frame.qm_positions[0], axis=1).argsort()
        for site in nearest[:: max(1, len(nearest) // 4)]:
            axis = int(rng.integers(3))
            found = -_difference(model, frame, "mm_positions", (site, axis))
            assert found == pytest.approx(float(out.mm_forces[site, axis]), abs=1e-6)
            found = _difference(model, frame, "mm_charges", (site,))
            assert found == pytest.approx(float(out.mm_potential[site]), abs=1e-6)


def test_raising_the_potential_everywhere_adds_charge_times_potential(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    batch, raised_by = FrameBatch.from_frames(frames), 2.5
    tensors = expand(batch, model.config.l_expansion)
    raised = tensors.clone()
    raised[:, 0] += raised_by
    with torch.no_grad():
        before, after = model.in_potential(batch, tensors), model.in_potential(batch, raised)
    assert_same(after.energy - before.energy, raised_by * batch.total_charge)
    assert_same(after.charges, before.charges)


@pytest.mark.slow
def test_energy_and_two_derivatives_are_continuous_where_charges_or_atoms_pass_a_cutoff(
    model: MultiscaleModel,
) -> None:
    def second_derivative(make: Callable[[float], Frame], distance: float, step: float) -> float:
        energies = [float(evaluate(model, make(distance + k * step)).energy) for k in (-1, 0, 1)]
        return (energies[0] - 2 * energies[1] + energies[2]) / step**2

    def atom_at(distance: float) -> Frame:
        positions = np.array([[0.0, 0, 0], [0.97, 0, 0], [0, 0, distance], [0.0, 0.9, distance]])
        charges = (np.array([[1.0, 3.0, 1.0], [-2.0, 2.0, 3.0]]), np.array([0.8, -0.5]))
        return Frame(np.array([8, 1, 6, 1]), positions, *charges, spin_multiplicity=2)

    def charge_at(distance: float) -> Frame:
        frame = atom_at(1.4)
        sites = np.array([[0.0, -distance, 0.0]])
        return replace(frame, mm_positions=sites, mm_charges=np.array([0.8]))

    for make, cutoff in ((atom_at, model.config.cutoff), (charge_at, model.config.near_cutoff)):
        gaps = []
        for off in (0.02, 0.01):
            inside = second_derivative(make, cutoff - off, off / 4)
            outside = second_derivative(make, cutoff + off, off / 4)
            gaps.append(abs(inside - outside))
        # A jump in a derivative up to the second would stay or grow as the cutoff is approached.
        assert gaps[1] < 0.7 * gaps[0] + 2e-5


def test_the_dipole_is_the_response_to_a_uniform_field(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    batch, step = FrameBatch.from_frames(frames), 1e-3
    tensors = expand(batch, model.config.l_expansion)
    dipole = evaluate(model, frames).dipole
    if model.config.l_expansion == 0:
        return
    for axis in range(3):

        def energy(gradient: float, axis: int = axis) -> torch.Tensor:
            inside = tensors.clone()  # of the potential gradient · x
            inside[:, 0] += gradient * batch.qm_positions[:, axis]
            inside[:, 1 + axis] += gradient
            with torch.no_grad():
                return model.in_potential(batch, inside).energy

        odd = [energy(n * step) - energy(-n * step) for n in (1, 2)]
        found = (8 * odd[0] - odd[1]) / (12 * step)
        torch.testing.assert_close(found, dipole[:, axis], rtol=1e-7, atol=1e-7)


def test_the_environment_reaches_the_energy_beyond_fixed_charges(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    """Polarisation: reversing all charges would only change the sign if nothing responded."""
    frame = frames[0]
    forward = interaction_energy(model, frame)
    backward = interaction_energy(model, replace(frame, mm_charges=-frame.mm_charges))
    assert abs(forward + backward) > 0.01


def test_training_gradients_reach_every_weight(frames: list[Frame]) -> None:
    torch.manual_seed(7)
    model = MultiscaleModel(CONFIGS["default"]).double()
    out = predict(model, FrameBatch.from_frames([frames[0], frames[4]]), create_graph=True)
    loss = sum(getattr(out, name).square().sum() for name in QUANTITIES)
    loss.backward(inputs=list(model.parameters()))
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_force_gradients_with_respect_to_weights_are_exact(frames: list[Frame]) -> None:
    torch.manual_seed(7)
    model = MultiscaleModel(CONFIGS["default"]).double()
    batch = FrameBatch.from_frames([frames[1], frames[4]])
    weight = model.layers[1].polarise.weight

    def loss() -> torch.Tensor:
        out = predict(model, batch, create_graph=True)
        parts = (out.qm_forces, out.mm_forces, out.mm_potential, out.dipole)
        return sum(part.square().sum() for part in parts)

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        ends = []
        for step in (1e-5, -2e-5):
            weight += step * direction
            with torch.enable_grad():
                ends.append(loss().item())
    assert float((gradient * direction).sum()) == pytest.approx(
        (ends[0] - ends[1]) / 2e-5, rel=1e-6
    )
