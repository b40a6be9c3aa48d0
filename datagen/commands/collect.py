"""``eqmm-datagen collect``: the labels of a campaign as one dataset."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.collecting import collect_campaign
from datagen.errors import CampaignError
from eqmm_ase.atomic_write import refuse_unwritable


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Dataset file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
def collect(campaign: Path, output: Path, overwrite: bool) -> None:
    """Write all frames of the folder CAMPAIGN that are done into one dataset file.

    The campaign may be running; it is not changed.
    """
    refuse_unwritable(output)
    if output.exists() and not overwrite:
        raise CampaignError(f"{output} exists already; --overwrite replaces it")
    count = collect_campaign(campaign, output)
    if not count:
        raise CampaignError(f"no frame of {campaign} is done; there is nothing to write")
    click.echo(f"{output}: {count} labelled frames")
