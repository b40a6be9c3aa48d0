"""Frames on the GPUs of this machine: one process for each, which sees no other."""

from __future__ import annotations

import os
from collections.abc import Sequence

from datagen.errors import DeviceError
from datagen.labels.devices import check_device
from datagen.processes.executors import CallExecutor, InThisProcess, LocalProcesses, cores
from datagen.processes.guarded_process import Limits

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class GPUProcesses(LocalProcesses):
    """Worker processes that compute labels by GPU4PySCF, each on a device of its own.

    They share the cores of the machine among them, for what is computed on the CPU.

    Parameters
    ----------
    devices
        Numbers of devices among those that this process sees; all of ``CUDA_VISIBLE_DEVICES`` when
        None, or the first where it is not set.
    limits
        What each frame may take.

    Raises
    ------
    DeviceError
        When a device or GPU4PySCF is not there.
    CampaignError
        When worker processes cannot be started.
    """

    device = "gpu"

    def __init__(self, devices: Sequence[int] | None, limits: Limits) -> None:
        names = device_names(devices)
        threads = dict.fromkeys(_THREADS, str(max(1, cores() // len(names))))
        super().__init__(
            len(names), limits, environments=[{_VISIBLE: name, **threads} for name in names]
        )
        try:
            for worker in self._workers:
                worker.call(check_device, self.device)
        except BaseException:
            self.shutdown()
            raise


def device_names(devices: Sequence[int] | None) -> list[str]:
    """What CUDA calls the chosen devices, once each.

    Within a job of a queueing system the first device is the first that the job was given.

    Raises
    ------
    DeviceError
        When there is no such device among those that ``CUDA_VISIBLE_DEVICES`` shows.
    """
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        return [str(device) for device in devices or (0,)]
    names = [name.strip() for name in visible.split(",") if name.strip()]
    chosen = range(len(names)) if devices is None else devices
    if not names or max(chosen) >= len(names):
        raise DeviceError(
            f"device {max(chosen, default=0)} was asked for, but {_VISIBLE} is {visible!r} and "
            f"shows {len(names)}, counted from 0; choose among these, or compute on the CPU"
        )
    return [names[device] for device in chosen]


def local_executor(workers: int, device: str, limits: Limits) -> CallExecutor:
    """Processes of this machine that compute labels on a device; none but this one for 0 workers.

    Raises
    ------
    DeviceError, CampaignError
        When they cannot be started.
    """
    if not workers:
        return InThisProcess(device)
    return GPUProcesses(None, limits) if device == "gpu" else LocalProcesses(workers, limits)
