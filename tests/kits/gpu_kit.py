"""A stand-in for CuPy and GPU4PySCF, for a test without a GPU, and its workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datagen.labels import devices

STAND_IN = Path(__file__).parent / "stand_in_gpu"


@contextmanager
def stand_in_gpu() -> Iterator[pytest.MonkeyPatch]:
    """Put the stand-in before whatever is installed; worker processes inherit the path."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("CUDA_VISIBLE_DEVICES", "CUPY_GPU_MEMORY_LIMIT"):
            patch.delenv(variable, raising=False)
        patch.syspath_prepend(STAND_IN)
        _forget()
        yield patch
    _forget()


def _forget() -> None:
    devices._gpu.cache_clear()
    for name in list(sys.modules):
        if name.partition(".")[0] in ("cupy", "gpu4pyscf"):
            del sys.modules[name]
