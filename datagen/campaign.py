"""A labelling campaign: a folder that survives kills, full disks and impatience.

    folder/ledger.sqlite        one row a frame: waiting, done or failed, and why
    folder/results/ab/ab….npz   one labelled frame a file, written in one step
    folder/lock                 held while a process works on the campaign

Order of events: the result file, then its row in the ledger. Whatever happens in between, the row
says `waiting` and the frame is computed again; nothing else is.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from pathlib import Path

from datagen.errors import CampaignError, DiskFullError, WorkerDiedError
from datagen.executors import InThisProcess, LocalProcesses
from datagen.frame_storage import frame_id, from_bytes, read_result, to_bytes, write_result
from datagen.ledger import Ledger, Row
from datagen.method import Method
from datagen.progress import Progress, Summary
from datagen.worker import Outcome, label_task
from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import write_frames

_MAX_DEATHS = 3  # a frame that ends its process this often is given up
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Campaign:
    """An open campaign folder; only one process at a time can hold it. Use as a context manager.

    Parameters
    ----------
    folder
        Made when it does not exist.
    method
        The level of theory, the same for all frames of a campaign.

    Raises
    ------
    CampaignError
        When another process holds the campaign, or its labels are made by another method.
    """

    def __init__(self, folder: str | os.PathLike[str], method: Method) -> None:
        self.folder, self.method = Path(folder), method
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _hold(self.folder / "lock")
        try:
            self._ledger = Ledger(self.folder / "ledger.sqlite")
            self._check_method()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others work on the campaign."""
        self._ledger.close()
        os.close(self._lock)

    def add(self, frames: Iterable[Frame]) -> list[str]:
        """Add frames; those that are in the campaign already cost nothing.

        Returns
        -------
        The ``frame_id`` of every frame given, in order.
        """
        named = [(frame_id(frame, self.method), frame) for frame in frames]
        self._ledger.add((name, to_bytes(frame)) for name, frame in named)
        return [name for name, _ in named]

    def redo_damaged(self) -> int:
        """Send frames whose result file is missing or altered back to waiting; return how many."""
        rows = [row for row in self._ledger.rows() if row.state == "done"]
        damaged = [row.frame_id for row in rows if self._read(row) is None]
        for name in damaged:
            self._ledger.wait_again(name)
        return len(damaged)

    def retry_failed(self, frame_ids: Sequence[str] | None = None) -> None:
        """Send failed frames back to waiting; all of the campaign by default."""
        for row in self._rows(frame_ids):
            if row.state == "failed":
                self._ledger.wait_again(row.frame_id)

    def summary(self, frame_ids: Sequence[str] | None = None) -> Summary:
        """Where frames stand; all of the campaign by default."""
        return Summary.of(self._rows(frame_ids))

    def run(
        self,
        executor: InThisProcess | LocalProcesses,
        frame_ids: Sequence[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Compute what waits.

        Parameters
        ----------
        executor
            Where; it is given as many frames at a time as it has slots.
        frame_ids
            Which frames; all of the campaign by default.
        on_progress
            Called at the start and after every frame.

        Raises
        ------
        DiskFullError
            When there is no room for a result; run again once there is.
        """
        rows = self._rows(frame_ids)
        states = Counter(row.state for row in rows)
        queue = deque(row.frame_id for row in rows if row.state == "waiting")
        deaths: Counter[str] = Counter()
        running: dict[Future[Outcome], str] = {}

        def tell() -> None:
            if on_progress is not None:
                on_progress(Progress(len(rows), states["done"], states["failed"]))

        tell()
        while queue or running:
            while queue and len(running) < executor.slots:
                name = queue.popleft()
                running[self._submit(name, executor)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                died = isinstance(future.exception(), BrokenExecutor)
                deaths[name] += died
                if died and deaths[name] < _MAX_DEATHS:
                    queue.append(name)
                    continue
                states[self._settle(name, future)] += 1
                tell()

    def collect(
        self, output: str | os.PathLike[str], frame_ids: Sequence[str] | None = None
    ) -> int:
        """Write finished frames into one dataset file.

        Parameters
        ----------
        output
            The file; replaced in one step.
        frame_ids
            Which frames, and their order; all, as they were added, by default.

        Returns
        -------
        Number of frames written. With none to write, no file is made.

        Raises
        ------
        CampaignError
            When a result is damaged: its frame is sent back to waiting, run again.
        DiskFullError, OSError
            When the file cannot be written; the campaign is not touched.
        """
        rows = [row for row in self._rows(frame_ids) if row.state == "done"]
        if not rows:
            return 0
        frames = [frame for row in rows if (frame := self._read(row)) is not None]
        if len(frames) < len(rows):
            self.redo_damaged()
            raise CampaignError(
                f"{len(rows) - len(frames)} result files in {self.folder} are damaged; "
                "their frames wait to be computed again: run once more"
            )
        method = {**self.method.as_dict(), "versions": _merged([row.versions for row in rows])}
        with _full_disk_is_a_sentence(Path(output)):
            write_frames(output, frames, method)
        return len(frames)

    def _check_method(self) -> None:
        wanted = self.method.settings()
        found = self._ledger.fact("method", wanted)
        different = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
        if different:
            self._ledger.close()
            key = different[0]
            raise CampaignError(
                f"the campaign {self.folder} was made with {key} = {found.get(key)!r} and not "
                f"{wanted.get(key)!r}: give another folder, or the same method"
            )

    def _submit(self, name: str, executor: InThisProcess | LocalProcesses) -> Future[Outcome]:
        self._ledger.started(name)
        return executor.submit(label_task, from_bytes(self._ledger.inputs(name)), self.method)

    def _settle(self, name: str, future: Future[Outcome]) -> str:
        """Record what became of a frame; return its new state."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            error = WorkerDiedError(
                f"the worker process died {_MAX_DEATHS} times on this frame "
                "(killed, or out of memory)"
            )
        with _full_disk_is_a_sentence(self.folder):
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                raise error  # not the frame's fault
            if error is not None:
                self._ledger.failed(name, type(error).__name__, str(error))
                return "failed"
            self._store(name, future.result())
            return "done"

    def _store(self, name: str, outcome: Outcome) -> None:
        written = write_result(self._path(name), outcome.frame, name)
        self._ledger.done(
            name,
            checksum=written,
            wall_time=outcome.wall_time,
            host=outcome.host,
            rung=outcome.rung,
            warnings=outcome.warnings,
            versions=outcome.versions,
        )

    def _rows(self, frame_ids: Sequence[str] | None) -> list[Row]:
        """Rows of the ledger, once each: all, or the chosen ones in their order."""
        rows = self._ledger.rows()
        if frame_ids is None:
            return rows
        by_name = {row.frame_id: row for row in rows}
        return [by_name[name] for name in dict.fromkeys(frame_ids)]

    def _read(self, row: Row) -> Frame | None:
        return read_result(self._path(row.frame_id), row.checksum or "")

    def _path(self, name: str) -> Path:
        return self.folder / "results" / name[:2] / f"{name}.npz"


def label_frames(
    frames: Iterable[Frame],
    method: Method,
    folder: str | os.PathLike[str],
    *,
    workers: int = 1,
    output: str | os.PathLike[str] | None = None,
    retry_failed: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Label frames in a campaign folder: begins it, continues it, or finds it finished.

    Parameters
    ----------
    frames
        Frames to label; those that the campaign has labelled before are not computed again.
    method
        The level of theory.
    folder
        The campaign.
    workers
        Worker processes; 0 computes in this process.
    output
        Dataset file for the labels of exactly these frames, once each, in their order.
    retry_failed
        Compute frames that failed before once more.
    on_progress
        Called at the start and after every frame.

    Returns
    -------
    Summary
        Where these frames stand.

    Raises
    ------
    CampaignError, DiskFullError, OSError
        As `Campaign` says.
    """
    with Campaign(folder, method) as campaign:
        names = campaign.add(frames)
        campaign.redo_damaged()
        if retry_failed:
            campaign.retry_failed(names)
        if campaign.summary(names).waiting:
            with LocalProcesses(workers) if workers else InThisProcess() as executor:
                campaign.run(executor, names, on_progress)
        if output is not None:
            campaign.collect(output, names)
        return campaign.summary(names)


def _merged(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """One entry a program; several versions side by side where the campaign saw an upgrade."""
    programs = sorted({program for entry in versions for program in entry})
    return {
        program: ", ".join(sorted({entry[program] for entry in versions if program in entry}))
        for program in programs
    }


def _hold(path: Path) -> int:
    """Take the campaign's lock, which the system gives back when this process ends in any way."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise CampaignError(f"another process works on the campaign {path.parent}") from error
    return descriptor


@contextmanager
def _full_disk_is_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if cause.errno not in _NO_SPACE:
            raise
        raise DiskFullError(
            f"the disk that holds {path} is full; nothing is lost, run the same command again "
            "once there is room"
        ) from error
