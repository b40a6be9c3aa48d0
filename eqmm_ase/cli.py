"""The command ``eqmm``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from eqmm_ase.command_line import lazy_group, run

_COMMANDS = {
    "train": "Train a model on labelled frames.",
    "evaluate": "Compare a model with the labels of a dataset.",
    "info": "Describe a model file or a dataset file.",
    "optimize": "Relax a molecule in fixed MM charges or in vacuum.",
    "md": "Run molecular dynamics of a molecule in fixed MM charges or in vacuum.",
    "explore": "Find structures that a committee does not know, to be labelled.",
}
_Group = lazy_group("eqmm_ase.commands", _COMMANDS)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
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
    # Before torch is loaded. The tensors of a QM region are small: on a busy machine a second
    # thread made training seven times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run(cli, "eqmm", arguments))
