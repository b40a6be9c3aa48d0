"""The command ``eqmm-datagen``: what goes wrong is said in one sentence, with an exit code.

0: done; 1: the run failed (a program, the dynamics, an SCF); 2: the input makes no sense;
130: interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

_COMMANDS = {
    "sample": "Put a molecule into solvent and cut frames out of molecular dynamics.",
    "label": "Compute the reference labels of frames with PySCF.",
}
_BAD_INPUT = 2
_FAILED = 1
_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """Subcommands live in `datagen.commands` and are imported when one is called.

    The list of commands is known without importing any: OpenMM, RDKit and PySCF take seconds.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"datagen.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eqmm")
def cli() -> None:
    r"""Make reference data for EqMM: sample molecules in solvent, then label the frames.

    \b
    eqmm-datagen sample CO -o frames.h5 --solvent water --frames 150
    eqmm-datagen label frames.h5 -o labels.h5 --functional b3lyp --basis '6-31g*'
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="eqmm-datagen", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ModuleNotFoundError as error:
        click.echo(_missing_module(error), err=True)
        return _FAILED
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        click.echo(f"error: {error}", err=True)
        return _BAD_INPUT if isinstance(error, (ValueError, OSError)) else _FAILED
    return result if isinstance(result, int) else 0


def _is_for_the_user(error: Exception) -> bool:
    """Own errors carry a sentence, and so do the system's; anything else is a bug to be seen."""
    own = type(error).__module__.split(".")[0] in ("datagen", "eqmm_ase")
    return own or isinstance(error, OSError)


def _missing_module(error: ModuleNotFoundError) -> str:
    extra = "sampling" if error.name in ("openmm", "rdkit") else "datagen"
    return f"error: {error}; pip install 'eqmm[{extra}]' brings what this command needs"
