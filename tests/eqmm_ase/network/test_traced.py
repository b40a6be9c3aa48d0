"""Traced programs give what the network gives, for every input of their size."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from calculator_kit import (
    SMALL,
    SpringModel,
    assert_same,
    embedded,
    methanol,
    random_model,
    some_charges,
)

from eqmm_ase import EqMM, tracing
from eqmm_ase.data.frame import Frame
from eqmm_ase.network import traced as traced_module
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee, mean_and_spread
from eqmm_ase.network.model import MultiscaleModel, UnknownElementError
from eqmm_ase.network.prediction import Prediction, predict_each
from eqmm_ase.network.traced import TracedModels

CONFIGS = {
    "default": SMALL,
    "potential only": replace(SMALL, l_expansion=0, n_near=0),
    "not polarisable": replace(SMALL, polarisable=False, multipoles=False),
}
FAR = np.array([4.0, 0.0, 0.0])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(traced_module, "PATIENCE", 1)
    traced_module._TRACES.clear()  # nobody else's


@pytest.fixture
def traced(monkeypatch):
    """Sizes (atoms, edges) that have been traced so far."""
    made = []

    def trace(function, inputs, weights):
        made.append((len(inputs[0]), len(inputs[3])))
        return real(function, inputs, weights)

    real = traced_module.trace
    monkeypatch.setattr(traced_module, "trace", trace)
    return made


def batch(
    atoms: Atoms,
    n_charges: int = 12,
    seed: int = 2,
    dtype: torch.dtype = torch.float64,
    **region: int,
) -> FrameBatch:
    charges, positions = some_charges(n_charges, seed)
    frame = Frame(atoms.numbers, atoms.positions, positions, charges, **region)
    return FrameBatch.from_frames([frame], dtype=dtype)


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
    "no charges": FrameBatch.from_frames([Frame(methanol().numbers, methanol().positions)]),
    "other elements in their places": batch(other_order()),
    "an ion": batch(methanol(), total_charge=-1, spin_multiplicity=2),
    "fewer edges": batch(stretched()),
}


def assert_predicted(found: list[Prediction], expected: list[Prediction], dtype=torch.float64):
    """The same numbers but for rounding, of the same width, without a graph."""
    for member, same in zip(found, expected, strict=True):
        assert [x.dtype for x in member.values()] == [x.dtype for x in same.values()]
        assert not any(x.requires_grad for x in member.values())
        assert_same(member.values(), same.values(), str(dtype).removeprefix("torch."))


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_traced_programs_give_what_the_network_gives(config, traced):
    models = [random_model(seed, CONFIGS[config]).double() for seed in (1, 2)]
    fast = TracedModels(models)
    for _ in range(3):
        fast(batch(methanol()))
    assert traced == [(6, 32)]  # 30 edges and two of no weight; one trace for both
    for frames in LATER.values():
        assert_predicted(fast(frames), predict_each(models, frames))


def test_an_atom_without_edges_is_traced_too(traced):
    models = [random_model().double()]
    fast = TracedModels(models)
    for _ in range(2):
        fast(batch(Atoms("O")))
    assert traced == [(1, 0)]
    later = batch(Atoms("O"), seed=3)
    assert_predicted(fast(later), predict_each(models, later))


@pytest.mark.slow
def test_edges_that_come_and_go_need_few_programs(traced):
    fast = TracedModels([random_model().double()])
    atoms = methanol()
    for distance in np.linspace(0.0, 6.0, 40):
        atoms.positions[-1, 0] = distance
        fast(batch(atoms))
    assert len(traced) <= 2


def test_float32_programs_give_what_the_network_gives():
    models = [random_model().float()]
    fast = TracedModels(models)
    atoms = methanol()
    for _ in range(3):
        atoms.positions += 0.01
        frames = batch(atoms, dtype=torch.float32)
        assert_predicted(fast(frames), predict_each(models, frames), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_answer_does_not_tell_whether_it_was_traced(dtype):
    frames = batch(methanol(), dtype=dtype)
    fast = TracedModels([random_model().to(dtype)])
    before = fast(frames)
    assert not fast._programs
    after = fast(frames)
    assert fast._programs
    assert_predicted(after, before, dtype)


def test_nothing_is_traced_before_it_pays(traced, monkeypatch):
    monkeypatch.setattr(traced_module, "PATIENCE", 5)
    fast = TracedModels([random_model().double()])
    for _ in range(5):
        fast(batch(methanol()))
    assert not traced
    fast(batch(methanol()))
    assert len(traced) == 1


LEFT_ALONE = {
    "long range": (random_model(0, replace(SMALL, long_range=True)), batch(methanol())),
    "a model of another class": (SpringModel(methanol()), batch(methanol())),
    "two frames": (
        random_model(),
        FrameBatch.from_frames([Frame(methanol().numbers, methanol().positions)] * 2),
    ),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_what_a_program_would_miss_is_not_traced(case, traced):
    model, frames = LEFT_ALONE[case]
    model = model.double()
    fast = TracedModels([model])
    for _ in range(3):
        assert_predicted(fast(frames), predict_each([model], frames))
    assert not traced


def test_an_element_the_model_does_not_know_is_named():
    fast = TracedModels([random_model().double()])
    atoms = methanol()
    for _ in range(3):
        fast(batch(atoms))
    atoms.symbols[2] = "Si"
    with pytest.raises(UnknownElementError, match="Si"):
        fast(batch(atoms))


@pytest.fixture
def calculated() -> Atoms:
    """Methanol in charges whose model has been traced."""
    atoms = embedded(random_model())
    for _ in range(2):
        atoms.positions += 0.01
        atoms.get_forces()
    return atoms


def test_the_calculator_of_a_committee_traces_once_for_all_members(traced):
    committee = Committee([random_model(1), random_model(2)])
    atoms = embedded(committee)
    for _ in range(2):
        assert not traced  # one answer is not worth it
        atoms.positions += 0.01
        atoms.get_forces()
    assert traced == [(6, 32)]
    expected, spread = mean_and_spread(predict_each(committee.double().members, batch(atoms)))
    assert_same(
        [atoms.get_forces(), atoms.calc.mm_forces, atoms.calc.mm_potential],
        [expected.qm_forces, expected.mm_forces, expected.mm_potential],
    )
    uncertainty = atoms.calc.uncertainty
    assert_same(
        [atoms.get_charges(), atoms.get_dipole_moment()], [expected.charges, expected.dipole[0]]
    )
    assert_same([uncertainty.energy, uncertainty.forces], [spread.energy[0], spread.qm_forces])
    assert atoms.calc.uncertainty.energy > 1e-3


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda calc: pickle.loads(pickle.dumps(calc)),
    "other weights of this form": lambda calc: EqMM(random_model(7), dtype="float64"),
    "a committee of this form": lambda calc: EqMM(
        Committee([random_model(8), random_model(9)]), dtype="float64"
    ),
}


@pytest.mark.parametrize("case", COPIES)
def test_another_calculator_of_models_of_this_form_does_not_trace_again(calculated, case, traced):
    twin = calculated.copy()
    twin.calc = COPIES[case](calculated.calc)
    twin.calc.embed(*some_charges())
    twin.positions[0, 0] += 0.1
    expected, _ = mean_and_spread(predict_each(twin.calc._models.models, batch(twin)))
    assert_same([twin.get_forces(), twin.calc.mm_forces], [expected.qm_forces, expected.mm_forces])
    assert twin.calc._models._programs
    assert not traced


def test_calculators_that_answer_in_turns_have_patience_together(traced, monkeypatch):
    monkeypatch.setattr(traced_module, "PATIENCE", 5)
    images = [embedded(random_model()) for _ in range(3)]
    for _ in range(2):
        assert not traced
        for atoms in images:
            atoms.positions += 0.01
            atoms.get_forces()
    assert traced == [(6, 32)]


@pytest.mark.slow
def test_traces_go_with_the_last_calculator_that_uses_them(calculated):
    twin = copy.deepcopy(calculated.calc)
    (traces,) = traced_module._TRACES.values()
    (trace,) = traces.of_kind.values()
    gone = weakref.ref(trace)
    del traces, trace
    calculated.calc = None
    gc.collect()
    assert gone() is not None
    del twin
    gc.collect()
    assert gone() is None
    assert not traced_module._TRACES


def test_a_network_that_cannot_be_traced_answers_as_it_is(monkeypatch):
    real = MultiscaleModel.network
    by_value = lambda self, *a: (real(self, *a), float(a[0].sum()))[0]  # noqa: E731
    monkeypatch.setattr(MultiscaleModel, "network", by_value)
    models = [random_model().double()]
    fast = TracedModels(models)
    for _ in range(4):
        assert_predicted(fast(batch(methanol())), predict_each(models, batch(methanol())))
    assert not fast._programs


def test_other_settings_need_another_program(calculated):
    calculated.calc.set(dtype="float32")
    narrow = calculated.get_forces()
    calculated.calc.set(dtype="float64")
    assert 0.0 < abs(narrow - calculated.get_forces()).max() < 1e-3


def test_without_an_interpreter_for_programs_the_network_answers(traced, monkeypatch):
    monkeypatch.setattr(tracing, "POSSIBLE", False)
    model: MultiscaleModel = random_model().double()
    fast = TracedModels([model])
    for _ in range(3):
        assert_predicted(fast(batch(methanol())), predict_each([model], batch(methanol())))
    assert not traced
