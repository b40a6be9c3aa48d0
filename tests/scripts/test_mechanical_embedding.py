"""Mechanical embedding: the energy in vacuo, and given charges in the potential of the MM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from places import DATA

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import predict
from eqmm_ase.units import COULOMB_CONSTANT, KCAL_PER_MOL
from scripts.studies import mechanical_embedding as mechanical

SUBSET = DATA / "flagship.h5"


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return read_frames(SUBSET)


@pytest.fixture(scope="module")
def vacuum() -> MultiscaleModel:
    torch.manual_seed(3)
    config = ModelConfig((1, 6, 17), cutoff=8.0, l_expansion=0, channels=8, polarisable=False)
    return MultiscaleModel(config).double()


def zeta_of(frame: Frame) -> float:
    return float(mechanical.zeta(torch.tensor(frame.qm_positions)[None]))


def along(vacuum: MultiscaleModel, frames: list[Frame]) -> mechanical.FixedCharges:
    gas = [f for f in frames if f.medium == "gas"]
    charges = mechanical.charges_along(gas, "mbis")
    return mechanical.FixedCharges(vacuum, list(mechanical.KNOTS), charges).double()


def test_the_energy_is_that_in_vacuo_and_of_the_charges(
    vacuum: MultiscaleModel, frames: list[Frame]
) -> None:
    charges = np.array([[-0.1, -0.2, -1.0, 0.1, 0.1, 0.1]])
    model = mechanical.FixedCharges(vacuum, [0.0], charges).double()
    frame = next(f for f in frames if f.medium == "water")
    found = predict(model, FrameBatch.from_frames([frame]))
    alone = predict(vacuum, FrameBatch.from_frames([frame.in_vacuum()]))
    distances = np.linalg.norm(frame.qm_positions[:, None] - frame.mm_positions[None], axis=2)
    coulomb = COULOMB_CONSTANT * (charges[0] @ (1.0 / distances) @ frame.mm_charges)
    # The charges of the table are in single precision.
    assert float(found.energy - alone.energy) == pytest.approx(coulomb, rel=1e-6)
    expected = COULOMB_CONSTANT * charges[0] @ (1.0 / distances)
    assert found.mm_potential.numpy() == pytest.approx(expected, abs=1e-6)


def test_forces_hold_what_the_charges_change_along_the_coordinate(
    vacuum: MultiscaleModel, frames: list[Frame]
) -> None:
    model, step = along(vacuum, frames), 1e-4
    # Between two knots, where the charges change.
    frame = next(f for f in frames if f.medium == "water" and 0.1 < zeta_of(f) < 0.9)
    assert min(abs(zeta_of(frame) - knot) for knot in mechanical.KNOTS) > 0.01
    force = float(predict(model, FrameBatch.from_frames([frame])).qm_forces[1, 2])
    energies = []
    for sign in (1, -1):
        moved = np.array(frame.qm_positions)
        moved[1, 2] += sign * step
        moved_frame = replace(frame, qm_positions=moved)
        energies.append(float(predict(model, FrameBatch.from_frames([moved_frame])).energy))
    assert force == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-5)


def test_charges_go_from_one_chlorine_to_the_other_and_add_up(
    vacuum: MultiscaleModel, frames: list[Frame]
) -> None:
    gas = [f for f in frames if f.medium == "gas"]
    table = mechanical.charges_along(gas, "mbis")
    assert table.sum(1) == pytest.approx(-1.0, abs=1e-3)
    assert table[0, 2] < -0.95 < -0.4 < table[0, 1]
    assert table[-1, 1] < -0.95 < -0.4 < table[-1, 2]
    reactant = mechanical.reactant_charges(gas, "mbis")
    assert reactant[0] == pytest.approx(table[0], abs=0.05)


def test_hats_interpolate_linearly_and_end_flat() -> None:
    knots = torch.tensor([-1.0, 0.0, 1.0])
    found = mechanical.hats(torch.tensor([-5.0, -0.25, 0.0, 3.0]), knots)
    expected = [[1.0, 0, 0], [0.25, 0.75, 0], [0, 1.0, 0], [0, 0, 1.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_the_zero_of_the_energy_does_not_count(
    vacuum: MultiscaleModel, frames: list[Frame]
) -> None:
    tests = {"water": [f for f in frames if f.medium == "water"][:5]}
    raised = {"water": [replace(f, energy=f.energy + 7.0) for f in tests["water"] if f.energy]}
    before = mechanical.errors(vacuum, tests)["water"]
    after = mechanical.errors(vacuum, raised)["water"]
    centred = "energy_mae_centred"
    assert after[centred] == pytest.approx(before[centred], rel=1e-6)
    assert before["energy_offset"] - after["energy_offset"] == pytest.approx(7.0 / KCAL_PER_MOL)
    assert after["energy_mae"] > after[centred] > 0.0
