"""Which frames a step of training sees, and a process of a validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, Subset

from eqmm_ase.network.batch import Batch, collate
from eqmm_ase.training.config import TrainConfig
from eqmm_ase.training.data import TrainingData


class RoundSampler(Sampler[list[int]]):
    """Batches of one round of training, a pure function of the seed and the step.

    The data are gone through again and again, shuffled anew each time, and cut into rounds of a
    fixed number of steps, however many frames there are. Because nothing depends on what was
    drawn before, training that is resumed sees the same batches as training that ran through.
    Frames that do not fill a last batch wait for the next shuffling.

    Parameters
    ----------
    n_frames
        Frames to draw from.
    batch_size
        Frames per batch and process; all frames where there are fewer.
    steps_per_round
        Length of a round.
    seed
        Of the shuffling.
    first_step
        Tells how many steps were taken before the round that begins. Asked and not counted here:
        the trainer may begin a round in the middle of a training.
    rank, world_size
        This process among those that train together; each takes its own part of the permutation.
    """

    def __init__(
        self,
        n_frames: int,
        batch_size: int,
        steps_per_round: int,
        seed: int,
        first_step: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size = min(batch_size, max(n_frames // world_size, 1))
        self.n_frames, self.seed = n_frames, seed
        self.steps_per_round = steps_per_round
        self.rank, self.world_size = rank, world_size
        self.first_step = first_step

    def __len__(self) -> int:
        return self.steps_per_round

    def __iter__(self) -> Iterator[list[int]]:
        first = self.first_step()
        return (self.batch(step) for step in range(first, first + self.steps_per_round))

    def batch(self, step: int) -> list[int]:
        """Frame numbers of the batch of a step."""
        per_step = self.batch_size * self.world_size
        per_pass = max(self.n_frames // per_step, 1)
        shuffled = _permutation(self.seed, step // per_pass, self.n_frames)
        first = (step % per_pass) * per_step + self.rank * self.batch_size
        return [int(i) for i in shuffled[first : first + self.batch_size]]


@lru_cache(maxsize=2)
def _permutation(seed: int, number: int, n_frames: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(n_frames)


def training_batches(
    config: TrainConfig,
    data: TrainingData,
    steps_per_round: int,
    trainer: lightning.Trainer,
) -> DataLoader[Batch]:
    """Batches of the training frames, a round at a time, for this process of a trainer."""
    sampler = RoundSampler(
        len(data.training),
        config.training.batch_size,
        steps_per_round,
        config.training.seed,
        lambda: trainer.global_step,
        trainer.global_rank,
        trainer.world_size,
    )
    return _loader(data.training, sampler)


def validation_batches(
    config: TrainConfig, data: TrainingData, trainer: lightning.Trainer
) -> DataLoader[Batch] | None:
    """Batches of this process's part of the validation frames; None where there are none."""
    if not len(data.validation):
        return None
    own = range(trainer.global_rank, len(data.validation), trainer.world_size)
    if len(data.validation) < trainer.world_size:
        # A process without batches would not take part in merging the sums.
        own = range(len(data.validation))
    size = config.training.batch_size
    batches = [list(range(i, min(i + size, len(own)))) for i in range(0, len(own), size)]
    return _loader(Subset(data.validation, own), batches)


def _loader(dataset: Any, batches: Any) -> DataLoader[Batch]:
    # Its own generator: a loader draws a number from the global one whenever it starts.
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, generator=torch.Generator()
    )
