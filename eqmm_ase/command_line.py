"""What the commands ``eqmm`` and ``eqmm-datagen`` share: lazy subcommands, one-sentence errors.

Exit codes are 0: done; 1: the run failed; 2: the input makes no sense, or
an extra is not installed; 130: interrupted.
"""

from __future__ import annotations

import io
import keyword
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module

import click
from click.core import ParameterSource

_FAILED = 1
_BAD_INPUT = 2
_INTERRUPTED = 130

_EXTRAS = {"openmm": "sampling", "rdkit": "sampling", "pyscf": "datagen", "parsl": "parsl"}
_EXTRAS |= {"MDAnalysis": "topologies", "parmed": "topologies", "tblite": "sampling"}
_EXTRAS |= {"finufft": "periodic", "openmmml": "openmm"}
"""Modules that come with an extra of the package."""


def lazy_group(package: str, commands: Mapping[str, str]) -> type[click.Group]:
    """A click group whose subcommands are imported when they are called.

    Torch, OpenMM, RDKit and PySCF take seconds each; the list of commands needs none of them.

    Parameters
    ----------
    package
        Holds a module for each command, with a click command of the same name; a name that Python
        keeps for itself has an underscore behind it in both.
    commands
        Name → one line of help.
    """

    class LazyGroup(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in commands:
                return None
            name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
            command: click.Command = getattr(import_module(f"{package}.{name}"), name)
            return command

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            with formatter.section("Commands"):
                formatter.write_dl(list(commands.items()))

    return LazyGroup


def run(group: click.Group, name: str, arguments: Sequence[str] | None) -> int:
    """Run a command line and return its exit code; what goes wrong is said in one sentence.

    Errors that are nobody's input but a bug keep their traceback, as do all after ``--traceback``.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _write_what_can_be_written()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        result = group.main(args=arguments, prog_name=name, standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        if "--traceback" in arguments or not _is_for_the_user(error):
            raise
        click.echo(f"error: {_sentence(error)}", err=True)
        return _BAD_INPUT if _is_bad_input(error) else _FAILED
    return result if isinstance(result, int) else 0


def _write_what_can_be_written() -> None:
    """Where the locale knows no Å or σ, write a substitute and do not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def files_and_settings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell names of files from settings ``section.key=value``; a file may have a ``=`` in its name.

    Returns
    -------
    files, settings
    """
    settings = [word for word in arguments if "=" in word and not os.path.exists(word)]
    return [word for word in arguments if word not in settings], settings


def refuse_idle(context: click.Context, options: Sequence[str], beside: str) -> None:
    """Refuse options that were given although they have no effect beside something else.

    Parameters
    ----------
    context
        Of the command.
    options
        Names of its parameters.
    beside
        What leaves them without effect: ``--ensemble nve``.

    Raises
    ------
    click.UsageError
    """
    given = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    for parameter in context.command.params:
        if parameter.name in options and context.get_parameter_source(parameter.name) in given:
            raise click.UsageError(
                f"{max(parameter.opts, key=len)} has no effect beside {beside}; leave it out"
            )


def _is_for_the_user(error: Exception) -> bool:
    """Errors with a sentence: our own, and those of the system. The rest are bugs."""
    if isinstance(error, ModuleNotFoundError):
        return error.name in _EXTRAS
    if isinstance(error, ValueError | ImportError) and _is_ours(_origin(error)):
        return True
    return _is_ours(type(error).__module__) or isinstance(error, OSError)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("eqmm_ase", "datagen")


def _origin(error: Exception) -> str:
    """Name of the module that raised the error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", ""))


def _is_bad_input(error: Exception) -> bool:
    """A full disk is not the user's input; a missing file is, and an extra not installed."""
    missing = FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError
    return isinstance(error, ValueError | ImportError | missing)


def _sentence(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        extra = _EXTRAS[str(error.name)]
        if (error.name, _origin(error).partition(".")[0]) == ("openmm", "eqmm_ase"):
            extra = "openmm,topologies"  # of whole systems
        return f"{error}; pip install 'eqmm[{extra}]' brings what this command needs"
    return str(error)
