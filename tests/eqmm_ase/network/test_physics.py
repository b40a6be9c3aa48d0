"""The physics every model must obey: float64, random models of several shapes and a trained one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from places import DATA

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.batch import Frames
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.expansion import expand
from eqmm_ase.network.model import (
    ModelConfig,
    MultiscaleModel,
    Prediction,
    UnknownElementError,
    predict,
)
from eqmm_ase.network.model_file import load_model
from eqmm_ase.units import COULOMB_CONSTANT

ELEMENTS = (1, 6, 8, 17)
CONFIGS = {
    "default": ModelConfig(ELEMENTS),
    "potential only": ModelConfig(ELEMENTS, l_expansion=0, l_hidden=1, n_near=0, channels=8),
    "long range": ModelConfig(ELEMENTS, channels=8, long_range=True),
    "high order": ModelConfig(ELEMENTS, l_expansion=4, l_hidden=3, n_layers=3, channels=8),
}


@pytest.fixture(scope="module", params=[*CONFIGS, "trained", "committee"])
def model(request: pytest.FixtureRequest) -> MultiscaleModel | Committee:
    if request.param == "trained":
        return load_model(DATA / "methanol.eqmm")[0].double()
    if request.param == "committee":
        small = ModelConfig(ELEMENTS, channels=8)
        return Committee([_random_model(small, seed=7), _random_model(small, seed=8)])
    return _random_model(CONFIGS[request.param], seed=7)


def _random_model(config: ModelConfig, seed: int) -> MultiscaleModel:
    torch.manual_seed(seed)
    random_model = MultiscaleModel(config).double()
    n_orders = config.l_expansion + 1
    with torch.no_grad():  # untrained outputs are small by intention; here they must matter
        random_model.charge_flow.flow.out.weight *= 20.0
        random_model.atomic_energy.mlp[2].weight *= 20.0
        if random_model.multipoles is not None:
            random_model.multipoles.out.weight *= 20.0
    random_model.set_statistics(
        torch.zeros(len(ELEMENTS)),
        1.0,
        torch.full((n_orders,), 0.3),
        torch.tensor([0.0, 0.0, -0.9, -1.0]),
    )
    return random_model


@pytest.fixture(scope="module")
def frames(methanol_file: Path) -> list[Frame]:
    """Methanol in water, twice and charged; water, hydroxide in few charges; gas; three apart."""
    first, second = (_with_few_charges(f) for f in read_frames(methanol_file, [0, 1]))
    water = Frame(
        np.array([8, 1, 1]),
        np.array([[0.0, 0.0, 0.1], [0.8, 0.0, -0.5], [-0.7, 0.2, -0.5]]),
        mm_positions=np.array([[0.0, 0.3, 3.0], [2.0, 2.5, 0.3], [-3.0, 2.0, 1.0]]),
        mm_charges=np.array([0.4, -0.8, 0.7]),
    )
    hydroxide = replace(
        water, atomic_numbers=np.array([8, 1]), qm_positions=water.qm_positions[:2], total_charge=-1
    )
    cation = replace(first, total_charge=1, spin_multiplicity=2)
    # Distant in one QM region: an oxygen ion that methanol still reaches, and water.
    carbon = first.qm_positions[0]
    ion = carbon + np.array([0.0, 2.0, 3.3])
    far_water = carbon + np.array([7.0, 2.0, 0.0]) + water.qm_positions
    distant = Frame(
        np.array([8, *first.atomic_numbers, *water.atomic_numbers]),
        np.concatenate([ion[None], first.qm_positions, far_water]),
        carbon + np.array([[-4.0, -3.0, 1.0], [3.0, -4.0, 2.0]]),
        np.array([0.7, -0.4]),
        total_charge=-1,
        spin_multiplicity=2,
    )
    return [first, second, cation, water, hydroxide, water.in_vacuum(), distant]


def _with_few_charges(frame: Frame) -> Frame:
    """The 30 nearest water molecules only, to keep the tests short."""
    distance = np.linalg.norm(frame.mm_positions[:, None] - frame.qm_positions, axis=2).min(1)
    molecules = np.argsort(distance.reshape(-1, 3).min(1))[:30]
    sites = (3 * molecules[:, None] + np.arange(3)).ravel()
    return Frame(
        frame.atomic_numbers,
        np.asarray(frame.qm_positions, float),
        np.asarray(frame.mm_positions, float)[sites],
        np.asarray(frame.mm_charges, float)[sites],
    )


def evaluate(model: MultiscaleModel, frames: Frame | list[Frame]) -> Prediction:
    batch = [frames] if isinstance(frames, Frame) else frames
    return predict(model, Frames.from_frames(batch))


def interaction_energy(model: MultiscaleModel, frame: Frame) -> float:
    return float(evaluate(model, frame).energy - evaluate(model, frame.in_vacuum()).energy)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-9 of the largest value: rounding, accumulated over a few hundred terms."""
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-9 * scale)


