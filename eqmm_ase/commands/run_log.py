"""The log of a run: aligned columns on the screen and in a file, and a bar on a terminal."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.simulation.relax import RunFailedError
from eqmm_ase.terminal import say, screen


class RunLog:
    """Writes rows under fixed columns, and warnings as lines; use as a context manager.

    Parameters
    ----------
    columns
        (title, format, width) of each column; the format is that of `format`.
    path
        Text file that gets the same lines.
    total
        Steps of the whole run, for the bar; None: no bar.
    append
        Continue the file instead of starting it anew.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, str, int]],
        path: str | os.PathLike[str],
        *,
        total: int | None = None,
        append: bool = False,
    ) -> None:
        self._columns = columns
        self._file = open(path, "a" if append else "w", encoding="utf-8")  # noqa: SIM115
        self._console = screen()
        self._warnings = warnings.catch_warnings()
        # The rows say all that lines of progress would.
        self._bar: ProgressBar | None = None
        self._started = False
        if total is not None and self._console.is_interactive:
            self._bar = ProgressBar(
                "running", "steps", total, console=self._console, transient=True
            )

    def __enter__(self) -> RunLog:
        self._warnings.__enter__()
        warnings.showwarning = lambda message, *_: self.line(f"warning: {message}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._warnings.__exit__(kind, error, trace)
        if self._bar is not None:
            self._bar.stop()
        if isinstance(error, RunFailedError):
            self._file.write(f"error: {error}\n")  # on the screen the command says it
        self._file.close()

    def line(self, text: str) -> None:
        """A line of text."""
        say(self._console, text)
        self._file.write(text + "\n")
        self._file.flush()

    def head(self) -> None:
        """The titles of the columns."""
        self.line(" ".join(f"{title:>{width}}" for title, _, width in self._columns))

    def row(self, values: Sequence[Any], step: int) -> None:
        """A row of values, one per column; None is shown as a dash."""
        cells = (
            f"{'–' if value is None else format(value, form):>{width}}"
            for value, (_, form, width) in zip(values, self._columns, strict=True)
        )
        self.line(" ".join(cells))
        if self._bar is None:
            return
        if self._started:
            self._bar.update(step)
        else:
            self._started = True
            self._bar.start(step)
