"""Where calls are computed: executors with the interface of `concurrent.futures`.

An executor has ``slots``, the number of calls to give it at a time. Its futures raise the errors
of `datagen.errors`: `WorkerDiedError` is worth another try, the others are about the call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from datagen.errors import CampaignError
from datagen.processes.guarded_process import GuardedProcess, Limits

T = TypeVar("T")
_NO_LIMITS = Limits()


class CallExecutor(Executor):
    """An executor that says how many calls it can work on."""

    slots: int
    device = "cpu"
    """Where its calls compute labels: `cpu` or `gpu`."""
    concurrent = True
    """Whether `submit` returns before the call is computed."""


class InThisProcess(CallExecutor):
    """Computes on submission, without any other process: for debugging and small jobs.

    Parameters
    ----------
    device
        Where labels are computed.
    """

    slots = 1
    concurrent = False

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call the function now; its result or error is in the future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalProcesses(CallExecutor):
    """Worker processes on this machine, one thread each.

    Workers end when this object is shut down and also when the process that made it is killed;
    they ignore Ctrl-C, which is for that process to answer.

    Parameters
    ----------
    workers
        Number of processes, at least 1.
    limits
        What each call may take.
    on_report
        Called, from any thread, with what calls report (`datagen.processes.worker_loop.report`).
    environments
        Variables of each process beside those of this one.

    Raises
    ------
    CampaignError
        When worker processes cannot be started.
    """

    def __init__(
        self,
        workers: int,
        limits: Limits = _NO_LIMITS,
        on_report: Callable[[Any], None] = lambda _: None,
        environments: Sequence[Mapping[str, str]] = (),
    ) -> None:
        if workers < 1:
            raise CampaignError(f"workers is {workers}; expected at least 1")
        self.slots = workers
        self._workers = [
            GuardedProcess(limits, on_report, environment)
            for environment in environments or [{}] * workers
        ]
        self._idle: SimpleQueue[GuardedProcess] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._workers[0].start()  # what keeps workers from starting shows here and only once
        self._waiters = ThreadPoolExecutor(workers, thread_name_prefix="worker")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Give the call to an idle worker, or let it wait for one."""
        return self._waiters.submit(self._call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers at once, whatever they are doing."""
        self._waiters.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.end()
        self._waiters.shutdown(wait=wait)

    def _call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        worker = self._idle.get()
        try:
            return worker.call(fn, *args, **kwargs)
        finally:
            self._idle.put(worker)


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
