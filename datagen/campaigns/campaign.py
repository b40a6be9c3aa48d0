"""A labelling campaign: a folder that survives kills, full disks and impatience.

    folder/ledger.sqlite        one row a frame: waiting, running, done or failed, and why
    folder/results/ab/ab….npz   one labelled frame a file, written in one step
    folder/lock                 held while a process works on the campaign
    folder/campaign.yaml        settings of `eqmm-datagen run`, if the user wrote some

Order of events: the result file, then its row in the ledger. A kill in between leaves a whole
file that the next run takes over; a kill before it, a frame that is computed again, and no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from datagen.campaigns.collect import method_of, write_dataset
from datagen.campaigns.frame_loop import FrameLoop
from datagen.campaigns.gpu import local_executor
from datagen.campaigns.ledger import Ledger, Row
from datagen.campaigns.lock import hold
from datagen.campaigns.status import Progress, Summary
from datagen.campaigns.storage import (
    frame_id,
    read_result,
    result_path,
    to_bytes,
    whole_result,
)
from datagen.errors import (
    CampaignError,
    DamagedResultsError,
    DiskFullError,
)
from datagen.labels.devices import refuse_unknown
from datagen.labels.method import Method
from datagen.processes.executors import CallExecutor
from datagen.processes.guarded_process import Limits
from eqmm_ase.data.frame import Frame

_NO_LIMITS = Limits()


class Campaign:
    """An open campaign folder; only one process at a time can hold it. Use as a context manager.

    Parameters
    ----------
    folder
        Made when it does not exist.
    method
        The level of theory, the same for all frames of a campaign; by default that of the
        campaign, which must then exist.

    Raises
    ------
    CampaignError
        When another process holds the campaign, or its labels are made by another method.
    """

    def __init__(self, folder: str | os.PathLike[str], method: Method | None = None) -> None:
        self.folder = Path(folder)
        if method is None and not (self.folder / "ledger.sqlite").is_file():
            raise CampaignError(f"there is no campaign in {folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.folder)
        try:
            self._ledger = Ledger(self.folder / "ledger.sqlite")
            try:
                self.method = method or method_of(self._ledger)
                self._check_method()
                self._ledger.nothing_runs()
            except BaseException:
                self._ledger.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others work on the campaign."""
        with suppress(DiskFullError):  # opening does it again
            self._ledger.nothing_runs()
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

    def check_results(self) -> None:
        """Make the ledger say what the result files say.

        Frames whose file is missing or altered wait again; frames that wait though their file is
        there and whole are done. Parts of files that a kill left behind are removed.
        """
        for part in self.folder.glob("results/*/.*.part"):
            part.unlink()
        for row in self._ledger.rows():
            if row.state == "done" and self._read(row) is None:
                self._ledger.wait_again(row.frame_id)
            elif row.state == "waiting":
                self._take_over(row.frame_id)

    def retry_failed(
        self, frame_ids: Sequence[str] | None = None, reason: str | None = None
    ) -> int:
        """Send failed frames back to waiting; all of the campaign, for any reason, by default.

        Returns
        -------
        How many they are.
        """
        rows = [
            row
            for row in self._rows(frame_ids)
            if row.state == "failed" and reason in (None, row.reason)
        ]
        for row in rows:
            self._ledger.wait_again(row.frame_id)
        return len(rows)

    def summary(self, frame_ids: Sequence[str] | None = None) -> Summary:
        """Where frames stand; all of the campaign by default."""
        return Summary.of(self._rows(frame_ids))

    def run(
        self,
        executor: CallExecutor,
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
        CampaignError
            When workers cannot start.
        DiskFullError
            When there is no room for a result; run again once there is.
        """
        rows = self._rows(frame_ids)
        FrameLoop(self.folder, self._ledger, self.method, executor, rows, on_progress).run()

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
        DamagedResultsError
            When a result is damaged: its frame is sent back to waiting, run again.
        DiskFullError, OSError
            When the file cannot be written; the campaign is not touched.
        """
        try:
            return write_dataset(self.folder, self._rows(frame_ids), self.method, output)
        except DamagedResultsError:
            self.check_results()
            raise

    def _check_method(self) -> None:
        wanted = self.method.settings()
        found = self._ledger.fact("method", wanted)
        different = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
        if different:
            key = different[0]
            raise CampaignError(
                f"the campaign {self.folder} was made with {key} = {found.get(key)!r} and not "
                f"{wanted.get(key)!r}: give another folder, or the same method"
            )

    def _take_over(self, name: str) -> None:
        """Enter a result that is there although the ledger does not know of it."""
        result = whole_result(self._path(name))
        if result is not None and frame_id(result.frame, self.method) == name:
            self._ledger.done(name, checksum=result.checksum, **result.record)

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
        return result_path(self.folder, name)


def label_frames(
    frames: Iterable[Frame],
    method: Method,
    folder: str | os.PathLike[str],
    *,
    workers: int = 1,
    device: str = "cpu",
    limits: Limits = _NO_LIMITS,
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
        Folder of the campaign, created if missing.
    workers
        Number of worker processes; 0 computes in this process.
    device
        Where labels are computed: ``cpu``, or ``gpu`` by GPU4PySCF, with one worker process on each
        device of ``CUDA_VISIBLE_DEVICES``, or on the first.
    limits
        Time (s) and memory (GB) that a frame may take in a worker process; by default no limits.
    output
        Dataset file for the labels of exactly these frames, once each, in their order.
    retry_failed
        Compute frames that failed before once more.
    on_progress
        Called at the start and after every frame.

    Returns
    -------
    Summary
        Number of these frames that are ``done``, ``failed`` and ``waiting``, with the reasons of
        failures and the warnings.

    Raises
    ------
    CampaignError
        When another process works on the campaign, its labels are of another method, workers
        cannot start, or limits are given without workers.
    DeviceError, DeviceDisagreementError
        When there is no such device, or its labels are not those of the CPU.
    DiskFullError
        When there is no room for a result; run again once there is.
    OSError
        When the folder or the output cannot be written.
    """
    refuse_unknown(device)
    if limits.any and not workers:
        raise CampaignError("limits need a worker process to end: give workers = 1 or more")
    with Campaign(folder, method) as campaign:
        names = campaign.add(frames)
        campaign.check_results()
        if retry_failed:
            campaign.retry_failed(names)
        if campaign.summary(names).waiting:
            with local_executor(workers, device, limits) as executor:
                campaign.run(executor, names, on_progress)
        if output is not None:
            campaign.collect(output, names)
        return campaign.summary(names)
