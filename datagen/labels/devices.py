"""Where labels are computed, and by which program: the CPU, or a GPU that must be there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from datagen.errors import DeviceError, MemoryLimitError, WorkerDiedError
from eqmm_ase.foreign_errors import short_reason

if TYPE_CHECKING:
    from datagen.labels.backend import Backend

DEVICES = ("cpu", "gpu")
_ELSE = "or compute on the CPU"
_NO_MEMORY = "cudaErrorMemoryAllocation"


def backend_of(device: str) -> Backend:
    """The program that computes labels on a device.

    Parameters
    ----------
    device
        One of `DEVICES`; ``gpu`` is the first one that CUDA shows to this process.

    Raises
    ------
    DeviceError
        When there is no such device, or no program for it.
    """
    refuse_unknown(device)
    if device == "gpu":
        return _gpu()
    from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED

    return ACCELERATED


def refuse_unknown(device: str) -> None:
    """Raise `DeviceError` for what is none of `DEVICES`."""
    if device not in DEVICES:
        raise DeviceError(f"device is {device!r}; expected {' or '.join(DEVICES)}")


def check_device(device: str) -> None:
    """Raise `DeviceError` where `backend_of` would, and load the program; for a worker to begin."""
    backend_of(device)


@contextmanager
def failing_with(device: str) -> Iterator[None]:
    """Say in words of our own what fails on a GPU: its memory, or itself.

    Raises
    ------
    MemoryLimitError
        When there was too little of it; CuPy says so in two ways, within its pool and outside.
    WorkerDiedError
        For other errors of CUDA: all that this process tries after one would fail.
    """
    if device == "cpu":
        yield
        return
    from cupy import cuda

    failures = cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError, MemoryError
    try:
        yield
    except failures as error:
        reason = short_reason(error)
        if isinstance(error, MemoryError) or _NO_MEMORY in str(error):
            sentence = f"the frame took more memory than the GPU or this process has ({reason})"
            raise MemoryLimitError(sentence) from error
        raise WorkerDiedError(f"the GPU failed ({reason})") from error


@lru_cache
def _gpu() -> Backend:
    """Load GPU4PySCF, which asks for a device and sizes its memory while it is imported."""
    for package in ("cupy", "gpu4pyscf"):
        if find_spec(package) is None:
            raise DeviceError(
                f"device gpu needs {package}, which is not installed: pip install 'eqmm[gpu]' "
                f"brings it for CUDA 12, {_ELSE}"
            )
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()  # an error where there is none
        pool = cupy.get_default_memory_pool()
        limit = pool.get_limit()  # what CUPY_GPU_MEMORY_LIMIT says, which GPU4PySCF overrides
        import_module("gpu4pyscf.qmmm")
        if limit:
            pool.set_limit(size=limit)
    except (ImportError, OSError, RuntimeError) as error:  # CUDARuntimeError is of the last kind
        raise DeviceError(
            f"device gpu was given, but GPU4PySCF cannot use one here ({short_reason(error)}); "
            f"look whether nvidia-smi lists it and its driver fits, {_ELSE}"
        ) from error
    from datagen.labels.gpu4pyscf_backend import GPU4PySCF

    return GPU4PySCF()
