"""Commands of two forms: of a molecule, and with ``--topology`` of a whole system."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

SIGN = "--topology"


class TwoForms(click.Command):
    """A command that hands over to another where ``--topology`` is among its arguments.

    Parameters
    ----------
    whole
        Module and name of the form for whole systems, ``package.module:name``; imported when it
        is needed, as it takes OpenMM along.
    """

    def __init__(self, *args: Any, whole: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._whole = whole
        self.epilog = (
            f"With {SIGN} FILE it runs a whole system instead, and has other options: "
            f"`eqmm {self.name} {SIGN} --help`."
        )

    @property
    def whole(self) -> click.Command:
        """The form for whole systems."""
        module, _, name = self._whole.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the arguments, by the form that they ask for."""
        if not any(argument.partition("=")[0] == SIGN for argument in args):
            return super().make_context(info_name, args, parent, **extra)
        if args[-1] in ("-h", "--help"):  # what follows the sign is then no file
            args = [args[-1]]
        return self.whole.make_context(info_name, args, parent, **extra)
