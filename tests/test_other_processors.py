"""What is promised holds on other processors, with other threads and other orders of sums."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHOSEN = {
    "test_recorded.py": "default or whether_it_was_traced or all_members",
    "test_committee.py": "is_its_member or like_any_model",
    "test_calculator.py": "float32 or mm_forces_follow",
    "test_train.py": "seed_decides",
    "test_optimizer.py": "saved_state",
    "test_long_range.py": "small_molecule",
    "test_runs.py": "resumed and nve",
    "test_eiqmmm.py": "asked_before",
}
SETTINGS = {
    "sums in another order": ({"ATEN_CPU_CAPABILITY": "default"}, ["-p", "reordered_sums"]),
    "two threads, another library": (
        {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
        [],
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_numbers_are_the_same_but_for_rounding(case):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.pop(name, None)
    settings, options = SETTINGS[case]
    environment |= {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])} | settings
    chosen = " or ".join(f"({name} and ({words}))" for name, words in CHOSEN.items())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "-k", chosen]
        + [str(HERE / name) for name in CHOSEN],
        env=environment,
        capture_output=True,
        text=True,
        cwd=HERE.parent,
        timeout=1800.0,
    )
    assert done.returncode == 0, done.stdout
