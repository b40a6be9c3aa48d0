"""Run a campaign as the settings in its folder say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from datagen.campaigns.campaign import Campaign
from datagen.campaigns.config import FILE_NAME, ExecutorConfig, load_campaign_config
from datagen.campaigns.progress import Progress, Summary
from datagen.errors import CampaignError
from datagen.processes.executors import CallExecutor, LocalProcesses, cores
from eqmm_ase.files.dataset_file import read_frames


def run_campaign(
    folder: Path,
    overrides: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Begin a campaign, or go on with it, until every frame is done or failed.

    Parameters
    ----------
    folder
        Has the settings (`datagen.campaigns.config`), the frames of an earlier run, or both.
    overrides
        Settings of the form ``section.key=value`` that go before the file.
    on_progress
        Called at the start and after every frame.

    Returns
    -------
    Summary
        Where all frames of the campaign stand.

    Raises
    ------
    ConfigError, MethodError
        When the settings make no sense.
    CampaignError, DiskFullError, OSError
        As `Campaign` says.
    """
    config, method = load_campaign_config(folder, overrides)
    if method is None and not (folder / "ledger.sqlite").is_file():
        raise CampaignError(
            f"there is no campaign in {folder}: begin it with a file {FILE_NAME} that names "
            "frames and a method"
        )
    frames = [frame for name in config.frames for frame in read_frames(folder / name)]
    with Campaign(folder, method) as campaign:
        campaign.add(frames)
        campaign.check_results()
        if campaign.summary().waiting:
            with open_executor(config.executor, folder) as executor:
                campaign.run(executor, on_progress=on_progress)
        return campaign.summary()


def open_executor(config: ExecutorConfig, folder: Path) -> CallExecutor:
    """Start the workers that the settings name.

    Raises
    ------
    CampaignError, OSError
        When they cannot be started.
    """
    slots = config.workers or cores()
    if config.parsl_config is None:
        return LocalProcesses(slots, config.limits)
    from datagen.campaigns.parsl import ParslWorkers

    return ParslWorkers(folder / config.parsl_config, slots, config.limits, folder / "parsl")
