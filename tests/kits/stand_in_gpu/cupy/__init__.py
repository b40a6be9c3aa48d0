"""As much of CuPy as labels meet: arrays that must be fetched, a device count, a memory pool.

A machine without a device is one where STAND_IN_NO_DEVICE is set.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np

__version__ = "0.stand-in"


class ndarray:  # noqa: N801 - CuPy's name
    """An array that NumPy cannot take, as little as one on a device."""

    def __init__(self, host):
        self._host = np.asarray(host)

    ndim = property(lambda self: self._host.ndim)
    shape = property(lambda self: self._host.shape)

    def get(self):
        return self._host.copy()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def asarray(value):
    return value if isinstance(value, ndarray) else ndarray(value)


def asnumpy(value):
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


class CUDARuntimeError(RuntimeError):
    """As CuPy names it."""


class CUDADriverError(RuntimeError):
    """As CuPy names it."""


class OutOfMemoryError(MemoryError):
    """As CuPy names it."""


def _device_count():
    if "STAND_IN_NO_DEVICE" in os.environ:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return len(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(","))


# Names and no modules: CuPy's own `driver` cannot be imported from.
cuda = SimpleNamespace(
    runtime=SimpleNamespace(getDeviceCount=_device_count, CUDARuntimeError=CUDARuntimeError),
    driver=SimpleNamespace(CUDADriverError=CUDADriverError),
)


class _Pool:
    total = 8_000_000_000  # bytes of the device

    def __init__(self):
        self._limit = int(os.environ.get("CUPY_GPU_MEMORY_LIMIT", "0"))

    def get_limit(self):
        return self._limit

    def set_limit(self, size=None, fraction=None):
        self._limit = int(self.total * fraction) if size is None else size


_pool = _Pool()


def get_default_memory_pool():
    return _pool
