"""A committee is the mean of its members, and knows how far they differ."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from calculator_kit import (
    ROUNDING,
    SMALL,
    assert_same,
    embedded,
    methanol,
    random_model,
    some_charges,
)
from safetensors import safe_open
from safetensors.torch import save_file

from eqmm_ase import EqMM
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.network import model as model_module
from eqmm_ase.network import model_file
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee, mean_and_spread
from eqmm_ase.network.features import PrecomputedFeatures
from eqmm_ase.network.model_file import ModelFileError, load_model, save_model
from eqmm_ase.network.prediction import predict, predict_each
from eqmm_ase.uncertainty.calibration import Calibration
from eqmm_ase.uncertainty.domain import DomainWarning


@pytest.fixture(scope="module")
def members():
    return [random_model(seed).double() for seed in (1, 2)]


@pytest.fixture(scope="module")
def committee(members):
    return Committee(members)


@pytest.fixture(scope="module")
def frames():
    """Methanol in charges, and methanol in vacuum."""
    atoms = methanol()
    charges, positions = some_charges()
    frame = Frame(atoms.numbers, atoms.positions, positions, charges)
    return FrameBatch.from_frames([frame, frame.in_vacuum()])


@pytest.fixture
def path(tmp_path, committee):
    save_model(tmp_path / "committee.eqmm", committee, {})
    return tmp_path / "committee.eqmm"


# --- the mean ---


def test_every_prediction_is_the_mean_of_the_members(committee, members, frames):
    each = [predict(member, frames) for member in members]
    with_spread, _ = mean_and_spread(predict_each(committee.members, frames))
    for out in (predict(committee, frames), with_spread):
        for name in QUANTITIES:
            first, second = (getattr(prediction, name) for prediction in each)
            assert not torch.allclose(first, second, atol=1e-4)
            # 1e-12 of energies of 2·10³ eV and of values near 1: rounding.
            expected = (first + second) / 2
            torch.testing.assert_close(getattr(out, name), expected, rtol=1e-12, atol=1e-12)


def test_a_committee_of_one_is_its_member(members, frames):
    alone = predict(members[0], frames)
    out, spread = mean_and_spread(predict_each(members[:1], frames))
    for name in QUANTITIES:
        torch.testing.assert_close(
            getattr(out, name), getattr(alone, name), rtol=0.0, atol=ROUNDING["float64"]
        )
    assert not spread.energy.any()
    assert not spread.qm_forces.any()


def test_what_has_no_weights_is_made_once_for_all_members(members, frames, monkeypatch):
    made = []
    monkeypatch.setattr(
        model_module, "PrecomputedFeatures", lambda *a: made.append(1) or PrecomputedFeatures(*a)
    )
    mean_and_spread(predict_each([*members, *members], frames))
    assert len(made) == 1


def test_the_spread_is_the_deviation_of_the_members(members, frames):
    three = [*members, random_model(3).double()]
    each = [predict(member, frames) for member in three]
    _, spread = mean_and_spread(predict_each(three, frames))
    energies = np.array([prediction.energy.numpy() for prediction in each])
    forces = np.array([prediction.qm_forces.numpy() for prediction in each])
    assert spread.energy.numpy() == pytest.approx(energies.std(axis=0))
    variances = forces.var(axis=0).sum(axis=1)
    assert spread.qm_forces.numpy() == pytest.approx(np.sqrt(variances))
    assert spread.qm_forces.min() > 1e-3


def test_members_that_are_equal_leave_no_spread(members, frames):
    same = Committee([members[0], copy.deepcopy(members[0]), copy.deepcopy(members[0])])
    _, spread = mean_and_spread(predict_each(same.members, frames))
    # The mean of three equal energies of 2·10³ eV is off by a rounding.
    assert float(spread.energy.max()) < 1e-11
    assert float(spread.qm_forces.max()) < 1e-13


def test_members_that_cannot_be_one_committee_are_refused(members):
    with pytest.raises(ValueError, match="at least one member"):
        Committee([])
    with pytest.raises(ValueError, match="one and the same configuration"):
        Committee([*members, random_model(0, replace(SMALL, channels=5))])


# --- the file ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_committee_comes_back_bit_by_bit(tmp_path, members, frames, dtype):
    committee = model_file.cast(copy.deepcopy(Committee(members)), dtype)
    save_model(tmp_path / "model.eqmm", committee, {"method": {"xc": "b3lyp"}})
    loaded, card = load_model(tmp_path / "model.eqmm")
    assert isinstance(loaded, Committee)
    assert not loaded.training
    assert loaded.config == SMALL
    for name, tensor in committee.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
        assert tensor.dtype == loaded.state_dict()[name].dtype, name
    assert card["n_members"] == 2
    assert card["n_parameters"] == 2 * sum(p.numel() for p in members[0].parameters())
    assert card["method"] == {"xc": "b3lyp"}


def test_casting_leaves_the_atomic_energies_of_every_member_wide(members):
    committee = copy.deepcopy(Committee(members))
    for member in committee.members:
        member.atomic_energies += 1e-9
    energies = [member.atomic_energies.clone() for member in committee.members]
    model_file.cast(committee, torch.float32)
    for member, expected in zip(committee.members, energies, strict=True):
        assert next(member.parameters()).dtype == torch.float32
        assert torch.equal(member.atomic_energies, expected)


def rewritten(path, change):
    """The same file with other tensors and their checksum."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors = change(tensors)
    header["sha256"] = model_file._digest(header, tensors)
    save_file(tensors, path, header)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t | {"surplus": torch.zeros(1)}, "tensors that belong to no member"),
        (lambda t: {n: v for n, v in t.items() if ".0." not in n[:10]}, "belong to no member"),
        (lambda t: t | {"members.2.x": torch.zeros(1)}, "lacks tensors"),
        (lambda t: t | {"members.1.x": torch.zeros(1)}, "has the unknown tensors x"),
    ],
)
def test_a_file_with_half_a_committee_is_refused(path, change, sentence):
    rewritten(path, change)
    with pytest.raises(ModelFileError, match=sentence):
        load_model(path)


