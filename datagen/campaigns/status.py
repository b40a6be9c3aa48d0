"""How far a campaign is, at what pace, and what failed: read at any time, also while it runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.campaigns.ledger import LedgerReader, Row
from datagen.campaigns.lock import is_held

_WINDOW = 1800.0  # s; labels take from half a second to minutes


@dataclass(frozen=True)
class Progress:
    """How far a run is, in frames."""

    total: int
    done: int
    failed: int


@dataclass(frozen=True)
class Summary:
    """Where a set of frames stands."""

    waiting: int
    running: int
    """Also those whose run was killed; they wait again when the campaign is opened."""

    done: int
    failed: int
    failures: tuple[tuple[str, int, str], ...]
    """(reason, number of frames, one of their messages), most frequent first."""

    warned: int
    """Finished frames that carry a warning."""

    warnings: tuple[tuple[str, int, str], ...] = ()
    """(kind, number of frames, one of their sentences), most frequent first."""

    @property
    def total(self) -> int:
        """All frames of the set."""
        return self.waiting + self.running + self.done + self.failed

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Summary:
        """Count rows of a ledger."""
        states = Counter(row.state for row in rows)
        failed = [row for row in rows if row.state == "failed"]
        example = {row.reason: row.message for row in reversed(failed)}
        reasons = Counter(row.reason for row in failed).most_common()
        warned = [row for row in rows if row.state == "done" and row.warnings]
        sentences = {kind_of(w): w for row in reversed(warned) for w in row.warnings}
        kinds = Counter(kind for row in warned for kind in {kind_of(w) for w in row.warnings})
        return cls(
            waiting=states["waiting"],
            running=states["running"],
            done=states["done"],
            failed=states["failed"],
            failures=tuple((str(r), count, str(example[r])) for r, count in reasons),
            warned=len(warned),
            warnings=tuple((kind, n, sentences[kind]) for kind, n in kinds.most_common()),
        )


def kind_of(warning: str) -> str:
    """What a warning about a frame is about: ``overpolarisation``."""
    return warning.partition(":")[0]


@dataclass(frozen=True)
class Status:
    """Where a campaign stands."""

    method: Mapping[str, Any]
    """Settings of the level of theory."""

    summary: Summary
    active: bool
    """Whether a process works on it now."""

    slots: int | None
    """Frames at a time in the last run."""

    rate: float | None
    """Finished frames an hour, in the last half hour of the last run."""

    time_left: float | None
    """s, at this rate; None where nobody works."""

    attempts: int
    """Calculations that were begun."""

    wall_times: Sequence[float]
    """s, of the labels that there are."""

    scf_stages: Mapping[str, int]
    """SCF fallback stage → labels that converged at it."""

    @classmethod
    def read(cls, folder: Path) -> Status:
        """Read the ledger of a campaign, without its lock and without changing it.

        Raises
        ------
        CampaignError
            When there is no campaign.
        """
        with LedgerReader(folder / "ledger.sqlite") as ledger:
            rows = ledger.rows()
            run, method = ledger.known_fact("run"), ledger.known_fact("method")
        active = is_held(folder)
        summary = Summary.of(rows)
        rate = _rate(rows, run["started"], time.time() if active else None) if run else None
        to_do = summary.waiting + summary.running
        return cls(
            method=method or {},
            summary=summary,
            active=active,
            slots=run["slots"] if run else None,
            rate=rate,
            time_left=3600.0 * to_do / rate if rate and active else None,
            attempts=sum(row.attempts for row in rows),
            wall_times=[row.wall_time or 0.0 for row in rows if row.state == "done"],
            scf_stages=Counter(str(row.scf_stage) for row in rows if row.state == "done"),
        )

    def lines(self) -> list[str]:
        """Tell it in a few lines, each beginning with what it is about."""
        counts = self.summary
        states = [(counts.done, "done"), (counts.running, "running"), (counts.waiting, "waiting")]
        told = [f"{count} {state}" for count, state in [*states, (counts.failed, "failed")]]
        lines = [
            f"method     {_method(self.method)}",
            f"frames     {counts.total}: {', '.join(told)}",
            f"now        {self._now()}",
        ]
        if self.rate:
            lines.append(f"rate       {self.rate:.3g} frames an hour{self._left()}")
        if self.wall_times:
            median, longest = np.median(self.wall_times), max(self.wall_times)
            lines.append(f"a label    {median:.3g} s in the median, {longest:.3g} s at most")
            stages = Counter(self.scf_stages).most_common()
            lines.append(f"SCF        {', '.join(f'{name} {count}' for name, count in stages)}")
        lines.append(f"begun      {self.attempts} calculations")
        lines += [
            f"failed     {count} {reason}, for example: {message}"
            for reason, count, message in counts.failures
        ]
        if counts.warned:
            lines.append(f"warnings   {counts.warned} labels carry one; --warnings lists them")
            lines += [
                f"warned     {count} {kind}, for example: {sentence}"
                for kind, count, sentence in counts.warnings
            ]
        return lines

    def _now(self) -> str:
        if self.active:
            return "a process works on it" + (f", {self.slots} frames at a time" * bool(self.slots))
        to_do = self.summary.waiting + self.summary.running
        return "nobody works on it" + (": `eqmm-datagen run` goes on" * bool(to_do))

    def _left(self) -> str:
        if self.time_left is None:
            return " in the last run"
        minutes = round(self.time_left / 60)
        return f", about {minutes // 60} h {minutes % 60:02d} min left"


def _rate(rows: Sequence[Row], began: float, now: float | None) -> float | None:
    """Finished frames an hour of the run that began then, over its last half hour."""
    finished = [row.finished for row in rows if row.finished and row.finished >= began]
    if not finished:
        return None
    end = now or max(finished)
    begin = max(began, end - _WINDOW)
    return 3600.0 * sum(time >= begin for time in finished) / max(end - begin, 1e-9)


def _method(settings: Mapping[str, Any]) -> str:
    name = f"{settings.get('functional')}/{settings.get('basis')}"
    dispersion = settings.get("dispersion")
    return f"{name} with {dispersion}" if dispersion else name
