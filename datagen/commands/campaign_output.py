"""What the commands on campaigns show: a bar while frames are computed, a table at the end."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from datagen.progress import Progress, Summary

_SPEED_WINDOW = 1800.0  # s; labels take from half a second to minutes


def summary_table(summary: Summary, title: str) -> Table:
    """Counts of frames by outcome, failures by reason with an example."""
    table = Table(title=title)
    table.add_column("frames", justify="right")
    table.add_column("outcome")
    table.add_column("for example", overflow="fold")
    table.add_row(str(summary.done), "done", "")
    if summary.warned:
        table.add_row(str(summary.warned), "of them with a warning", "see the campaign's ledger")
    for name in ("running", "waiting"):
        if count := getattr(summary, name):
            table.add_row(str(count), name, "")
    for reason, count, message in summary.failures:
        table.add_row(str(count), f"failed: {reason}", message)
    return table


class ShownProgress:
    """Bar with rate, time left and failures; frames of an earlier run do not count as fast."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("labelling"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("[red]{task.fields[failed]}"),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            speed_estimate_period=_SPEED_WINDOW,
        )

    def update(self, progress: Progress) -> None:
        """Move the bar."""
        finished = progress.done + progress.failed
        if not self._bar.tasks:
            self._bar.add_task("", total=progress.total, completed=finished, rate="", failed="")
        task = self._bar.tasks[0]
        self._bar.update(
            task.id,
            completed=finished,
            rate=f"{3600 * task.speed:.0f}/h" if task.speed else "",
            failed=f"{progress.failed} failed" if progress.failed else "",
        )

    def __enter__(self) -> ShownProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
