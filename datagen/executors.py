"""Where frames are computed: executors with the interface of `concurrent.futures`.

`LocalProcesses` keeps one single-worker pool per core. A pool that loses its process is broken for
good, and with one worker in it exactly the frame that killed it is to blame; the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from datagen.errors import CampaignError

T = TypeVar("T")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class InThisProcess(Executor):
    """Computes on submission, without any other process: for debugging and small jobs."""

    slots = 1

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call the function now; its result or error is in the future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalProcesses(Executor):
    """Worker processes on this machine, one thread each.

    Workers end when this object is shut down and also when the process that made it is killed;
    they ignore Ctrl-C, which is for the campaign to answer.

    Parameters
    ----------
    workers
        Number of processes, at least 1.

    Raises
    ------
    CampaignError
        When worker processes cannot be started.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise CampaignError(f"workers is {workers}; expected at least 1")
        self.slots = workers
        self._workers = [_Worker() for _ in range(workers)]
        try:
            self.submit(os.getpid).result()
        except BrokenProcessPool as error:
            self.shutdown()
            raise CampaignError(
                "worker processes cannot start; a script that labels frames needs its calls "
                "under `if __name__ == '__main__':`"
            ) from error

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Give the call to an idle worker, or behind the others to the first one.

        The future raises `BrokenProcessPool` when the worker died; the next call gets a new one.
        """
        idle = next((w for w in self._workers if not w.busy), self._workers[0])
        return idle.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers at once, whatever they are doing."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process, replaced when it dies."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        theirs, self._lifeline = context.Pipe(duplex=False)
        self._theirs: Connection | None = theirs
        self._future: Future[Any] | None = None
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin, initargs=(theirs,)
        )

    @property
    def busy(self) -> bool:
        return self._future is not None and not self._future.done()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        try:
            future = self._begin_call(fn, *args, **kwargs)
        except BrokenProcessPool:  # it died of the call before, or idle
            self.end()
            self._start()
            future = self._begin_call(fn, *args, **kwargs)
        if self._theirs is not None:  # the process has its own copy now
            self._theirs.close()
            self._theirs = None
        self._future = future
        return future

    def end(self) -> None:
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin_call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        with _one_thread():  # the pool starts its process with the first call
            return self._pool.submit(fn, *args, **kwargs)


def _begin(lifeline: Connection) -> None:
    """First thing in a worker: one thread, deaf to Ctrl-C, gone when the campaign is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    from pyscf import lib

    lib.num_threads(1)


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Environment for a process that is about to start; numerical libraries read it only then."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
