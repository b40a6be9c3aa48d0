"""What the commands on campaigns show: a bar while frames are computed, a table at the end."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from datagen.campaigns.status import Progress, Summary
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.terminal import cell, show_table, title

_SPEED_WINDOW = 1800.0  # s; labels take from half a second to minutes


def summary_table(summary: Summary, name: str) -> Table:
    """Counts of frames by outcome, failures and warnings by reason with an example."""
    table = Table(title=title(name))
    table.add_column("frames", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    table.add_column("for example", overflow="fold")
    table.add_row(str(summary.done), "done", "")
    for kind, count, message in summary.warnings:
        table.add_row(str(count), cell(f"of them warned: {kind}"), cell(message))
    for state in ("running", "waiting"):
        if count := getattr(summary, state):
            table.add_row(str(count), state, "")
    for reason, count, message in summary.failures:
        table.add_row(str(count), cell(f"failed: {reason}"), cell(message))
    return table


def show_summary(summary: Summary, name: str, campaign: Path) -> None:
    """Print how the frames of a campaign stand, and where its warnings can be read."""
    show_table(summary_table(summary, name))
    if summary.warned:
        click.echo(f"`eqmm-datagen status {campaign} --warnings` lists the frames with a warning")


class ShownProgress:
    """How far frames are labelled; those of an earlier run do not count as fast."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bar: ProgressBar | None = None

    def update(self, progress: Progress) -> None:
        """Say how far it is; begins with the first call, and again after all frames are done."""
        finished = progress.done + progress.failed
        note = f"{progress.failed} failed" if progress.failed else ""
        if self._bar is None:
            self._bar = ProgressBar(
                "labelling",
                "frames",
                progress.total,
                console=self._console,
                window=_SPEED_WINDOW,
            )
            self._bar.start(finished)
        self._bar.update(finished, note)
        if finished >= progress.total:
            self.__exit__()

    def __enter__(self) -> ShownProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
