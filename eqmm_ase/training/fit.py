"""Fit one model to data, by Lightning's loop.

What Lightning calls an epoch is here a round: a fixed number of steps, then a validation and a
checkpoint. Passes over the data do not matter, so large and small datasets are treated alike and a
killed training repeats at most one round.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from eqmm_ase.data.region_description import describe_regions
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.terminal import say
from eqmm_ase.training.batches import training_batches, validation_batches
from eqmm_ase.training.callbacks import History, OutlierReport, ProgressReport
from eqmm_ase.training.config import ConfigError, TrainConfig
from eqmm_ase.training.data import TrainingData
from eqmm_ase.training.fine_tuning import Start
from eqmm_ase.training.folder import AtomicCheckpoints, TrainingFolder
from eqmm_ase.training.idle_settings import notes, unlabelled
from eqmm_ase.training.learner import Learner, TrainingError
from eqmm_ase.training.loss import Loss
from eqmm_ase.training.scales import fit_statistics


def fit(
    data: TrainingData,
    config: TrainConfig,
    folder: TrainingFolder,
    console: Console,
    origin: Start | None = None,
    *,
    restart: bool = False,
) -> Learner:
    """Train one model on data that are loaded, or go on with it.

    Parameters
    ----------
    data
        The seed of `config` does not touch how they are split.
    config
        With the elements of the data.
    folder
        Where the state is kept.
    origin
        The model to start from.

    Returns
    -------
    Learner
        With the best weights.

    Raises
    ------
    ConfigError
        For patience without validation frames.
    """
    if config.training.patience is not None and not len(data.validation):
        raise ConfigError(
            f"setting training.patience is {config.training.patience}, but there are no "
            "validation frames on which anything could become better"
        )
    if is_first_process():
        sources = data.content_hash + (origin.sha256 if origin else "")
        checkpoint = folder.prepare(config, sources, restart=restart)
    else:
        checkpoint = None if restart else folder.last_checkpoint

    rounds, steps_per_round = rounds_of(config)
    lightning.seed_everything(config.training.seed, verbose=False)
    learner = _learner(config, data, rounds * steps_per_round, origin)
    _announce(console, data, learner, checkpoint)
    for note in notes(config, len(data.training), rounds, steps_per_round):
        say(console, f"note: {note}")
    with _quiet_lightning(), _interrupts():
        trainer = _trainer(config, data, folder, console, rounds, steps_per_round)
        trainer.fit(
            learner,
            training_batches(config, data, steps_per_round, trainer),
            validation_batches(config, data, trainer),
            ckpt_path=checkpoint,
        )
    if trainer.is_global_zero and learner.best["weights"] is None:
        learner.keep(float("nan"))
    return learner


def is_first_process() -> bool:
    """Whether this is the process that reports and writes, of those that train together."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0


def rounds_of(config: TrainConfig) -> tuple[int, int]:
    """Rounds, and steps per round; all rounds are equally long, and no step is added."""
    wanted = config.training.max_steps
    rounds = max(-(-wanted // config.training.validate_every), 1)
    return rounds, wanted // rounds


def _learner(
    config: TrainConfig, data: TrainingData, total_steps: int, origin: Start | None
) -> Learner:
    model = _first_model(config, data, origin)
    if config.training.dtype == "float64":
        model.double()
    n_frames = len(data.training)
    loss = Loss.fit(config.loss, (data.training[i] for i in range(n_frames)))
    return Learner(model, loss, config, total_steps, data.training.media, data.training.frame_ids)


def _first_model(config: TrainConfig, data: TrainingData, origin: Start | None) -> MultiscaleModel:
    if origin:
        return origin.model_for(data.training_frames, config.model.elements)
    model = MultiscaleModel(config.model)
    shape = config.model
    statistics = fit_statistics(data.training_frames, shape.l_expansion, shape.cutoff)
    model.set_statistics(*statistics)
    return model


def _trainer(
    config: TrainConfig,
    data: TrainingData,
    folder: TrainingFolder,
    console: Console,
    rounds: int,
    steps_per_round: int,
) -> lightning.Trainer:
    history = History(folder.history)
    callbacks: list[Callback] = [
        history,
        ProgressReport(console, history, rounds * steps_per_round),
        OutlierReport(console, folder.outliers, data.training.frame_ids),
        ModelCheckpoint(
            folder.path,
            folder.checkpoint.stem,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
    ]
    if config.training.patience is not None:
        callbacks.append(
            EarlyStopping("validation_loss", patience=config.training.patience, strict=False)
        )
    return lightning.Trainer(
        accelerator=config.hardware.accelerator,
        devices=config.hardware.devices,
        num_nodes=config.hardware.num_nodes,
        strategy=config.hardware.strategy,
        max_epochs=rounds,
        gradient_clip_val=config.optimizer.gradient_clip or None,
        logger=_tensorboard(folder) if config.hardware.tensorboard else False,
        log_every_n_steps=min(50, steps_per_round),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,  # validation differentiates too
        default_root_dir=folder.path,
    )


def _tensorboard(folder: TrainingFolder) -> TensorBoardLogger:
    try:
        return TensorBoardLogger(folder.path, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "setting hardware.tensorboard needs TensorBoard; pip install 'eqmm[tensorboard]'"
        ) from error


def _announce(
    console: Console, data: TrainingData, learner: Learner, checkpoint: Path | None
) -> None:
    n_parameters = sum(p.numel() for p in learner.model.parameters())
    missing = ", ".join(unlabelled(learner.config.loss, learner.loss.weights))
    say(console, f"QM region: {describe_regions(data.training_frames)}")
    say(
        console,
        f"{len(data.training)} training and {len(data.validation)} validation frames "
        f"({data.how_split}), charges: {data.charge_scheme or 'none'}, "
        f"{n_parameters} parameters{f'; not labelled: {missing}' if missing else ''}",
    )
    if checkpoint is not None:
        say(console, f"going on from {checkpoint}")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and advice off the screen, and nothing else."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in _ADVICE:
            warnings.filterwarnings("ignore", advice)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_ADVICE = (
    # Frames are tensors already: worker processes would only copy them around.
    ".*does not have many workers",
    # The folder holds the checkpoint that is being resumed from.
    "Checkpoint directory .* exists and is not empty",
    # Training on all frames is what data.validation_fraction=0 asks for.
    "You defined a `validation_step` but have no `val_dataloader`",
    # About the speed of copying gradients between processes.
    "Grad strides do not match bucket view strides",
    # Lightning's use of torch, not ours.
    ".*LeafSpec.* is deprecated",
)


@contextmanager
def _interrupts() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt, and an end by SIGTERM, as batch systems send it, an error.

    Lightning would exit with status 1 for the former and, as if all were done, 0 for the latter.
    """
    try:
        yield
    except SIGTERMException as stopped:
        raise TrainingError(
            "the training was ended by SIGTERM before it was done; the same command goes on with it"
        ) from stopped
    except SystemExit as stopped:
        if isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stopped
        raise