def test_the_ladder_is_climbed_by_every_member(path, monkeypatch, frames):
    expected = predict(load_model(path)[0], frames).energy
    rewritten(path, lambda t: {n.replace("embedding", "species"): v for n, v in t.items()})

    def renamed(header, tensors):
        tensors["embedding.weight"] = tensors.pop("species.weight")
        return header | {"card": json.dumps({"upgraded": True})}, tensors

    monkeypatch.setattr(model_file, "VERSION", 2)
    monkeypatch.setattr(model_file, "UPGRADES", {1: renamed})
    loaded, card = load_model(path)
    assert card["upgraded"]
    assert_same([predict(loaded, frames).energy], [expected])


# --- the calculator ---


@pytest.mark.slow
def test_the_calculator_takes_a_committee_like_any_model(path, committee, members):
    energies = [embedded(member).get_potential_energy() for member in members]
    for model in (path, committee):
        atoms = embedded(model)
        assert atoms.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-10)
        assert set(atoms.calc.results) <= set(EqMM.implemented_properties)
    rough = embedded(path, dtype="float32")
    assert rough.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-3)
    pickle.loads(pickle.dumps(atoms.calc))


def test_uncertainty_is_the_spread_where_nothing_calibrates_it(committee, members):
    atoms = embedded(committee)
    with pytest.raises(ValueError, match="has not seen any atoms"):
        _ = atoms.calc.uncertainty
    atoms.get_potential_energy()
    found = atoms.calc.uncertainty
    alone = [embedded(member) for member in members]
    energies = [one.get_potential_energy() for one in alone]
    forces = np.array([one.get_forces() for one in alone])
    assert found.energy == pytest.approx(np.std(energies))
    assert found.forces == pytest.approx(np.sqrt(forces.var(axis=0).sum(axis=1)))
    assert not found.calibrated


def test_uncertainty_follows_atoms_and_charges(committee):
    atoms = embedded(committee)
    atoms.get_forces()
    before = atoms.calc.uncertainty
    assert atoms.calc.uncertainty is before
    atoms.positions[0] += 0.1
    moved = atoms.calc.uncertainty
    assert moved.energy != before.energy
    charges, positions = some_charges()
    atoms.calc.embed(0.5 * charges, positions)
    assert atoms.calc.uncertainty.energy != moved.energy


def test_uncertainty_is_scaled_by_the_calibration_of_the_file(tmp_path, committee):
    bare = embedded(committee)
    bare.get_forces()
    calibration = Calibration({"energy": 2.0, "qm_forces": 3.0})
    save_model(tmp_path / "m.eqmm", committee, {"calibration": calibration.to_dict()})
    atoms = embedded(tmp_path / "m.eqmm")
    atoms.get_forces()
    assert atoms.calc.uncertainty.calibrated
    assert atoms.calc.uncertainty.energy == pytest.approx(2.0 * bare.calc.uncertainty.energy)
    assert atoms.calc.uncertainty.forces == pytest.approx(3.0 * bare.calc.uncertainty.forces)


@pytest.mark.parametrize("name", ["energy", "qm_forces"])
def test_an_uncertainty_above_its_limit_is_warned_of_once(tmp_path, committee, name):
    bare = embedded(committee)
    bare.get_forces()
    found = bare.calc.uncertainty
    present = {"energy": found.energy, "qm_forces": found.forces.max()}[name]
    for limit, expected in ((1.1 * present, 0), (0.9 * present, 1)):
        calibration = Calibration({"energy": 1.0, "qm_forces": 1.0}, {name: limit})
        save_model(tmp_path / "m.eqmm", committee, {"calibration": calibration.to_dict()})
        atoms = embedded(tmp_path / "m.eqmm")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                atoms.positions[0] += 1e-5
                atoms.get_forces()
        assert [w.category for w in caught] == [DomainWarning] * expected
        assert all("members of the committee disagree" in str(w.message) for w in caught)


def test_a_single_model_says_that_it_knows_no_uncertainty(members):
    atoms = embedded(members[0])
    atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="train a committee"):
        _ = atoms.calc.uncertainty
