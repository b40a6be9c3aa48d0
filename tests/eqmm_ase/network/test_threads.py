"""Threads get, all at once, the numbers that they would get one after the other."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase.mep import NEB
from calculator_kit import (
    assert_same,
    embedded,
    methanol,
    random_model,
    some_charges,
)

from eqmm_ase import EqMM
from eqmm_ase.concurrency import Lock
from eqmm_ase.data.frame import Frame
from eqmm_ase.network import traced
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.prediction import predict

PATIENCE = 2
THREADS = 3


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(traced, "PATIENCE", PATIENCE)
    traced._TRACES.clear()  # nobody else's


def in_threads(work, count: int = THREADS) -> list:
    """What `work` of 0, 1, … returns, begun together."""
    barrier = threading.Barrier(count)

    def begin(number: int):
        barrier.wait(60.0)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def answers(atoms, number: int, steps: int = PATIENCE + 2) -> list[np.ndarray]:
    """Energy, forces on atoms and charges along a walk of one's own, through the tracing."""
    rng = np.random.default_rng(number)
    found = []
    for _ in range(steps):
        atoms.positions += rng.normal(size=atoms.positions.shape) * 0.01
        energy = atoms.get_potential_energy()
        found += [np.array([energy]), atoms.get_forces(), atoms.calc.mm_forces]
    return found


def with_charges(atoms, number: int):
    """In charges of its own."""
    atoms.calc.embed(*some_charges(12 + number, seed=number))
    return atoms


MODELS = {
    "one model": [random_model()],
    "one committee": [Committee([random_model(1), random_model(2)])],
    "models of one configuration": [random_model(seed) for seed in range(THREADS)],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("widths", [["float64"], ["float32", "float64"]], ids="/".join)
def test_calculators_in_threads_answer_as_one_after_the_other(case, widths):
    models = MODELS[case]

    def made(number: int):
        width = widths[number % len(widths)]
        return with_charges(embedded(models[number % len(models)], dtype=width), number)

    serial = [answers(made(number), number) for number in range(THREADS)]
    ready = [made(number) for number in range(THREADS)]
    together = in_threads(lambda number: answers(ready[number], number))
    for number in range(THREADS):
        assert_same(together[number], serial[number], widths[number % len(widths)])
        assert ready[number].calc._models._programs


def atoms_with(calc: EqMM):
    atoms = methanol()
    atoms.calc = calc
    return atoms


@pytest.mark.slow
@pytest.mark.parametrize("given", [copy.deepcopy, lambda calc: calc], ids=["copies", "one"])
def test_a_calculator_answers_each_thread_about_its_own_atoms(given):
    calc = embedded(random_model()).calc
    serial = [answers(atoms_with(copy.deepcopy(calc)), number) for number in range(THREADS)]
    together = in_threads(lambda number: answers(atoms_with(given(calc)), number))
    for number in range(THREADS):
        assert_same(together[number], serial[number])


def test_a_question_that_comes_during_a_calculation_waits_for_its_own(monkeypatch):
    calc = embedded(random_model()).calc
    alone, asked = ([atoms_with(copy.deepcopy(calc)) for _ in range(2)] for _ in range(2))
    for atoms in (alone[1], asked[1]):
        atoms.positions[0] += 0.2
    for atoms in asked:
        atoms.calc = calc
    expected = [[atoms.get_potential_energy(), atoms.calc.mm_forces] for atoms in alone]

    real = EqMM._keep
    monkeypatch.setattr(EqMM, "_keep", lambda *a: (real(*a), time.sleep(0.2)))

    def ask(number: int):
        time.sleep(0.1 * number)
        return [asked[number].get_potential_energy(), calc.mm_forces]

    for found, same in zip(in_threads(ask, 2), expected, strict=True):
        assert_same(found, same)


@pytest.mark.slow
def test_images_of_a_path_run_in_threads():
    model = random_model()

    def path(parallel: bool) -> NEB:
        images = [embedded(model) for _ in range(5)]
        images[-1].positions[5] += [0.3, 0.2, 0.1]
        neb = NEB(images, parallel=parallel, method="improvedtangent")
        neb.interpolate()
        return neb

    serial, parallel = path(False), path(True)
    for _ in range(PATIENCE + 1):
        forces = serial.get_forces()
        assert_same(parallel.get_forces(), forces)
        for neb in (serial, parallel):
            neb.set_positions(neb.get_positions() + 1e-3 * forces)


@pytest.mark.slow
def test_training_goes_on_while_a_calculator_traces():
    model = random_model(5).double()
    charges, positions = some_charges()
    frame = Frame(methanol().numbers, methanol().positions, positions, charges)
    frames = FrameBatch.from_frames([frame, frame])

    def trained() -> list[torch.Tensor]:
        own = copy.deepcopy(model)
        optimizer = torch.optim.SGD(own.parameters(), lr=1e-6)
        for _ in range(8):
            loss = predict(own, frames, create_graph=True).qm_forces.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [weight.detach().numpy() for weight in own.parameters()]

    atoms = embedded(random_model())
    alone, serial = trained(), answers(embedded(random_model()), 0)
    weights, found = in_threads(lambda number: trained() if number else answers(atoms, 0), 2)[::-1]
    assert_same(weights, alone)
    assert_same(found, serial)


def test_each_thread_has_its_own_latest_atoms():
    calc = embedded(random_model()).calc
    mine, other = atoms_with(calc), atoms_with(calc)
    other.positions[0] += 0.2
    mine.get_forces()
    expected = calc.mm_forces
    in_threads(lambda _: other.get_forces(), 1)
    assert_same([calc.mm_forces], [expected])


def test_a_lock_is_free_in_a_copy():
    lock = Lock()
    with lock, copy.deepcopy(lock), pickle.loads(pickle.dumps(lock)) as nothing:
        assert nothing is None
