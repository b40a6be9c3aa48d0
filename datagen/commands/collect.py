"""``eqmm-datagen collect``: the labels of a campaign as one dataset."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.campaigns.collect import collect_campaign
from datagen.commands.options import output_option, refuse_existing
from datagen.errors import CampaignError


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True, file_okay=False))
@output_option("Dataset file to write.")
def collect(campaign: Path, output: Path, overwrite: bool) -> None:
    """Write all frames of the folder CAMPAIGN that are done into one dataset file.

    The campaign may be running; it is not changed.
    """
    refuse_existing(output, overwrite)
    count = collect_campaign(campaign, output)
    if not count:
        raise CampaignError(f"no frame of {campaign} is done; there is nothing to write")
    click.echo(f"{output}: {count} labelled frames")
