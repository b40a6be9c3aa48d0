"""``eqmm-datagen retry``: failed frames of a campaign wait again."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from datagen.campaigns.campaign import Campaign
from datagen.errors import CampaignError


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--reason", help="Only frames that failed for this, as `status` shows it.")
def retry(campaign: Path, reason: str | None) -> None:
    """Send the failed frames of the folder CAMPAIGN back to waiting; `run` computes them again."""
    with Campaign(campaign) as opened:
        reasons = [failure[0] for failure in opened.summary().failures]
        if reason is not None and reason not in reasons:
            raise CampaignError(_no_such_failure(campaign, reason, reasons))
        count = opened.retry_failed(reason=reason)
    click.echo(f"{campaign}: {count} failed frames wait again" if count else "nothing has failed")


def _no_such_failure(campaign: Path, reason: str, reasons: list[str]) -> str:
    if not reasons:
        return f"no frame of {campaign} has failed"
    near = difflib.get_close_matches(reason, reasons, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"the reasons are {', '.join(reasons)}"
    return f"no frame of {campaign} has failed for {reason}; {hint}"
