"""What Lightning trains: the model, the moving average of its weights, its loss and its metrics."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eqmm_ase.evaluation.metrics import ALL, ErrorSums, Metrics
from eqmm_ase.network.batch import Batch, collate
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import predict
from eqmm_ase.training.config import TrainConfig
from eqmm_ase.training.loss import Loss, RobustWeights, delta_at
from eqmm_ase.training.muon import MatrixAdamW
from eqmm_ase.training.traced_steps import TracedSteps

log = logging.getLogger(__name__)


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to try."""


class Learner(lightning.LightningModule):
    """Lightning module of one training: steps, averaged weights, validation, resumption.

    Validation sees the moving average of the weights; the best of these averages is what becomes
    the model file.

    Parameters
    ----------
    model
        With its statistics set.
    loss
        Fitted to the training data.
    config
        All settings.
    total_steps
        Steps until the learning rate is zero.
    media, frame_ids
        Names for reports: of the media, and of the training frames.
    """

    training_sample = 60
    """Training frames, at most, on which the loss of the averaged weights is told."""

    def __init__(
        self,
        model: MultiscaleModel,
        loss: Loss,
        config: TrainConfig,
        total_steps: int,
        media: Sequence[str],
        frame_ids: Sequence[str],
    ) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.loss = loss
        self.config = config
        self.total_steps = total_steps
        self.frame_ids = tuple(frame_ids)
        self.metrics: dict[str, Metrics] = {}
        self.last_loss = math.nan
        self.best: dict[str, Any] = {"loss": math.inf, "step": 0, "metrics": {}, "weights": None}
        self._errors = ErrorSums(media)
        self._validation_loss = torch.zeros(2, dtype=torch.float64)
        # Listed once: walking through the modules costs a millisecond a step.
        self._weights = list(model.parameters())
        self._averages = list(self.average.parameters())
        self._steps = TracedSteps(model)
        self._outliers: set[int] = set()
        self._robust, self._validation_robust = RobustWeights(), RobustWeights()
        self.latest: tuple[torch.Tensor, dict[str, torch.Tensor]]
        """Numbers of the frames of the last step, and their errors over the median."""
        self._earlier_seconds = 0.0
        self._started = time.monotonic()
        self._ended: float | None = None

    # --- training ---------------------------------------------------------------------------

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """Loss of a batch; frames whose loss is not a number are named and left out."""
        loss = self._limited_loss(batch)
        if not torch.isfinite(loss):
            loss = self._loss_without_outliers(batch)
        self.last_loss = float(loss.detach())
        if self.trainer.logger is not None:
            self.log("step_loss", self.last_loss)
        return loss

    def backward(self, loss: torch.Tensor, *_: Any, **__: Any) -> None:
        """Differentiate with respect to the weights only: features are leaf tensors too."""
        loss.backward(inputs=self._weights)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step and move the average of the weights along."""
        # Not Lightning's WeightAveraging: its checkpoints put the average in the place of the
        # weights, so that no training begun before could go on, and it needs Lightning 2.5.5.
        decay = averaging_decay(self.config.optimizer.ema_decay, self.global_step)
        super().optimizer_step(*args, **kwargs)
        get_ema_multi_avg_fn(decay)(self._averages, self._weights, self.global_step)

    def configure_optimizers(self) -> Any:
        """Muon for matrices and AdamW for the rest, and the schedule of `rate`."""
        settings = self.config.optimizer
        optimizer = MatrixAdamW(self.model, settings.learning_rate, settings.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def rate(self, step: int) -> float:
        """Learning rate of a step over the highest one: linear warm-up, then a cosine to zero."""
        # A short training must not spend itself on warming up.
        warmup_steps = min(self.config.optimizer.warmup_steps, self.total_steps // 10)
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        return warmup * 0.5 * (1.0 + math.cos(math.pi * self.fraction_done(step)))

    def fraction_done(self, step: int) -> float:
        """Fraction of the budget of steps, or of time where that is scarcer, that is used up."""
        done = step / self.total_steps
        if (minutes := self.config.training.max_minutes) is not None:
            done = max(done, self.seconds / (60.0 * minutes))
        return min(done, 1.0)

    def seconds_left(self) -> float:
        """Seconds until the limit of time ends the training; infinite where there is none."""
        minutes = self.config.training.max_minutes
        return math.inf if minutes is None else 60.0 * minutes - self.seconds

    @property
    def seconds(self) -> float:
        """Wall time that this training has taken, earlier runs of it included."""
        return self._earlier_seconds + (self._ended or time.monotonic()) - self._started

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop when the time is used up."""
        if self.fraction_done(self.global_step) >= 1.0:
            self.trainer.should_stop = True

    def on_fit_end(self) -> None:
        """Stop the clock: the learner lives on while others of a committee are trained."""
        self._ended = time.monotonic()

    def _limited_loss(self, batch: Batch) -> torch.Tensor:
        prediction = self._steps(batch.frames)
        delta = delta_at(self.global_step)
        loss = self.loss(prediction, batch, self._robust, delta)
        self.latest = batch.index.cpu(), self._robust.excess
        return loss

    def _loss_without_outliers(self, batch: Batch) -> torch.Tensor:
        loader: Any = self.trainer.train_dataloader
        dataset = loader.dataset
        good = []
        for index in batch.index.tolist():
            alone = dataset[index].to(self.device)
            loss = self.loss(predict(self.model, alone.frames, create_graph=True), alone)
            if torch.isfinite(loss):
                good.append(alone)
            elif index not in self._outliers:
                self._outliers.add(index)
                log.warning(
                    "the loss of frame %s is not a finite number; it is left out",
                    self.frame_ids[index],
                )
        if not good:
            names = ", ".join(self.frame_ids[index] for index in batch.index.tolist())
            raise TrainingError(
                f"the loss of every frame of step {self.global_step} ({names}) is not a finite "
                "number; lower optimizer.learning_rate or remove these frames"
            )
        return self._limited_loss(collate(good))

    # --- validation -------------------------------------------------------------------------

    def validation_step(self, batch: Batch, _: int) -> None:
        """Add a batch to the errors of the averaged weights."""
        with torch.enable_grad():
            prediction = predict(self.average, batch.frames)
        loss = float(self.loss(prediction, batch, self._validation_robust))
        n_frames = batch.frames.n_frames
        self._validation_loss += torch.tensor([loss * n_frames, n_frames], dtype=torch.float64)
        self._errors.add(prediction, batch)

    def training_loss(self) -> float:
        """Loss of the averaged weights on training frames, comparable to that of the validation.

        A sample of them, evenly chosen from all: it costs a hundredth of the steps of a usual
        round. Frames without a finite loss are left out here as they are in the steps.
        """
        loader: Any = self.trainer.train_dataloader
        dataset, size = loader.dataset, self.config.training.batch_size
        chosen = np.linspace(0, len(dataset) - 1, min(self.training_sample, len(dataset)))
        numbers = [i for i in chosen.round().astype(int).tolist() if i not in self._outliers]
        robust, total, n_frames = RobustWeights(), 0.0, 0
        for start in range(0, len(numbers), size):
            batch = collate([dataset[i] for i in numbers[start : start + size]]).to(self.device)
            prediction = predict(self.average, batch.frames)
            loss = float(self.loss(prediction, batch, robust))
            if math.isfinite(loss):
                total, n_frames = total + loss * batch.frames.n_frames, n_frames + len(batch.index)
        return total / n_frames if n_frames else math.nan

    def on_validation_epoch_end(self) -> None:
        """Turn the sums of all processes into metrics and remember the best weights."""
        sums, total = self._merged(self._errors.sums), self._merged(self._validation_loss)
        self._errors.sums = sums
        self.metrics = self._errors.result()
        loss = float(total[0] / total[1])
        self._errors = ErrorSums(self._errors.media)
        self._validation_robust = RobustWeights()
        self._validation_loss = torch.zeros(2, dtype=torch.float64)
        # All processes hold the same figures; Lightning wants to be told to compare them.
        together = self.trainer.world_size > 1
        self.log("validation_loss", loss, sync_dist=together)
        self.log_dict(
            {
                f"validation/{name}_{kind}": value
                for name, errors in self.metrics[ALL].items()
                for kind, value in errors.items()
            },
            sync_dist=together,
        )
        # A loss that is not a number is never better, yet weights must exist at the end.
        if loss < self.best["loss"] or self.best["weights"] is None:
            self.keep(loss)

    def keep(self, loss: float) -> None:
        """Remember the averaged weights of now as the best so far."""
        weights = self.average.state_dict()
        self.best = {
            "loss": loss,
            "step": self.global_step,
            "metrics": self.metrics,
            "weights": {name: t.detach().cpu().clone() for name, t in weights.items()},
        }

    def best_model(self) -> MultiscaleModel:
        """Return a copy of the model with the best averaged weights."""
        model = copy.deepcopy(self.average).cpu()
        model.load_state_dict(self.best["weights"])
        return model.requires_grad_(True).eval()

    def _merged(self, sums: torch.Tensor) -> torch.Tensor:
        if self.trainer.world_size == 1:
            return sums
        merged = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
        return torch.as_tensor(merged).cpu()

    # --- resuming ---------------------------------------------------------------------------

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        """Leave the row pointers on the CPU."""
        return batch if device.type == "cpu" else batch.to(device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of: best weights, clock, random numbers."""
        checkpoint["eqmm"] = {
            "best": self.best,
            "metrics": self.metrics,
            "seconds": self.seconds,
            "influence": self._robust.state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Inverse of `on_save_checkpoint`."""
        state = checkpoint["eqmm"]
        self.best, self.metrics = state["best"], state["metrics"]
        self._earlier_seconds, self._started = state["seconds"], time.monotonic()
        if "influence" in state:  # checkpoints of earlier versions have none
            self._robust.restore(state["influence"])
        torch.set_rng_state(state["random"])
        if len(state["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random_cuda"])


def averaging_decay(decay: float, step: int) -> float:
    """Decay of the moving average of the weights after a number of steps.

    min(decay, step / (9 + step)): the average is short at first, so that bad early weights fade.
    """
    return min(decay, step / (9.0 + step))
