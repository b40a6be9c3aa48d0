"""What is promised holds on other processors, with other threads and other orders of sums."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

CHOSEN = {
    "network/test_traced.py": "default or whether_it_was_traced or all_members",
    "network/test_committee.py": "is_its_member or like_any_model",
    "calculator/test_eqmm.py": "float32 or mm_forces_follow",
    "training/test_train.py": "seed_decides",
    "training/test_muon.py": "saved_state",
    "network/test_long_range.py": "small_molecule",
    "simulation/test_dynamics.py": "resumed and nve",
    "calculator/test_ase_eiqmmm.py": "asked_before",
}
SETTINGS = {
    "sums in another order": ({"ATEN_CPU_CAPABILITY": "default"}, ["-p", "reordered_sums"]),
    "two threads, another library": (
        {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
        [],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SETTINGS)
def test_numbers_are_the_same_but_for_rounding(case):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.pop(name, None)
    settings, options = SETTINGS[case]
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests/kits"), *sys.path])} | settings
    chosen = " or ".join(f"({Path(name).name} and ({words}))" for name, words in CHOSEN.items())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "-k", chosen]
        + [str(ROOT / "tests/eqmm_ase" / name) for name in CHOSEN],
        env=environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=1800.0,
    )
    assert done.returncode == 0, done.stdout
