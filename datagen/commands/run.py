"""``eqmm-datagen run``: a campaign folder, as its settings say."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.campaigns.config import run_campaign
from datagen.commands.campaign_output import ShownProgress, show_summary


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("settings", nargs=-1)
def run(campaign: Path, settings: tuple[str, ...]) -> int:
    """Compute what waits in the folder CAMPAIGN; begin it if it is new.

    A new campaign needs a file campaign.yaml in the folder that names frames and a method:

    \b
    frames: [water.h5, methanol.h5]
    method: {functional: b3lyp, basis: 6-31g*}
    executor: {name: processes, workers: 8, timeout: 3600, memory_limit: 4}

    SETTINGS of the form executor.workers=2 go before that file. A run that was interrupted in any
    way goes on when the command is given again; frames that are done are not computed again. Exit
    code 1 says that a frame failed: `eqmm-datagen status` shows why, `eqmm-datagen retry` sends
    it back.
    """  # noqa: D301 - click needs the backspace itself
    with ShownProgress() as shown:
        summary = run_campaign(campaign, settings, shown.update)
    show_summary(summary, str(campaign), campaign)
    return 0 if summary.done == summary.total else 1
