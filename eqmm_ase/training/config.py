"""Settings of a training: defaults, a YAML file, `section.key=value` overrides; validated once.

What is wrong is refused with one sentence; an unknown key with the nearest one that exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from eqmm_ase.network.model import ModelConfig
from eqmm_ase.settings_help import commented_yaml, with_help
from eqmm_ase.settings_reader import ConfigError, build, overlay, read_yaml
from eqmm_ase.training.idle_settings import refuse_idle
from eqmm_ase.training.loss import LossWeights

__all__ = ["ConfigError", "TrainConfig", "config_from_dict", "load_config"]

_DERIVED = ("model.elements", "model.neutral")
"""Follow from the data and from data.baseline; another value is refused."""


@with_help
@dataclass(frozen=True)
class DataConfig:
    """What to train and validate on."""

    charges: str | None = None
    """Charge scheme; null takes the best one that the data have."""
    validation: tuple[str, ...] = ()
    """Dataset files to validate on; empty: a part of the training files."""
    validation_fraction: float = 0.1
    """Share of the frames, 0 to 0.9, to validate on: whole trajectories where there are at least
    three; 0 for none."""
    baseline: bool = False
    """Learn the difference from the baseline that the data hold (delta-learning)."""


@with_help
@dataclass(frozen=True)
class OptimizerConfig:
    """Muon for matrices, AdamW for other weights; warm-up and a cosine that ends at zero."""

    learning_rate: float = 5e-3
    """Highest learning rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW)."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises from zero; no more than a tenth of max_steps."""
    gradient_clip: float = 2.0
    """Largest norm of the gradient; 0 for no limit."""
    ema_decay: float = 0.99
    """Decay, per step, of the moving average of the weights that is validated and saved; 0 for
    none."""


@with_help
@dataclass(frozen=True)
class TrainingConfig:
    """How long to train, in steps and not in passes over the data, and how to look after it."""

    batch_size: int = 3
    """Frames per step and device; all frames where there are fewer."""
    max_steps: int = 10000
    """Steps until the learning rate is zero."""
    max_minutes: float | None = None
    """Minutes after which the training ends at the latest; the learning rate then falls with the
    time. null: no limit."""
    validate_every: int = 500
    """Steps between validations, each of which writes a checkpoint; rounded down so that max_steps
    is a multiple."""
    patience: int | None = None
    """Stop after this many validations without a better one; null: run to the end."""
    seed: int = 0
    """Seed of the first weights, the validation split and the order of the frames."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating-point precision of the network."""


@with_help
@dataclass(frozen=True)
class HardwareConfig:
    """Where to run; the words are Lightning's."""

    accelerator: str = "auto"
    """Kind of device: auto, cpu, gpu, …"""
    devices: int = 1
    """Devices per node; batches are per device."""
    num_nodes: int = 1
    """Machines that train together."""
    strategy: str = "auto"
    """How devices train together: auto, ddp, …"""
    tensorboard: bool = False
    """Write TensorBoard logs beside the CSV table."""


@with_help
@dataclass(frozen=True)
class TrainConfig:
    """All settings of `eqmm train`."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=lambda: ModelConfig(elements=()))
    loss: LossWeights = field(default_factory=LossWeights)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            section, key = name.split(".")
            value = getattr(getattr(self, section), key)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"setting {name} is {value}; expected {_range(low, high)}")
        if not any(asdict(self.loss).values()):
            raise ConfigError("all weights in section loss are 0; at least one must be positive")
        if self.data.baseline and self.model.long_range:
            raise ConfigError(
                "data.baseline and model.long_range are both set; what distant atoms do to each "
                "other is no difference of multipoles, so leave one of them out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a YAML file holds them."""
        return _plain(asdict(self))

    def to_yaml(self, defaults: TrainConfig | None = None) -> str:
        """Render as YAML text that `load_config` reads back, with the meaning of each setting.

        Parameters
        ----------
        defaults
            What is called the default of each; those of `TrainConfig` when None.
        """
        return commented_yaml(self, defaults or TrainConfig(), _DERIVED)

    def with_derived(self) -> TrainConfig:
        """With what follows from other settings: ``model.neutral`` from ``data.baseline``.

        Raises
        ------
        ConfigError
            When it was set to something else.
        """
        if self.model.neutral and not self.data.baseline:
            raise ConfigError(_contradiction(self.model.neutral, self.data.baseline))
        return replace(self, model=replace(self.model, neutral=self.data.baseline))


_INFINITE = float("inf")
_RANGES: Mapping[str, tuple[float, float]] = {
    "data.validation_fraction": (0, 0.9),
    "model.cutoff": (0.5, 50),
    "model.l_expansion": (0, 4),
    "model.l_hidden": (1, 4),
    "model.channels": (1, 4096),
    "model.n_layers": (1, 20),
    "model.n_radial": (1, 256),
    "model.near_cutoff": (0.5, 50),
    "model.n_near": (0, 256),
    "model.hidden": (1, 4096),
    **{f"loss.{f.name}": (0, _INFINITE) for f in fields(LossWeights)},
    "optimizer.learning_rate": (1e-12, 10),
    "optimizer.weight_decay": (0, 10),
    "optimizer.warmup_steps": (0, _INFINITE),
    "optimizer.gradient_clip": (0, _INFINITE),
    "optimizer.ema_decay": (0, 0.999999),
    "training.batch_size": (1, _INFINITE),
    "training.max_steps": (1, _INFINITE),
    "training.max_minutes": (1e-3, _INFINITE),
    "training.validate_every": (1, _INFINITE),
    "training.patience": (1, _INFINITE),
    "training.seed": (0, 2**32 - 1),
    "hardware.devices": (1, _INFINITE),
    "hardware.num_nodes": (1, _INFINITE),
}


def load_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    defaults: TrainConfig | None = None,
) -> TrainConfig:
    """Settings of a training: the defaults, overlaid by a YAML file, overlaid by overrides.

    Parameters
    ----------
    path
        A YAML file with some of the sections; None for none.
    overrides
        Of the form ``section.key=value``, the value in YAML.
    defaults
        Other defaults than those of `TrainConfig`.

    Returns
    -------
    TrainConfig
        Complete and checked.

    Raises
    ------
    ConfigError
        An unknown key, a wrong type, a value out of range, text that is not YAML, or a setting that
        cannot have an effect beside others.
    FileNotFoundError
        When there is no such file.
    """
    values = {} if path is None else read_yaml(Path(path))
    for override in overrides:
        overlay(values, override)
    defaults = defaults or TrainConfig()
    config = build(defaults, values)
    given = values.get("model", {}).get("neutral")
    if given is not None and given != config.data.baseline:
        raise ConfigError(_contradiction(given, config.data.baseline))
    refuse_idle(config, defaults)
    return replace(config, model=replace(config.model, neutral=config.data.baseline))


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Settings of a training from nested plain values; what is missing keeps its default.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    return build(TrainConfig(), values)


def _contradiction(neutral: bool, baseline: bool) -> str:
    return (
        f"setting model.neutral is {neutral} and data.baseline is {baseline}; the former follows "
        "from the latter, so leave it out"
    )


def _range(low: float, high: float) -> str:
    return f"at least {low:g}" if high == _INFINITE else f"{low:g} to {high:g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
