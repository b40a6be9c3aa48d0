"""The command ``eqmm-datagen``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from eqmm_ase.command_line import lazy_group, run

_COMMANDS = {
    "path": "Make geometries along a reaction coordinate.",
    "solvate": "Put given geometries into solvent that relaxes around them.",
    "sample": "Put a molecule into solvent and cut frames out of molecular dynamics.",
    "cut": "Cut frames out of the trajectories of your own simulation.",
    "label": "Compute the reference labels of frames with PySCF.",
    "run": "Compute what waits in a campaign folder, as its settings say.",
    "status": "Show how far a campaign is, what failed, and what its labels look like.",
    "retry": "Send failed frames of a campaign back.",
    "collect": "Write the labels of a campaign into one dataset.",
    "learn": "Let a committee find, label and learn what it does not know, in rounds.",
    "split": "Split a dataset by trajectory into training and test set.",
    "merge": "Put datasets of one method into one, without doubles.",
    "export": "Write a dataset as extended XYZ, ASE database or NumPy archive.",
    "import": "Make a dataset of extended XYZ or of ORCA's QM/MM files.",
}
_Group = lazy_group("datagen.commands", _COMMANDS)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eqmm")
@click.option("--traceback", is_flag=True, help="Show where an error arose, for bug reports.")
def cli(traceback: bool) -> None:
    """Make reference data for EqMM: sample molecules in solvent, then label the frames.

    \b
    eqmm-datagen sample CO -o frames.h5 --solvent water --frames 150
    eqmm-datagen label frames.h5 -o labels.h5 --functional b3lyp --basis '6-31g*'

    Long campaigns live in a folder with a file campaign.yaml:

    \b
    eqmm-datagen run FOLDER
    eqmm-datagen status FOLDER --plot labels.png
    eqmm-datagen retry FOLDER --reason SCFNotConvergedError
    eqmm-datagen collect FOLDER -o labels.h5
    """  # noqa: D301 - click needs the backspace itself


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(cli, "eqmm-datagen", arguments))
