"""A process that is forked after EqMM was used, with threads of torch and locks that are gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

TIMEOUT = 300.0  # s, where a processor has much else to do
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PARENT = """
import multiprocessing, os, sys, threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

TIMEOUT = {timeout}
sys.path.insert(0, {tests!r})
from calculator_kit import ROUNDING, embedded, methanol, random_model
from eqmm_ase.network import traced
from eqmm_ase.network.committee import Committee

traced.PATIENCE = 1
assert torch.get_num_threads() == 2
WORTH_THREADS = torch.ones(2_000_000)
MODELS = random_model(), Committee([random_model(1), random_model(2)])


def walked(atoms):
    for seed in range(3):
        atoms.rattle(0.02, seed=seed)
        forces = atoms.get_forces()
    return forces


def job(number):
    # Made before the fork and after it; the operation on many numbers is worth all threads.
    atoms = used[number] if number < len(used) else embedded(MODELS[number % 2])
    atoms.positions = methanol().positions
    return float(WORTH_THREADS.sum()), walked(atoms)


def same(found, number):
    for ones, forces in found:
        assert ones == len(WORTH_THREADS), ones
        error = abs(forces - expected[number % 2]).max()
        assert error < ROUNDING["float64"], error
        number += 1


used = [embedded(model) for model in MODELS]
expected = [walked(atoms) for atoms in used]
assert float(WORTH_THREADS.sum()) == len(WORTH_THREADS)
"""

WAYS = {
    "a pool of processes": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    same(pool.map_async(job, range(4)).get(TIMEOUT), 0)
""",
    "an executor": """
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    same(pool.map(job, range(4), timeout=TIMEOUT), 0)
""",
    "os.fork while threads have locks": """
inside = threading.Event()


def hold(lock):
    with lock:
        inside.set()
        threading.Event().wait()


for lock in (used[1].calc._lock, traced._LOCK):
    inside.clear()
    threading.Thread(target=hold, args=(lock,), daemon=True).start()
    inside.wait()
with used[0].calc._lock:  # its own the child keeps, and gives back
    child = os.fork()
    if not child:
        same([job(0)], 0)
if not child:
    same([job(1), job(2), job(3)], 1)
    os._exit(torch.get_num_threads())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
assert torch.get_num_threads() == 2  # of the parent
""",
}


@pytest.mark.slow
def test_forked_processes_get_the_numbers_of_their_parent(tmp_path):
    # In a program of its own: a child of the process that runs the tests would run more of them.
    program = tmp_path / "parent.py"
    code = [PARENT.format(tests=str(ROOT / "tests" / "kits"), timeout=TIMEOUT)]
    code += [f"{way}\nprint({name!r}, flush=True)\n" for name, way in WAYS.items()]
    program.write_text("".join(code), encoding="utf-8")
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        # Python 3.12 and later warn of forks in processes that have threads.
        [sys.executable, "-W", "ignore", program],
        env=os.environ | threads,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(WAYS)
