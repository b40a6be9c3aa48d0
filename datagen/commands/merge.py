"""``eqmm-datagen merge``: several datasets of one method as one."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.commands.options import output_option, refuse_existing
from datagen.datasets import merge as merging


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option("Dataset file to write.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="The same frames labelled by a cheaper method, to learn the difference from.",
)
def merge(datasets: tuple[Path, ...], output: Path, overwrite: bool, baseline: Path | None) -> None:
    """Put the frames of DATASETS into one file, each of them once.

    Labels must have been made in the same way: the same functional, basis set, thresholds and
    program. Which charges there are and where the frames come from may differ. Of a frame that
    occurs again everything that any of the files knows is kept, unless they contradict each other.
    """
    refuse_existing(output, overwrite)
    written, again = merging.merge(datasets, output, baseline, click.echo)
    click.echo(f"{output}: {written} frames; {again} that occur again left out")
