"""Models on a device: room for pairs that grows, steps that are captured, and the calculator."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from calculator_kit import SMALL, assert_same, methanol, random_model, some_charges
from device_kit import as_on_a_device, batch, record

from eqmm_ase import EqMM
from eqmm_ase.cuda import captured
from eqmm_ase.cuda.captured import CapturedModels
from eqmm_ase.cuda.fixed_size import Room
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import UnknownElementError
from eqmm_ase.network.prediction import Prediction, predict_each
from eqmm_ase.network.traced import TracedModels

SHORT = replace(SMALL, cutoff=2.0, near_cutoff=3.0)


@pytest.fixture(autouse=True)
def _as_on_a_device():
    with as_on_a_device():
        yield


@pytest.fixture
def graphs(monkeypatch) -> list[Room]:
    """Rooms of the steps that have been captured, by a stand-in of CUDA graphs, from now on."""
    made = []

    def capture(run, device):
        made.append(run.__self__._room)
        return record(run, device)

    real = captured._StepOfOneSize.__init__
    monkeypatch.setattr(captured, "capture", capture)
    monkeypatch.setattr(captured, "PATIENCE", 1)
    monkeypatch.setattr(
        captured._StepOfOneSize,
        "__init__",
        lambda self, *a: (real(self, *a), setattr(self, "_capturable", True))[0],
    )
    return made


def assert_predicted(found: list[Prediction], expected: list[Prediction]) -> None:
    for own, same in zip(found, expected, strict=True):
        assert_same(own.values(), same.values())


def apart(distance: float) -> Atoms:
    """Methanol with one hydrogen elsewhere."""
    atoms = methanol()
    atoms.positions[-1, 0] += distance
    return atoms


def test_edges_come_and_go_and_a_graph_serves_them_all(graphs):
    models = [random_model(seed, SHORT).double() for seed in (1, 2)]
    fast = CapturedModels(models)
    for distance in np.linspace(0.0, 4.0, 9):
        frames = batch(apart(distance))
        assert_predicted(fast(frames), predict_each(models, frames))
    assert len(graphs) == 1


LATER = {
    "moved": batch(methanol(0.3)),
    "other elements in their places": batch(methanol(0.2)[[1, 0, 3, 2, 5, 4]]),
    "an ion": batch(methanol(), total_charge=-1, spin_multiplicity=2),
    "other charges in their places": batch(methanol(), 12, seed=5),
}


@pytest.mark.parametrize("case", LATER)
def test_a_graph_holds_for_all_inputs_of_its_size(case, graphs):
    models = [random_model().double()]
    fast = CapturedModels(models)
    for _ in range(3):
        fast(batch(methanol()))
    assert len(graphs) == 1
    assert_predicted(fast(LATER[case]), predict_each(models, LATER[case]))
    assert len(graphs) == 1


def test_a_step_with_too_many_pairs_is_repeated_in_more_room(graphs):
    models = [random_model().double()]
    fast = CapturedModels(models)
    few, many = batch(methanol(), 200, seed=1), batch(methanol(), 200, seed=1)
    many = replace(many, mm_positions=few.mm_positions * 0.7)
    few = replace(few, mm_positions=few.mm_positions * 3.0)
    for frames in (few, few, few, many, many, many, few):
        assert_predicted(fast(frames), predict_each(models, frames))
    assert len(graphs) == 2
    assert graphs[1].near > graphs[0].near
    assert graphs[1].edges == graphs[0].edges


def test_only_the_list_that_was_too_short_gets_more_rows():
    assert captured._grown(Room(100, 64), Room(60, 90)) == Room(100, 128)


def test_another_number_of_charges_or_atoms_is_another_size(graphs):
    models = [random_model().double()]
    fast = CapturedModels(models)
    for frames in (batch(methanol()), batch(methanol(), 0), batch(Atoms("O")), batch(methanol())):
        for _ in range(4):
            assert_predicted(fast(frames), predict_each(models, frames))
    assert len(graphs) == 4


def test_results_stay_when_the_next_step_is_taken(graphs):
    fast = CapturedModels([random_model().double()])
    for _ in range(3):
        before = fast(batch(methanol()))[0]
    kept = {name: value.clone() for name, value in before.items()}
    fast(batch(methanol(0.3)))
    assert graphs
    for name, value in kept.items():
        assert torch.equal(before[name], value)


def test_inputs_stay_as_they_are():
    frames = batch(methanol())
    fast = CapturedModels([random_model().double()])
    fast(frames)
    fast(batch(methanol(0.3)))
    assert torch.equal(frames.qm_positions, batch(methanol()).qm_positions)


def test_a_step_that_cannot_be_captured_is_told_once_and_runs(graphs, monkeypatch):
    def broken(*_):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(captured, "capture", broken)
    models = [random_model().double()]
    fast, frames = CapturedModels(models), batch(methanol())
    fast(frames)
    with pytest.warns(RuntimeWarning, match=r"not captured as a CUDA graph \(operation not perm"):
        fast(frames)
    for _ in range(2):
        assert_predicted(fast(frames), predict_each(models, frames))


LEFT_ALONE = {
    "long range": (random_model(0, replace(SMALL, long_range=True)), batch(methanol())),
    "two frames": (
        random_model(),
        FrameBatch.from_frames([Frame(methanol().numbers, methanol().positions)] * 2),
    ),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_what_a_step_would_miss_is_left_to_the_network(case, graphs):
    model, frames = LEFT_ALONE[case]
    model = model.double()
    fast = CapturedModels([model])
    for _ in range(4):
        assert_predicted(fast(frames), predict_each([model], frames))
    assert not graphs


def test_an_element_the_model_does_not_know_is_named():
    fast = CapturedModels([random_model().double()])
    atoms = methanol()
    fast(batch(atoms))
    atoms.symbols[2] = "Si"
    with pytest.raises(UnknownElementError, match="Si"):
        fast(batch(atoms))


@pytest.fixture
def on_a_device(monkeypatch) -> type:
    """The calculator with the models of a device, on the CPU."""
    monkeypatch.setattr("eqmm_ase.calculator.eqmm.TracedModels", CapturedModels)
    return EqMM


COPIES = {
    "itself": lambda calc: calc,
    "deepcopy": copy.deepcopy,
    "pickle": lambda calc: pickle.loads(pickle.dumps(calc)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_the_calculator_gives_the_same_on_a_device(copied, on_a_device, monkeypatch):
    committee = Committee([random_model(1), random_model(2)])
    atoms = methanol()
    atoms.calc = on_a_device(committee, dtype="float64")
    atoms.calc.embed(*some_charges())
    atoms.get_forces()
    atoms.calc = copied(atoms.calc)
    atoms.positions += 0.01 * np.arange(18).reshape(6, 3)
    found = [atoms.get_potential_energy(), atoms.get_forces(), atoms.calc.mm_forces]
    monkeypatch.undo()
    twin = atoms.copy()
    twin.calc = EqMM(committee, dtype="float64")
    twin.calc.embed(*some_charges())
    assert_same(found, [twin.get_potential_energy(), twin.get_forces(), twin.calc.mm_forces])


def test_models_on_a_device_take_steps_of_fixed_sizes():
    for device, kind in (("meta", CapturedModels), ("cpu", TracedModels)):
        assert type(EqMM(random_model(), device=device)._models) is kind


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_gives_what_the_network_gives_on_the_cpu(monkeypatch):
    monkeypatch.undo()
    models = [random_model().double()]
    fast = CapturedModels([copy.deepcopy(models[0]).cuda()])
    for distance in np.linspace(0.0, 4.0, 12):
        frames = batch(apart(distance))
        found = [Prediction({n: x.cpu() for n, x in own.items()}) for own in fast(frames)]
        assert_predicted(found, predict_each(models, frames))
    assert fast.captured
