"""What is written to screens and pipes: user text as it is, and tables whole."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console
from rich.table import Table

from eqmm_ase import terminal
from eqmm_ase.evaluation.tables import metrics_table

USER_TEXT = "c1cnc[nH]1 labels[new].h5 [/red] :warning: [bold]"
METRICS = {
    "c1cnc[nH]1": {
        "energy": {"count": 123456, "mae": 29121.94321, "rmse": 292929.1234},
        "mm_forces": {"count": 1234567, "mae": 1234.5678, "rmse": 12345.6789, "relative": 12.3456},
    },
    "all": {},
}


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True

    def seen(self) -> str:
        """What was written, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue())


def test_a_line_is_written_as_it_is_on_any_console(capsys):
    terminal.say(terminal.screen(), USER_TEXT)
    assert capsys.readouterr().out == f"{USER_TEXT}\n"
    terminal.say(terminal.messages(), USER_TEXT, "bold")
    assert capsys.readouterr().err == f"{USER_TEXT}\n"
    file = io.StringIO()
    terminal.say(Console(file=file, width=20), USER_TEXT)
    assert file.getvalue() == f"{USER_TEXT}\n"


@pytest.mark.parametrize("variables", [{}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1"}])
def test_a_table_in_a_pipe_is_whole(capsys, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal.show_table(metrics_table(METRICS, f"{USER_TEXT} " * 5))
    written = capsys.readouterr().out
    assert f"{USER_TEXT} " * 4 in written
    for text in ("29121.9432", "292929.1234", "12345.6789", "1234.56%", "1234567", "c1cnc[nH]1"):
        assert text in written
    assert "…" not in written
    assert max(map(len, written.splitlines())) < 400  # no line is filled up to an endless width


@pytest.mark.parametrize("columns", ["20", "50", "80"])
def test_numbers_are_whole_on_a_narrow_screen(monkeypatch, columns):
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    terminal.show_table(metrics_table(METRICS))
    for number in ("29121.9432", "292929.1234", "12345.6789", "1234567"):
        assert number in screen.seen()
    assert "…" not in screen.seen()


def test_long_texts_fold_on_a_screen_and_not_in_a_pipe(monkeypatch, capsys):
    table = Table()
    table.add_column("hash", overflow="fold")
    table.add_row("0123456789abcdef" * 8)
    terminal.show_table(table)
    assert "0123456789abcdef" * 8 in capsys.readouterr().out
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    terminal.show_table(table)
    assert max(map(len, screen.seen().splitlines())) <= 60


def test_nothing_moves_in_a_pipe_that_is_said_to_have_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not terminal.screen().is_interactive
    assert not terminal.messages().is_interactive
