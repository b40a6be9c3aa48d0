"""``eqmm-datagen split``: training and test set by trajectory."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.datasets import split as splitting
from eqmm_ase.command_line import refuse_idle


@click.command(context_settings={"show_default": True})
@click.argument("labels", type=click.Path(path_type=Path))
@click.option(
    "--hold-out",
    "hold_out",
    multiple=True,
    metavar="TRAJECTORY",
    help="Goes to the test set; may be given several times.",
)
@click.option("--fraction", type=float, help="Hold out random trajectories with so many frames.")
@click.option("--seed", default=1, help="Of the random choice.")
@click.option("--train", default="train.h5", type=click.Path(path_type=Path), help="To write.")
@click.option("--test", default="test.h5", type=click.Path(path_type=Path), help="To write.")
@click.pass_context
def split(
    context: click.Context,
    labels: Path,
    hold_out: tuple[str, ...],
    fraction: float | None,
    seed: int,
    train: Path,
    test: Path,
) -> None:
    """Split LABELS by trajectory: frames of one are too alike to test each other.

    Say which trajectories to hold out, or which fraction of the frames.
    """
    if bool(hold_out) == (fraction is not None):
        raise click.UsageError("give either --hold-out or --fraction")
    if hold_out:
        refuse_idle(context, ["seed"], "--hold-out, which leaves nothing to chance")
    held = list(hold_out) or splitting.choose_sources(labels, fraction or 0.0, seed)
    n_train, n_test = splitting.split(
        labels, held, train, test, lambda sentence: click.echo(sentence, err=True)
    )
    click.echo(f"{train}: {n_train} frames; {test}: {n_test} frames of {', '.join(held)}")
