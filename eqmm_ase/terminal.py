"""How this program writes to screens and pipes: user text as it is, tables whole.

Rich reads ``[…]`` in text as markup and ``:…:`` as pictures; SMILES strings and file names have
both. It takes a pipe for a screen of 80 columns and cuts what does not fit. What goes through here
is written as it stands, and a pipe is as wide as a table needs.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_ENDLESS = 100_000
"""Columns of a pipe."""


def screen() -> Console:
    """Standard output, for results."""
    return _console(stderr=False)


def messages() -> Console:
    """Standard error, for progress and warnings."""
    return _console(stderr=True)


def say(console: Console, text: str, style: str = "") -> None:
    """Write a line of text as it is, unbroken, at once."""
    console.print(Text(text, style), soft_wrap=True)


def cell(text: str, style: str = "") -> Text:
    """Text for a table in which brackets are brackets, whoever prints it."""
    return Text(text, style)


def title(text: str) -> Text | None:
    """Title of a table, which is not broken where the table is narrower."""
    return Text(text, no_wrap=True, overflow="ignore") if text else None


def show_table(table: Table) -> None:
    """Write a table to standard output; nothing in it is cut.

    On a screen that is too narrow, columns that fold (``overflow="fold"``) give way; the lines of a
    table without such columns run over.
    """
    console = screen()
    if not any(column.overflow == "fold" for column in table.columns):
        options = console.options.update(width=_ENDLESS)
        needed = Measurement.get(console, options, table).maximum
        if console.width < needed:
            console = _console(stderr=False, width=needed)
    console.print(table, crop=False)


def _console(*, stderr: bool, width: int | None = None) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    on_screen = stream.isatty()
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        # FORCE_COLOR, which build machines set, makes colours in a pipe; yet nothing can move there
        force_interactive=None if on_screen else False,
        width=width or (None if on_screen else _ENDLESS),
    )
