"""The command ``eqmm``. What goes wrong is said in one sentence, with an exit code.

0: done; 1: the run failed; 2: the input makes no sense; 130: interrupted.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module

import click

_COMMANDS = {
    "train": "Train a model on labelled frames.",
    "evaluate": "Compare a model with the labels of a dataset.",
    "info": "Describe a model file or a dataset file.",
    "optimize": "Relax a molecule in held MM charges or in vacuum.",
    "md": "Run molecular dynamics of a molecule in held MM charges or in vacuum.",
}
_FAILED = 1
_BAD_INPUT = 2
_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """Commands live in `eqmm_ase.commands` and are imported when called: torch takes seconds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"eqmm_ase.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eqmm")
@click.option("--traceback", is_flag=True, help="Show where an error arose, for bug reports.")
def cli(traceback: bool) -> None:
    """EqMM: machine-learned QM/MM potentials.

    \b
    eqmm train data.h5 -o model.eqmm
    eqmm evaluate model.eqmm test.h5 -o results
    eqmm optimize model.eqmm test.h5:0 -o relaxed.traj
    """  # noqa: D301 - click needs the backspace itself


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(args=arguments, prog_name="eqmm", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        if "--traceback" in arguments or not _is_for_the_user(error):
            raise
        click.echo(f"error: {error}", err=True)
        return _BAD_INPUT if _is_bad_input(error) else _FAILED
    return result if isinstance(result, int) else 0


def _is_for_the_user(error: Exception) -> bool:
    """Errors with a sentence: our own, and those about values and files. The rest are bugs."""
    own = type(error).__module__.partition(".")[0] == "eqmm_ase"
    return own or isinstance(error, ValueError | OSError)


def _is_bad_input(error: Exception) -> bool:
    """A full disk is not the user's input; a missing file is."""
    missing = FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError
    return isinstance(error, ValueError | missing)