def test_rotation_translation_and_inversion_leave_the_energy_and_turn_the_vectors(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    shift = np.array([11.0, -7.0, 5.0])
    before = evaluate(model, frames)
    for matrix in (rotation, -rotation, -np.eye(3)):
        moved = [
            replace(
                f,
                qm_positions=f.qm_positions @ matrix.T + shift,
                mm_positions=f.mm_positions @ matrix.T + shift,
            )
            for f in frames
        ]
        after = evaluate(model, moved)
        turn = torch.tensor(matrix)
        assert_same(after.energy, before.energy)
        assert_same(after.charges, before.charges)
        assert_same(after.mm_potential, before.mm_potential)
        assert_same(after.qm_forces, before.qm_forces @ turn.T)
        assert_same(after.mm_forces, before.mm_forces @ turn.T)
        charge = torch.tensor([[f.total_charge] for f in frames])
        assert_same(after.dipole, before.dipole @ turn.T + charge * torch.tensor(shift))


def test_the_order_of_atoms_and_of_charges_does_not_matter(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    rng = np.random.default_rng(2)
    for frame in frames:
        atoms, sites = rng.permutation(frame.n_qm), rng.permutation(frame.n_mm)
        shuffled = replace(
            frame,
            atomic_numbers=frame.atomic_numbers[atoms],
            qm_positions=frame.qm_positions[atoms],
            mm_positions=frame.mm_positions[sites],
            mm_charges=frame.mm_charges[sites],
        )
        before, after = evaluate(model, frame), evaluate(model, shuffled)
        assert_same(after.energy, before.energy)
        assert_same(after.qm_forces, before.qm_forces[atoms])
        assert_same(after.mm_forces, before.mm_forces[sites])
        assert_same(after.charges, before.charges[atoms])


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
    batch, raised_by = Frames.from_frames(frames), 2.5
    tensors = expand(batch, model.config.l_expansion)
    raised = tensors.clone()
    raised[:, 0] += raised_by
    with torch.no_grad():
        before, after = model.in_potential(batch, tensors), model.in_potential(batch, raised)
    assert_same(after.energy - before.energy, raised_by * batch.total_charge)
    assert_same(after.charges, before.charges)


def test_charges_add_up_to_the_total_charge(model: MultiscaleModel, frames: list[Frame]) -> None:
    charges = evaluate(model, frames).charges.split([f.n_qm for f in frames])
    for frame, atomic in zip(frames, charges, strict=True):
        assert float(atomic.sum()) == pytest.approx(frame.total_charge, abs=1e-9)
        assert float(atomic.abs().max()) > 1e-3


def test_net_force_and_torque_vanish(model: MultiscaleModel, frames: list[Frame]) -> None:
    for frame in frames:
        out = evaluate(model, frame)
        forces = torch.cat([out.qm_forces, out.mm_forces])
        positions = torch.tensor(np.concatenate([frame.qm_positions, frame.mm_positions]))
        assert float(forces.abs().max()) > 0.01
        assert_same(forces.sum(0), torch.zeros(3).double())
        assert_same(torch.linalg.cross(positions, forces).sum(0), torch.zeros(3).double())


def test_zero_charges_equal_no_charges(model: MultiscaleModel, frames: list[Frame]) -> None:
    frame = frames[0]
    without = evaluate(model, frame.in_vacuum())
    zero = evaluate(model, replace(frame, mm_charges=np.zeros(frame.n_mm)))
    assert_same(zero.energy, without.energy)
    assert_same(zero.qm_forces, without.qm_forces)
    assert torch.all(zero.mm_forces == 0.0)


def test_far_charges_see_the_total_charge_and_then_the_dipole(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    for frame in (frames[2], frames[4], frames[3], frames[6]):
        direction = np.array([0.6, 0.0, 0.8])
        at_centre = replace(frame, qm_positions=frame.qm_positions - frame.qm_positions.mean(0))
        dipole = float(evaluate(model, at_centre.in_vacuum()).dipole[0] @ torch.tensor(direction))

        def excess(distance: float, at_centre: Frame = at_centre, dipole: float = dipole) -> float:
            """What monopole and dipole leave unexplained, in units of k_e·q."""
            site = distance * np.array([0.6, 0.0, 0.8])[None]
            small = replace(at_centre, mm_positions=site, mm_charges=np.array([1e-3]))
            energy = interaction_energy(model, small) / (1e-3 * COULOMB_CONSTANT)
            return energy - at_centre.total_charge / distance - dipole / distance**2

        assert (
            abs(excess(50.0))
            < 2e-3 * (abs(frame.total_charge) / 50.0 + abs(dipole) / 50.0**2) + 1e-4
        )
        # Quadrupole and polarisation are left, at least the third power: 8 per doubling. An error
        # in the monopole would leave 2 and one in the dipole 4.
        for distance in (40.0, 80.0):  # the largest is 10 Å long
            assert abs(excess(2 * distance)) < abs(excess(distance)) / 6.0 + 1e-10


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


def test_a_batch_equals_its_frames_alone(model: MultiscaleModel, frames: list[Frame]) -> None:
    together = evaluate(model, frames)
    alone = [evaluate(model, frame) for frame in frames]
    for name in Prediction._fields:
        assert_same(getattr(together, name), torch.cat([getattr(out, name) for out in alone]))


def apart(frames: list[Frame], distance: float) -> tuple[Frame, list[Frame]]:
    """Methanol and water, neutral, in one QM region, and each of them alone in all the charges."""
    first, second = frames[0], frames[3]
    away = np.array([distance, 0.0, 0.0])
    sites = np.concatenate([first.mm_positions, second.mm_positions + away])
    charges = np.concatenate([first.mm_charges, second.mm_charges])
    both = Frame(
        np.concatenate([first.atomic_numbers, second.atomic_numbers]),
        np.concatenate([first.qm_positions, second.qm_positions + away]),
        sites,
        charges,
    )
    shifted = replace(second, qm_positions=second.qm_positions + away)
    return both, [replace(f, mm_positions=sites, mm_charges=charges) for f in (first, shifted)]


def test_two_molecules_far_apart_add_up_to_the_interaction_of_their_dipoles(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    rest = []
    for distance in (100.0, 200.0):
        both, alone = apart(frames, distance)
        separate = [evaluate(model, frame) for frame in alone]
        together = evaluate(model, both)
        dipoles = [out.dipole[0] for out in separate]
        along = dipoles[0][0] * dipoles[1][0]
        factor = COULOMB_CONSTANT / distance**3 if model.config.long_range else 0.0
        expected = factor * float(dipoles[0] @ dipoles[1] - 3.0 * along)
        excess = float(together.energy - separate[0].energy - separate[1].energy)
        assert abs(excess - expected) <= 0.1 * abs(expected) + 1e-9
        assert_same(together.charges, torch.cat([out.charges for out in separate]))
        forces = torch.cat([out.qm_forces for out in separate])
        rest.append(float((together.qm_forces - forces).abs().max()))
    if model.config.long_range:
        # Dipole and dipole: forces along the axis fall with the fourth power, but those within a
        # molecule, where the field of the other one bends its response, with the third.
        assert 1e-9 < rest[1] < rest[0] / 7.0
    else:
        assert max(rest) < 1e-9


def test_the_dipole_is_the_response_to_a_uniform_field(
    model: MultiscaleModel, frames: list[Frame]
) -> None:
    batch, step = Frames.from_frames(frames), 1e-3
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


def test_an_unknown_element_is_named(model: MultiscaleModel, frames: list[Frame]) -> None:
    unknown = replace(frames[3], atomic_numbers=np.array([8, 1, 35]))
    with pytest.raises(UnknownElementError, match="given Br"):
        evaluate(model, unknown)


def test_float32_agrees_with_float64(frames: list[Frame]) -> None:
    torch.manual_seed(7)
    single = MultiscaleModel(CONFIGS["default"])
    # Total energies are thousands of eV: in float32 they would be good to 3e-4 eV only.
    single.set_statistics(torch.full((len(ELEMENTS),), -1234.5), 1.0, torch.full((4,), 0.3))
    batch = [frames[0], frames[4]]
    rough = predict(single, Frames.from_frames(batch, torch.float32))
    fine = evaluate(single.double(), batch)
    torch.testing.assert_close(rough.energy, fine.energy, rtol=0.0, atol=1e-4)
    torch.testing.assert_close(rough.qm_forces.double(), fine.qm_forces, rtol=1e-3, atol=1e-3)


def test_converting_to_double_keeps_rotational_symmetry_exact() -> None:
    """A coupling table rounded to float32 on the way would break it at 1e-8."""
    once = MultiscaleModel(CONFIGS["default"])
    table = once.layers[0].many_body.tensor.clone()
    again = once.double().float().double().layers[0].many_body.tensor
    assert again.dtype == torch.float64
    assert not torch.equal(again, table.double())
    torch.testing.assert_close(again, table.double(), rtol=1e-6, atol=1e-7)


def test_training_gradients_reach_every_weight(frames: list[Frame]) -> None:
    torch.manual_seed(7)
    model = MultiscaleModel(CONFIGS["default"]).double()
    out = predict(model, Frames.from_frames([frames[0], frames[4]]), create_graph=True)
    loss = sum(getattr(out, name).square().sum() for name in Prediction._fields)
    loss.backward(inputs=list(model.parameters()))
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_force_gradients_with_respect_to_weights_are_exact(frames: list[Frame]) -> None:
    torch.manual_seed(7)
    model = MultiscaleModel(CONFIGS["default"]).double()
    batch = Frames.from_frames([frames[1], frames[4]])
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
