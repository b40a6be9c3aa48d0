"""Frames on a cluster: Parsl asks the queueing system for nodes and hands frames to them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from datagen.errors import CampaignError, WorkerDiedError
from datagen.processes.executors import CallExecutor
from datagen.processes.guarded_process import Limits, guarded_call
from eqmm_ase.foreign_errors import short_reason

T = TypeVar("T")
_DEFAULT_RUN_DIR = "runinfo"  # Parsl's own, in the current folder


class ParslWorkers(CallExecutor):
    """Parsl workers, each with a guarded process of one thread.

    Parameters
    ----------
    config_file
        Python file that defines ``config``, a `parsl.Config`. It is executed.
    slots
        Frames to hand to Parsl at a time.
    limits
        What each frame may take.
    run_dir
        Where Parsl writes its logs, unless the configuration says so.

    Raises
    ------
    CampaignError
        When the file defines no configuration.
    FileNotFoundError
        When there is no such file.
    """

    def __init__(self, config_file: Path, slots: int, limits: Limits, run_dir: Path) -> None:
        from parsl.concurrent import ParslPoolExecutor

        config = _read_config(config_file)
        if config.run_dir == _DEFAULT_RUN_DIR:
            config.run_dir = str(run_dir)
        self.slots, self._limits = slots, limits
        self._pool = ParslPoolExecutor(config)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Hand the call to Parsl."""
        answer: Future[T] = Future()
        task = self._pool.submit(guarded_call, self._limits, fn, *args, **kwargs)
        task.add_done_callback(lambda done: _pass_on(done, answer))
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the nodes back at once, whatever they are doing."""
        self._pool.shutdown(wait=False)


def _read_config(path: Path) -> Any:
    from parsl import Config

    if not path.is_file():
        raise FileNotFoundError(f"there is no Parsl configuration {path}")
    config = runpy.run_path(str(path)).get("config")
    if not isinstance(config, Config):
        raise CampaignError(f"{path} defines config = {config!r}; expected a parsl.Config")
    return config


def _pass_on(task: Future[T], answer: Future[T]) -> None:
    """Copy what became of a task, in the words of `datagen.errors`."""
    from parsl.errors import ParslError
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    error = task.exception()
    if error is None:
        answer.set_result(task.result())
    elif isinstance(error, ManagerLost | WorkerLost):
        answer.set_exception(WorkerDiedError(f"Parsl lost it: {short_reason(error)}"))
    elif isinstance(error, ParslError):
        answer.set_exception(CampaignError(f"Parsl cannot go on: {short_reason(error)}"))
    else:
        answer.set_exception(error)
