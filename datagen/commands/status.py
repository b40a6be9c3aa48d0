"""``eqmm-datagen status``: how far a campaign is, and what its labels look like."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.campaign_status import Status
from eqmm_ase.atomic_write import refuse_unwritable
from eqmm_ase.coordinate import Coordinate


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True, file_okay=False))
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
def status(campaign: Path, coordinate: str | None, plot: Path | None) -> None:
    """Show where the frames of the folder CAMPAIGN stand, at what pace, and what failed and why.

    The campaign may be running; it is not changed.
    """
    parsed = Coordinate.parse(coordinate) if coordinate else None
    if plot is not None:
        refuse_unwritable(plot)
    now = Status.read(campaign)
    click.echo(f"{campaign}")
    for line in now.lines():
        click.echo(f"  {line}")
    if parsed is None and plot is None:
        return
    from datagen.campaign_statistics import coverage, gather

    statistics = gather(campaign, parsed)
    if parsed is not None and len(statistics.labelled):
        click.echo(f"  covered    {parsed.text}: {coverage(statistics.labelled)}")
    if plot is not None:
        from datagen.campaign_plot import plot_statistics

        plot_statistics(statistics, plot, str(campaign), parsed.text if parsed else "")
        click.echo(f"  picture    {plot}")
