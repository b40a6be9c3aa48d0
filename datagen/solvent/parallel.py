"""Run independent trajectories side by side, one process each, with progress from all of them."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue

from datagen.solvent.md import DynamicsError, Progress, Snapshots

Trajectory = Callable[[Progress], Snapshots]
"""Runs a trajectory, telling its progress; it can be pickled, as a `functools.partial` can."""

_POLL = 0.2  # s between looks at the progress

_reports: Queue[float] | None = None  # in a worker: where it reports picoseconds


def run_trajectories(
    trajectories: Mapping[int, Trajectory],
    workers: int,
    *,
    done: Callable[[int, Snapshots], None],
    progress: Progress = lambda _: None,
) -> None:
    """Run trajectories.

    Parameters
    ----------
    trajectories
        By number.
    workers
        Processes; 1 runs in this one.
    done
        Called here with each trajectory as soon as it ends.
    progress
        Called here with the picoseconds that passed since its last call.

    Raises
    ------
    DynamicsError
        When a trajectory breaks down or its process dies; the others are stopped.
    """
    if min(workers, len(trajectories)) <= 1:
        for number, trajectory in trajectories.items():
            done(number, trajectory(progress))
        return
    # Not fork: OpenMM's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    reports: Queue[float] = context.Queue()
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(trajectories)), context, initializer=_start_worker, initargs=(reports,)
    )
    try:
        pending = {
            pool.submit(_run_in_worker, trajectory): number
            for number, trajectory in trajectories.items()
        }
        _collect(pending, reports, done, progress)
        pool.shutdown()
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise DynamicsError(
                "a process of the molecular dynamics died, perhaps for want of memory; what is "
                "finished is kept"
            ) from error
        raise


def _collect(
    pending: dict[Future[Snapshots], int],
    reports: Queue[float],
    done: Callable[[int, Snapshots], None],
    progress: Progress,
) -> None:
    while pending:
        finished, _ = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
        _drain(reports, progress)
        for future in finished:
            done(pending.pop(future), future.result())
    _drain(reports, progress)


def _drain(reports: Queue[float], progress: Progress) -> None:
    while True:
        try:
            progress(reports.get_nowait())
        except queue.Empty:
            return


def _start_worker(reports: Queue[float]) -> None:
    global _reports
    _reports = reports
    # Ctrl-C ends a worker at once and silently; the parent speaks.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A killed parent cannot stop its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(trajectory: Trajectory) -> Snapshots:
    assert _reports is not None
    return trajectory(_reports.put)
