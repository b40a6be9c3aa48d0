"""Recorded programs give what the network gives, for every input of their size."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from calculator_kit import SMALL, SpringModel, embedded, methanol, random_model, some_charges

from eqmm_ase import recorded
from eqmm_ase.committee import Committee
from eqmm_ase.frame import Frame
from eqmm_ase.model import MultiscaleModel, UnknownElementError, predict_each
from eqmm_ase.recorded import RecordedModels
from eqmm_ase.system import Frames

CONFIGS = {
    "default": SMALL,
    "potential only": replace(SMALL, l_expansion=0, n_near=0),
    "not polarisable": replace(SMALL, polarisable=False, multipoles=False),
}
FAR = np.array([4.0, 0.0, 0.0])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(recorded, "PATIENCE", 1)


@pytest.fixture
def recordings(monkeypatch):
    """Sizes (atoms, edges) of the programs recorded so far, one for each model."""
    made = []

    def record(function, inputs):
        made.append((len(inputs[0]), len(inputs[3])))
        return real(function, inputs)

    real = recorded.record
    monkeypatch.setattr(recorded, "record", record)
    return made


def batch(
    atoms: Atoms,
    n_charges: int = 12,
    seed: int = 2,
    dtype: torch.dtype = torch.float64,
    **region: int,
) -> Frames:
    charges, positions = some_charges(n_charges, seed)
    frame = Frame(atoms.numbers, atoms.positions, positions, charges, **region)
    return Frames.from_frames([frame], dtype=dtype)


def stretched() -> Atoms:
    """Methanol whose last hydrogen is out of reach of some atoms: fewer edges."""
    atoms = methanol()
    atoms.positions[-1] += FAR
    return atoms


def other_order() -> Atoms:
    return methanol(0.2)[[1, 0, 3, 2, 5, 4]]


# What comes after the recording, which is made of methanol in twelve charges.
LATER = {
    "moved": batch(methanol(0.3)),
    "other charges around it": batch(methanol(), 40, seed=5),
    "one charge": batch(methanol(), 1),
    "no charges": Frames.from_frames([Frame(methanol().numbers, methanol().positions)]),
    "other elements in their places": batch(other_order()),
    "an ion": batch(methanol(), total_charge=-1, spin_multiplicity=2),
    "fewer edges": batch(stretched()),
}


def assert_same(found, expected, tolerance: float) -> None:
    for name, a, b in zip(expected._fields, found, expected, strict=True):
        assert a.dtype == b.dtype, name
        assert not a.requires_grad, name
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("config", CONFIGS)
def test_recorded_programs_give_what_the_network_gives(config, recordings):
    models = [random_model(seed, CONFIGS[config]).double() for seed in (1, 2)]
    fast = RecordedModels(models)
    for _ in range(3):
        fast(batch(methanol()))
    assert recordings == [(6, 32)] * 2  # 30 edges and two of no weight
    for frames in LATER.values():
        for found, expected in zip(fast(frames), predict_each(models, frames), strict=True):
            assert_same(found, expected, 1e-10)


def test_an_atom_without_edges_is_recorded_too(recordings):
    models = [random_model().double()]
    fast = RecordedModels(models)
    for _ in range(2):
        fast(batch(Atoms("O")))
    assert recordings == [(1, 0)]
    later = batch(Atoms("O"), seed=3)
    assert_same(fast(later)[0], predict_each(models, later)[0], 1e-10)


def test_edges_that_come_and_go_need_few_programs(recordings):
    fast = RecordedModels([random_model().double()])
    atoms = methanol()
    for distance in np.linspace(0.0, 6.0, 40):
        atoms.positions[-1, 0] = distance
        fast(batch(atoms))
    assert len(recordings) <= 2


def test_float32_programs_give_what_the_network_gives():
    models = [random_model().float()]
    fast = RecordedModels(models)
    atoms = methanol()
    for _ in range(3):
        atoms.positions += 0.01
        frames = batch(atoms, dtype=torch.float32)
        assert_same(fast(frames)[0], predict_each(models, frames)[0], 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_answer_does_not_tell_whether_it_was_recorded(dtype, monkeypatch):
    model = random_model().to(dtype)
    frames = batch(methanol(), dtype=dtype)
    fast = RecordedModels([model])
    before = fast(frames)[0]
    for _ in range(5):
        after = fast(frames)[0]
    assert fast._programs
    for name, a, b in zip(after._fields, after, before, strict=True):
        assert torch.equal(a, b), name


def test_nothing_is_recorded_before_it_pays(recordings, monkeypatch):
    monkeypatch.setattr(recorded, "PATIENCE", 5)
    fast = RecordedModels([random_model().double()])
    for _ in range(5):
        fast(batch(methanol()))
    assert not recordings
    fast(batch(methanol()))
    assert len(recordings) == 1


LEFT_ALONE = {
    "long range": (random_model(0, replace(SMALL, long_range=True)), batch(methanol())),
    "a model of another class": (SpringModel(methanol()), batch(methanol())),
    "two frames": (
        random_model(),
        Frames.from_frames([Frame(methanol().numbers, methanol().positions)] * 2),
    ),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_what_a_program_would_miss_is_not_recorded(case, recordings):
    model, frames = LEFT_ALONE[case]
    model = model.double()
    fast = RecordedModels([model])
    for _ in range(3):
        assert_same(fast(frames)[0], predict_each([model], frames)[0], 1e-10)
    assert not recordings


def test_an_element_the_model_does_not_know_is_named():
    fast = RecordedModels([random_model().double()])
    atoms = methanol()
    for _ in range(3):
        fast(batch(atoms))
    atoms.symbols[2] = "Si"
    with pytest.raises(UnknownElementError, match="Si"):
        fast(batch(atoms))


@pytest.fixture
def calculated() -> Atoms:
    """Methanol in charges whose model has been recorded."""
    atoms = embedded(random_model())
    for _ in range(2):
        atoms.positions += 0.01
        atoms.get_forces()
    return atoms


def test_the_calculator_of_a_committee_records_its_members(recordings):
    committee = Committee([random_model(1), random_model(2)])
    atoms, again = embedded(committee), embedded(committee)
    for _ in range(2):
        assert not recordings  # one answer is not worth it
        atoms.positions += 0.01
        atoms.get_forces()
    assert recordings == [(6, 32)] * 2
    again.positions = atoms.positions
    np.testing.assert_array_equal(again.get_forces(), atoms.get_forces())
    assert again.calc.uncertainty.energy == atoms.calc.uncertainty.energy > 0.0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda calc: pickle.loads(pickle.dumps(calc))])
def test_a_calculator_that_has_recorded_can_be_copied(calculated, copied):
    twin = calculated.copy()
    twin.calc = copied(calculated.calc)
    twin.positions[0, 0] += 0.1
    calculated.positions[0, 0] += 0.1
    np.testing.assert_allclose(twin.get_forces(), calculated.get_forces(), rtol=0, atol=1e-10)


def test_other_settings_need_another_program(calculated):
    calculated.calc.set(dtype="float32")
    narrow = calculated.get_forces()
    calculated.calc.set(dtype="float64")
    assert 0.0 < abs(narrow - calculated.get_forces()).max() < 1e-3


def test_without_an_interpreter_for_programs_the_network_answers(recordings, monkeypatch):
    monkeypatch.setattr(recorded, "_POSSIBLE", False)
    model: MultiscaleModel = random_model().double()
    fast = RecordedModels([model])
    for _ in range(3):
        assert_same(fast(batch(methanol()))[0], predict_each([model], batch(methanol()))[0], 1e-12)
    assert not recordings
