"""Independent trajectories side by side, one process each, with progress from all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from queue import SimpleQueue

from datagen.errors import WorkerDiedError
from datagen.processes.executors import LocalProcesses
from datagen.processes.worker_loop import report
from datagen.solvent.md import DynamicsError, Progress, Snapshots

Trajectory = Callable[[Progress], Snapshots]
"""Runs a trajectory, telling its progress; it can be pickled, as a `functools.partial` can."""

_POLL = 0.2  # s between looks at the progress


def run_trajectories(
    trajectories: Mapping[int, Trajectory],
    workers: int,
    *,
    done: Callable[[int, Snapshots], None],
    progress: Progress = lambda _: None,
) -> None:
    """Run independent trajectories, as many at a time as there are workers.

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
    passed: SimpleQueue[float] = SimpleQueue()
    try:
        with LocalProcesses(min(workers, len(trajectories)), on_report=passed.put) as pool:
            pending = {
                pool.submit(_run_in_worker, trajectory): number
                for number, trajectory in trajectories.items()
            }
            while pending:
                finished, _ = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
                while not passed.empty():
                    progress(passed.get())
                for future in finished:
                    done(pending.pop(future), future.result())
    except WorkerDiedError as error:
        raise DynamicsError(
            "a process of the molecular dynamics died, perhaps for want of memory; what is "
            "finished is kept"
        ) from error


def _run_in_worker(trajectory: Trajectory) -> Snapshots:
    return trajectory(report)
