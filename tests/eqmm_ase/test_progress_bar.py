"""Progress: lines in a pipe, a bar on a terminal, and what is said of rate and time."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from eqmm_ase.commands.run_log import RunLog
from eqmm_ase.progress_bar import ProgressBar, duration, spoken_rate


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pipe(clock):
    """Make a bar that writes to a pipe; returns the bar and a function that reads the lines."""

    def make(*arguments, **options):
        file = io.StringIO()
        bar = ProgressBar(*arguments, console=Console(file=file), clock=clock, **options)
        return bar, lambda: file.getvalue().splitlines()

    return make


def test_a_pipe_gets_a_line_at_intervals_with_rate_and_time_left(pipe, clock):
    bar, lines = pipe("labelling", "frames", 100)
    bar.start()
    assert lines() == ["labelling: 0/100 frames"]
    for _ in range(50):  # one every two seconds
        clock.now += 2.0
        bar.advance()
    assert lines()[1:] == [
        f"labelling: {n}/100 frames, 30 frames/min, {duration(2 * (100 - n))} left"
        for n in (10, 20, 30, 40, 50)
    ]


def test_rare_events_get_a_line_each(pipe, clock):
    bar, lines = pipe("labelling", "frames", 3, window=1e6)
    bar.start()
    for n in range(3):
        clock.now += 400.0
        bar.update(n + 1, "1 failed")
    bar.stop()
    assert lines()[1:] == [
        "labelling: 1/3 frames, 9 frames/h, 13:20 left, 1 failed",
        "labelling: 2/3 frames, 9 frames/h, 6:40 left, 1 failed",
        "labelling: 3/3 frames in 20:00, 1 failed",
    ]


def test_what_was_done_before_does_not_count_as_fast(pipe, clock):
    bar, _ = pipe("labelling", "frames", 1000)
    bar.start(900)
    clock.now += 10.0
    bar.update(901)
    assert bar.rate == pytest.approx(0.1)
    assert bar.left == pytest.approx(990.0)


def test_another_stage_has_its_own_rate_and_is_said_at_once(pipe, clock):
    bar, lines = pipe("force field", "ps", 20.0, decimals=1)
    bar.start()
    clock.now += 1.0
    bar.advance(10.0)  # found done by an earlier run
    bar.stage("[/red] 7 trajectories")
    assert lines()[-1] == "[/red] 7 trajectories: 10.0/20.0 ps"
    clock.now += 10.0
    bar.advance(1.0)
    assert bar.left == pytest.approx(90.0)


def test_time_goes_on_while_nothing_comes(pipe, clock):
    bar, _ = pipe("labelling", "frames", 10)
    bar.start()
    clock.now += 60.0
    bar.advance()
    assert bar.left == pytest.approx(540.0)
    clock.now += 40.0
    assert bar.left == pytest.approx(500.0)


def test_a_limit_of_time_counts_in_what_is_left(pipe, clock):
    end = clock.now + 90.0
    bar, _ = pipe("training", "steps", 10_000, time_limit=lambda: end - clock.now)
    bar.start()
    clock.now += 10.0
    bar.update(10)
    assert bar.left == pytest.approx(80.0)
    bar.update(9_999)
    assert bar.left < 80.0


def test_a_run_of_unknown_length_has_a_rate_and_no_end(pipe, clock):
    bar, lines = pipe("cutting", "frames")
    with bar:
        clock.now += 30.0
        bar.advance(60)
    assert bar.left is None
    assert lines() == [
        "cutting: 0 frames",
        "cutting: 60 frames, 2 frames/s",
        "cutting: 60 frames in 0:30",
    ]


def test_an_interrupted_run_says_how_far_it_came(pipe, clock):
    bar, lines = pipe("sweeping", "geometries", 400)
    with pytest.raises(KeyboardInterrupt), bar:  # noqa: PT012
        clock.now += 5.0
        bar.advance(7)
        raise KeyboardInterrupt
    assert lines()[-1] == "sweeping: 7/400 geometries in 0:05"


@pytest.mark.parametrize("total", [None, 40])
def test_a_terminal_gets_a_bar_from_the_first_moment(total):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with ProgressBar("[/red] c1cnc[nH]1", "steps", total, console=console) as bar:
        bar.console.print("a line above the bar")
        bar.update(20, "[/red] 1 failed")
    written = file.getvalue()
    assert "[/red] c1cnc[nH]1" in written
    assert "a line above the bar" in written
    assert "[/red] 1 failed" in written
    assert "steps" in written


def test_a_finished_bar_calls_elapsed_time_elapsed():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with ProgressBar("labelling", "frames", 2, console=console) as bar:
        bar.update(2)
    last = file.getvalue().rstrip().splitlines()[-1 - file.getvalue().endswith("\x1b[?25h")]
    assert "2/2 frames in 0:00" in last
    assert "left" not in last


def test_a_log_of_a_run_has_a_bar_on_a_terminal(tmp_path, monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    monkeypatch.setattr("eqmm_ase.commands.run_log.screen", lambda: console)
    with RunLog([("step", "d", 6)], tmp_path / "run.log", total=10) as log:
        log.line("c1cnc[nH]1")
        log.head()
        for step in (0, 5, 10):
            log.row((step,), step)
    assert "10/10 steps" in file.getvalue()
    assert (tmp_path / "run.log").read_text().splitlines() == [
        "c1cnc[nH]1", "  step", "     0", "     5", "    10",
    ]  # fmt: skip


def test_rates_are_told_over_the_time_that_has_at_least_one():
    assert spoken_rate(123.4, "steps") == "123 steps/s"
    assert spoken_rate(1.25, "ps") == "1.25 ps/s"
    assert spoken_rate(0.5, "ps") == "30 ps/min"
    assert spoken_rate(0.001, "frames") == "3.6 frames/h"
    assert spoken_rate(0.0001, "frames") == "0.36 frames/h"
