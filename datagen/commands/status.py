"""``eqmm-datagen status``: how far a campaign is, and what its labels look like."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.campaigns.frame_warnings import listing, warned_in_campaign, warned_in_dataset
from datagen.campaigns.status import Status
from eqmm_ase.atomic_write import refuse_unwritable
from eqmm_ase.simulation.coordinate import Coordinate


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--coordinate",
    metavar="d(i,j)-d(k,l)",
    help="Tell how labels cover this sum of distances between QM atoms, counted from 0.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG file for histograms of energies, forces, QM–MM distances and the coordinate.",
)
@click.option(
    "--warnings", is_flag=True, help="List the frames that carry a warning, and what it says."
)
def status(campaign: Path, coordinate: str | None, plot: Path | None, warnings: bool) -> None:
    """Show where the frames of the folder CAMPAIGN stand, at what pace, and what failed and why.

    The campaign may be running; it is not changed. With --warnings, CAMPAIGN may also be a dataset
    file, labelled or not.
    """
    if campaign.is_file():
        _of_dataset(campaign, warnings and coordinate is None and plot is None)
        return
    parsed = Coordinate.parse(coordinate) if coordinate else None
    if plot is not None:
        refuse_unwritable(plot)
    now = Status.read(campaign)
    click.echo(f"{campaign}")
    for line in now.lines():
        click.echo(f"  {line}")
    if warnings:
        for line in listing(warned_in_campaign(campaign), now.summary.done):
            click.echo(f"  {line}")
    if parsed is None and plot is None:
        return
    from datagen.campaigns.statistics import coverage, gather

    statistics = gather(campaign, parsed)
    if parsed is not None and len(statistics.labelled):
        click.echo(f"  covered    {parsed.text}: {coverage(statistics.labelled)}")
    if plot is not None:
        from datagen.campaigns.campaign_plot import plot_statistics

        plot_statistics(statistics, plot, str(campaign), parsed.text if parsed else "")
        click.echo(f"  picture    {plot}")


def _of_dataset(path: Path, asked_for_warnings: bool) -> None:
    if not asked_for_warnings:
        raise click.UsageError(
            f"{path} is a file; of a dataset, `status` lists frames with --warnings, and nothing "
            "else; `eqmm info` describes it"
        )
    click.echo(f"{path}")
    for line in listing(*warned_in_dataset(path)):
        click.echo(f"  {line}")
