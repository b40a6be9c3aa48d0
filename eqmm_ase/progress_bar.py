"""How far a long run is, at what rate, and how long it still takes.

On a terminal it is a bar that moves. In a pipe or a log file it is plain lines: one at the
beginning and at each stage, then one whenever something has happened, but not more often than every
`INTERVAL`, and one at the end.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from eqmm_ase.terminal import messages, say

INTERVAL = 20.0
"""s between lines in a pipe."""

_PER = ((1.0, "s"), (60.0, "min"), (3600.0, "h"))


class ProgressBar:
    """A bar on a terminal, lines elsewhere; use as a context manager.

    Parameters
    ----------
    name
        What is being done.
    unit
        Of what is counted: frames, steps, ps.
    total
        How many there are; None where nobody knows.
    decimals
        Digits behind the point of the counts.
    console
        Where to write; standard error when None.
    window
        s; the rate is that of the last so many seconds.
    interval
        s between lines in a pipe.
    time_limit
        Tells the seconds after which the run ends in any case.
    transient
        Remove the bar at the end; write no first and no last line.
    clock
        Tells the time in s.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        total: float | None = None,
        *,
        decimals: int = 0,
        console: Console | None = None,
        window: float = 60.0,
        interval: float = INTERVAL,
        time_limit: Callable[[], float] = lambda: math.inf,
        transient: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.unit, self.total, self.decimals = name, unit, total, decimals
        self.console = console or messages()
        self.note = ""
        """Said behind the numbers."""
        self.completed = 0.0
        self._window, self._interval, self._time_limit = window, interval, time_limit
        self._transient, self._clock = transient, clock
        self._began = self._spoke = clock()
        self._samples = deque([(self._began, 0.0)])
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressBar:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, completed: float = 0.0) -> None:
        """Begin to count time; what is `completed` by now was not done in it."""
        self.completed = completed
        self._began = self._clock()
        self._samples = deque([(self._began, completed)])
        if not self.console.is_interactive:
            if not self._transient:
                self._speak()
            return
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Words(self),
            console=self.console,
            transient=self._transient,
            refresh_per_second=4,
        )
        task = self._bar.add_task(self.name, total=self.total)
        self._bar.update(task, completed=completed)
        self._bar.start()

    def stage(self, name: str) -> None:
        """Say what is being done now; another stage has its own rate."""
        self.name = name
        self._samples = deque([(self._clock(), self.completed)])
        if self._bar is not None:
            self._bar.update(self._bar.tasks[0].id, description=name)
        else:
            self._speak()

    def update(self, completed: float, note: str | None = None) -> None:
        """Say how much is done by now."""
        now = self._clock()
        self.completed = completed
        self.note = self.note if note is None else note
        self._samples.append((now, completed))
        while len(self._samples) > 2 and self._samples[1][0] < now - self._window:
            self._samples.popleft()
        if self._bar is not None:
            self._bar.update(self._bar.tasks[0].id, completed=completed)
        elif now - self._spoke >= self._interval and not self._finished:
            self._speak()

    def advance(self, amount: float = 1.0) -> None:
        """Say that so much more is done."""
        self.update(self.completed + amount)

    def say(self, text: str, style: str = "") -> None:
        """Write a line above the bar, or instead of the next line."""
        self._spoke = self._clock()
        say(self.console, text, style)

    def stop(self) -> None:
        """Write the last state and how long it took."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None
        elif not self._transient:
            self._speak(ended=True)

    @property
    def rate(self) -> float | None:
        """Units per second lately; None while nothing has been done."""
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - begin) if end > begin and after > before else None

    @property
    def left(self) -> float | None:
        """Seconds until the end; None where nobody can tell."""
        limit, rate = self._time_limit(), self.rate
        seconds = math.inf
        if self.total is not None and rate:
            # The clock goes on while a long calculation brings no news.
            waited = self._clock() - self._samples[-1][0]
            seconds = max((self.total - self.completed) / rate - waited, 0.0)
        seconds = min(seconds, max(limit, 0.0))
        return None if math.isinf(seconds) else seconds

    def words(self, ended: bool = False) -> str:
        """Counts, rate, time left or taken, and the note."""
        counts = f"{self.completed:.{self.decimals}f}"
        if self.total is not None:
            counts += f"/{self.total:.{self.decimals}f}"
        counts += f" {self.unit}"
        if ended or self._finished:
            counts += f" in {duration(self._clock() - self._began)}"
            return f"{counts}, {self.note}" if self.note else counts
        parts = [counts]
        if (rate := self.rate) is not None:
            parts.append(spoken_rate(rate, self.unit))
        if (left := self.left) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join([*parts, self.note] if self.note else parts)

    def spoken_left(self) -> str:
        """The time left, to be added to a sentence about what has just ended."""
        left = self.left
        return "" if left is None or self._finished else f"; at most {duration(left)} left"

    @property
    def _finished(self) -> bool:
        return self.total is not None and self.completed >= self.total * (1.0 - 1e-9)

    def _speak(self, ended: bool = False) -> None:
        self.say(f"{self.name}: {self.words(ended)}")


class _Words(ProgressColumn):
    """The words behind the bar, made anew at each refresh."""

    max_refresh = None

    def __init__(self, bar: ProgressBar) -> None:
        super().__init__()
        self._of = bar

    def render(self, task: Task) -> Text:
        return Text(self._of.words(), no_wrap=True, overflow="ellipsis")


def duration(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def spoken_rate(per_second: float, unit: str) -> str:
    """A rate over the time in which there is at least one: ``3.4 frames/min``."""
    seconds, per = next((p for p in _PER if per_second * p[0] >= 1.0), _PER[-1])
    number = per_second * seconds
    return f"{number:.0f} {unit}/{per}" if number >= 100.0 else f"{number:.3g} {unit}/{per}"
