"""Symmetries and limits that every model must obey: float64, random models and a trained one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from physics_kit import (
    CONFIGS,
    ELEMENTS,
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
from eqmm_ase.network.model import MultiscaleModel, UnknownElementError
from eqmm_ase.network.prediction import predict
from eqmm_ase.units import COULOMB_CONSTANT


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> MultiscaleModel | Committee:
    return model_called(request.param)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return physics_frames()


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


@pytest.mark.slow
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


def test_a_batch_equals_its_frames_alone(model: MultiscaleModel, frames: list[Frame]) -> None:
    together = evaluate(model, frames)
    alone = [evaluate(model, frame) for frame in frames]
    for name in QUANTITIES:
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
    rough = predict(single, FrameBatch.from_frames(batch, torch.float32))
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
