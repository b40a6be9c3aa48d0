"""Event loop of a campaign: hands waiting frames to an executor and records what became of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path

from datagen.campaigns.ledger import Ledger, Row
from datagen.campaigns.status import Progress
from datagen.campaigns.storage import from_bytes, result_path, write_result
from datagen.campaigns.worker import Outcome, label_task, molecule_of
from datagen.errors import (
    CampaignError,
    DeviceDisagreementError,
    DeviceError,
    WorkerDiedError,
    full_disk_is_a_sentence,
    is_full_disk,
)
from datagen.labels.method import Method
from datagen.processes.executors import CallExecutor
from eqmm_ase.data.frame import Frame

_NOT_THE_FRAMES_FAULT = CampaignError | DeviceError | DeviceDisagreementError
_MAX_DEATHS = 3  # a frame that ends its process this often is given up

Ended = tuple[str, Future[Outcome]]
"""A ``frame_id`` and what became of its calculation."""


class FrameLoop:
    """One run of a campaign.

    Frames go from the queue to the executor, as many as it has slots, from there to a result file
    and the ledger, or back into the queue when their worker died.

    Parameters
    ----------
    folder
        Of the campaign.
    ledger
        Of the campaign, open.
    method
        The level of theory.
    executor
        Where frames are computed.
    rows
        Frames of the campaign; those that wait are computed.
    on_progress
        Called at the start and after every frame.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        method: Method,
        executor: CallExecutor,
        rows: Sequence[Row],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._folder, self._ledger, self._method = folder, ledger, method
        self._executor, self._on_progress = executor, on_progress
        self._total, self._states = len(rows), Counter(row.state for row in rows)
        self._task: Callable[[Frame, Method], Outcome] = label_task
        waiting = [row.frame_id for row in rows if row.state == "waiting"]
        if executor.device != "cpu":
            self._task = partial(label_task, device=executor.device)
            # The density of a molecule, and what a GPU keeps of it, serve its next frame.
            waiting.sort(key=lambda name: molecule_of(from_bytes(ledger.inputs(name))))
        self._queue = deque(waiting)
        self._running: dict[Future[Outcome], str] = {}
        self._deaths: Counter[str] = Counter()

    def run(self) -> None:
        """Go on until no frame waits; raises what `Campaign.run` raises."""
        self._ledger.set_fact("run", {"started": time.time(), "slots": self._executor.slots})
        self._tell()
        ended: list[Ended] = []
        while self._queue or self._running or ended:
            begin, now = self._next_frames(), time.time()
            if self._executor.concurrent:  # no worker waits for the disk
                self._submit(begin)
            self._record(ended, begin, now)
            if not self._executor.concurrent:
                self._submit(begin)
            done = wait(self._running, return_when=FIRST_COMPLETED).done
            ended = [(self._running.pop(future), future) for future in done]

    def _next_frames(self) -> list[str]:
        """Take as many frames from the queue as the executor has room for."""
        free = min(len(self._queue), self._executor.slots - len(self._running))
        return [self._queue.popleft() for _ in range(free)]

    def _submit(self, names: Sequence[str]) -> None:
        for name in names:
            frame = from_bytes(self._ledger.inputs(name))
            self._running[self._executor.submit(self._task, frame, self._method)] = name

    def _record(self, ended: Sequence[Ended], begun: Sequence[str], now: float) -> None:
        """Write into the ledger, in one transaction, what ended and what began."""
        with self._ledger.at_once():
            for name, future in ended:
                if self._worth_another_try(name, future):
                    self._queue.append(name)
                    continue
                self._states[self._settle(name, future)] += 1
                self._tell()
            for name in begun:
                self._ledger.started(name, now)

    def _worth_another_try(self, name: str, future: Future[Outcome]) -> bool:
        """Whether the worker died and the frame may not be to blame; it then waits again."""
        if not isinstance(future.exception(), WorkerDiedError):
            return False
        self._deaths[name] += 1
        if self._deaths[name] >= _MAX_DEATHS:
            return False
        self._ledger.wait_again(name)
        return True

    def _settle(self, name: str, future: Future[Outcome]) -> str:
        """Record what became of a frame; return its new state."""
        error = future.exception()
        with full_disk_is_a_sentence(self._folder):
            if error is not None:
                if isinstance(error, _NOT_THE_FRAMES_FAULT) or is_full_disk(error):
                    raise error
                message = str(error)
                if isinstance(error, WorkerDiedError):
                    message = f"its worker process died {_MAX_DEATHS} times; the last time {error}"
                self._ledger.failed(name, type(error).__name__, message)
                return "failed"
            outcome = future.result()
            path = result_path(self._folder, name)
            checksum = write_result(path, outcome.frame, name, outcome.record)
            self._ledger.done(name, checksum=checksum, **outcome.record)
            return "done"

    def _tell(self) -> None:
        if self._on_progress is not None:
            states = self._states
            self._on_progress(Progress(self._total, states["done"], states["failed"]))
