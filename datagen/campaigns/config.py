"""A campaign as the file campaign.yaml in its folder says, and running it.

    frames: [water.h5, methanol.h5]       # beside this file, or absolute
    method: {functional: b3lyp, basis: 6-31g*}
    executor: {name: processes, workers: 8, timeout: 3600, memory_limit: 4}

    executor: {name: gpu, devices: [0, 1]}  # one process on each

Everything may be left out: a campaign that has frames and a method keeps them. Only the method
enters the labels; the executor may be another one each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.campaigns.campaign import Campaign
from datagen.campaigns.gpu import GPUProcesses
from datagen.campaigns.status import Progress, Summary
from datagen.errors import CampaignError
from datagen.labels.method import Method
from datagen.processes.executors import CallExecutor, LocalProcesses, cores
from datagen.processes.guarded_process import Limits, check_limits
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.settings_help import with_help
from eqmm_ase.settings_reader import ConfigError, build, overlay, read_yaml

FILE_NAME = "campaign.yaml"


@with_help
@dataclass(frozen=True)
class ExecutorConfig:
    """Where frames are computed."""

    name: str = "processes"
    """`processes` on this machine, `gpu` for its GPUs, `parsl` for a cluster, `parsl-gpu` for the
    GPUs of one."""

    workers: int | None = None
    """Frames computed at a time; by default as many as this machine has cores. With Parsl, as many
    frames as are handed to it at a time: the cores of all its blocks, or their GPUs."""

    devices: tuple[int, ...] | None = None
    """GPUs of this machine, one process on each, counted from 0; null for all that
    `CUDA_VISIBLE_DEVICES` names, or the first where it is not set."""

    timeout: float | None = None
    """Longest time for a frame, s; null for no limit."""

    memory_limit: float | None = None
    """Largest memory of a worker, GB; null for no limit."""

    parsl_config: str | None = None
    """Python file that defines `config`, a `parsl.Config`."""

    def __post_init__(self) -> None:
        if self.name not in EXECUTORS:
            raise ConfigError(
                f"setting executor.name is {self.name!r}; expected one of {', '.join(EXECUTORS)}"
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"setting executor.workers is {self.workers}; expected at least 1")
        if (self.parsl_config is None) == self.name.startswith("parsl"):
            raise ConfigError(
                f"executor {self.name} with executor.parsl_config = {self.parsl_config!r}; "
                "the executors parsl and parsl-gpu need that file, and no other has a use for it"
            )
        self._check_devices()
        check_limits(self.timeout, self.memory_limit)

    def _check_devices(self) -> None:
        if self.name == "gpu" and self.workers is not None:
            raise ConfigError(
                f"executor gpu with executor.workers = {self.workers}; it has one process on each "
                "of executor.devices: set those"
            )
        if self.devices is None:
            return
        if self.name != "gpu":
            raise ConfigError(
                f"executor {self.name} with executor.devices = {list(self.devices)}; "
                "only the executor gpu has a use for them"
            )
        if not self.devices or min(self.devices) < 0 or len(set(self.devices)) < len(self.devices):
            raise ConfigError(
                f"setting executor.devices is {list(self.devices)}; expected numbers from 0, each "
                "once"
            )

    @property
    def limits(self) -> Limits:
        """What a frame may take."""
        return Limits(timeout=self.timeout, memory=self.memory_limit)


@with_help
@dataclass(frozen=True)
class CampaignConfig:
    """All settings of a campaign."""

    frames: tuple[str, ...] = ()
    """Dataset files with frames to label, relative to the campaign folder."""

    method: Method = field(default_factory=Method)
    """The level of theory."""

    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    """Where frames are computed."""


def load_campaign_config(
    folder: Path, overrides: Sequence[str] = ()
) -> tuple[CampaignConfig, Method | None]:
    """Read the settings of a campaign folder.

    Parameters
    ----------
    folder
        Need not have a file of settings.
    overrides
        Of the form ``section.key=value``; they go before the file.

    Returns
    -------
    The settings, and their method, or None when they name none.

    Raises
    ------
    ConfigError
        For an unknown key (with the nearest known one), a wrong type or an impossible value.
    MethodError, CampaignError
        For a method or limits that make no sense.
    """
    path = folder / FILE_NAME
    values: dict[str, Any] = read_yaml(path) if path.is_file() else {}
    for override in overrides:
        overlay(values, override)
    config = build(CampaignConfig(), values)
    return config, config.method if "method" in values else None


def run_campaign(
    folder: Path,
    overrides: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Begin a campaign, or go on with it, until every frame is done or failed.

    Parameters
    ----------
    folder
        Has the settings, the frames of an earlier run, or both.
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
    DeviceError, DeviceDisagreementError
        When there is no GPU, or its labels are not those of the CPU.
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
    CampaignError, DeviceError, OSError
        When they cannot be started.
    """
    return EXECUTORS[config.name](config, folder, config.workers or cores())


def _processes(config: ExecutorConfig, _folder: Path, slots: int) -> CallExecutor:
    return LocalProcesses(slots, config.limits)


def _gpu(config: ExecutorConfig, _folder: Path, _slots: int) -> CallExecutor:
    return GPUProcesses(config.devices, config.limits)


def _parsl(config: ExecutorConfig, folder: Path, slots: int) -> CallExecutor:
    from datagen.campaigns.parsl import ParslWorkers

    assert config.parsl_config is not None
    return ParslWorkers(folder / config.parsl_config, slots, config.limits, folder / "parsl")


def _parsl_gpu(config: ExecutorConfig, folder: Path, slots: int) -> CallExecutor:
    executor = _parsl(config, folder, slots)
    executor.device = "gpu"
    return executor


EXECUTORS: Mapping[str, Callable[[ExecutorConfig, Path, int], CallExecutor]] = {
    "processes": _processes,
    "gpu": _gpu,
    "parsl": _parsl,
    "parsl-gpu": _parsl_gpu,
}
"""Name → what starts it, from its settings, the campaign's folder and the frames at a time."""
