"""What every test may rely on: fixed seeds, and a small labelled dataset.

One thread, unless OMP_NUM_THREADS asks for more: what is promised holds with any number.
"""

from __future__ import annotations

import os

from places import DATA

# Set before NumPy, PySCF and OpenMM are loaded: pytest-xdist already runs one worker per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENMM_CPU_THREADS"):
    os.environ.setdefault(_variable, os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("MPLBACKEND", "Agg")

import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].partition(",")[0]))

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests of Ctrl-C
# would then fail for where they were started from.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Give every test the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - ASE and RDKit helpers still draw from the global state
    torch.manual_seed(0)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that are saved during a test, whose axes tell what was drawn."""
    from matplotlib.figure import Figure

    saved: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *arguments: object, **options: object) -> None:
        saved.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return saved


@pytest.fixture(scope="session")
def methanol_file() -> Path:
    """Labelled frames of methanol in TIP3P water, B3LYP/6-31G* (format `eqmm-dataset`)."""
    return DATA / "methanol.h5"
