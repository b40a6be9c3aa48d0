"""Settings that others leave without any effect: refused, since nobody would see it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.settings_reader import ConfigError

if TYPE_CHECKING:
    from eqmm_ase.training.config import TrainConfig
    from eqmm_ase.training.loss import LossWeights

_Condition = Callable[["TrainConfig"], bool]


def _blind(config: TrainConfig) -> bool:
    return not config.model.polarisable


def _has_files(config: TrainConfig) -> bool:
    return bool(config.data.validation)


def _unvalidated(config: TrainConfig) -> bool:
    return not config.data.validation and config.data.validation_fraction == 0.0


def _baseline(config: TrainConfig) -> bool:
    return config.data.baseline


_OF_BASELINE = "data.baseline, since differences of two methods have neither charges nor dipole"
_IDLE: Mapping[str, tuple[tuple[_Condition, str], ...]] = {
    "data.validation_fraction": ((_has_files, "data.validation, which names files for that"),),
    "data.charges": ((_baseline, _OF_BASELINE),),
    **{
        f"loss.{name}": ((_baseline, _OF_BASELINE),)
        for name, quantity in QUANTITIES.items()
        if not quantity.of_difference
    },
    "model.near_cutoff": (
        (lambda c: c.model.n_near == 0, "model.n_near=0, which leaves the near-field kernels out"),
        (_blind, "model.polarisable=false, since only polarisation has near-field kernels"),
    ),
    "model.n_near": (
        (_blind, "model.polarisable=false, since only polarisation has near-field kernels"),
    ),
    "model.l_expansion": (
        (
            lambda c: _blind(c) and not c.model.multipoles,
            "model.polarisable=false and model.multipoles=false: charges see the potential alone",
        ),
    ),
    "training.patience": (
        (_unvalidated, "data.validation_fraction=0, since there is nothing to become better"),
    ),
}
"""Setting → when it has no effect, and what it then stands beside."""


def refuse_idle(config: TrainConfig, defaults: TrainConfig) -> None:
    """Refuse settings that differ from the defaults although nothing depends on them.

    Raises
    ------
    ConfigError
        Names the setting, its value, and why it has no effect.
    """
    for name, cases in _IDLE.items():
        section, key = name.split(".")
        value, usual = (getattr(getattr(c, section), key) for c in (config, defaults))
        for condition, beside in cases:
            if value != usual and condition(config):
                raise ConfigError(
                    f"setting {name} is {value}, but it has no effect beside {beside}; leave one "
                    "of them out"
                )
    _refuse_long_warmup(config, defaults)


def notes(config: TrainConfig, n_training: int, rounds: int, steps_per_round: int) -> list[str]:
    """What cannot be done with the data as it was asked for, a sentence each.

    Parameters
    ----------
    config
        What was asked for.
    n_training
        Training frames.
    rounds, steps_per_round
        What the training does.
    """
    wanted, found = config.training, []
    as_asked = rounds * steps_per_round == wanted.max_steps and (
        rounds == 1 or steps_per_round == wanted.validate_every
    )
    if not as_asked:
        found.append(f"{rounds} rounds of {steps_per_round} steps, since rounds are equally long")
    if wanted.batch_size > n_training:
        found.append(
            f"training.batch_size is {wanted.batch_size}, but there are only {n_training} "
            "training frames; a batch holds all of them"
        )
    return found


def unlabelled(wanted: LossWeights, learned: LossWeights) -> list[str]:
    """Quantities whose weight in the loss has no effect, since no frame is labelled with them.

    Parameters
    ----------
    wanted
        Of the settings.
    learned
        Of the loss that was fitted to the data.
    """
    return [
        name for name, weight in asdict(wanted).items() if weight and not getattr(learned, name)
    ]


def _refuse_long_warmup(config: TrainConfig, defaults: TrainConfig) -> None:
    steps, longest = config.optimizer.warmup_steps, config.training.max_steps // 10
    if steps != defaults.optimizer.warmup_steps and steps > longest:
        raise ConfigError(
            f"setting optimizer.warmup_steps is {steps}; expected at most {longest}, a tenth of "
            "training.max_steps: a training must not spend itself on warming up"
        )
