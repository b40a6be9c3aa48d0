"""What a person sees of a training, and the table of its rounds on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from eqmm_ase.metrics import ALL, Metrics
from eqmm_ase.training_folder import write_history

Row = dict[str, float]

_COLUMNS: Mapping[str, tuple[str, str]] = {
    "step": ("step", "{:.0f}"),
    "minutes": ("min", "{:.1f}"),
    "learning_rate": ("rate", "{:.1e}"),
    "training_loss": ("loss", "{:.4f}"),
    "validation_loss": ("val. loss", "{:.4f}"),
    "energy_mae": ("E", "{:.3f}"),
    "qm_forces_mae": ("F(QM)", "{:.3f}"),
    "mm_forces_relative": ("F(MM)", "{:.2%}"),
    "charges_mae": ("charges", "{:.4f}"),
}
_WIDTH = 9


class History(Callback):
    """One row per round: kept in the checkpoint, so that a resumed training has the whole curve.

    Parameters
    ----------
    path
        CSV file, rewritten after every round.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, learner: Any, *_: Any) -> None:
        """Collect the loss of a step."""
        self._losses.append(learner.last_loss)

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Any) -> None:
        """Add the row of this round and write the table."""
        row: Row = {
            "step": trainer.global_step,
            "minutes": round(learner.seconds / 60.0, 4),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "training_loss": math.fsum(self._losses) / max(len(self._losses), 1),
        }
        self._losses = []
        if learner.metrics:
            row["validation_loss"] = float(trainer.callback_metrics["validation_loss"])
            row |= flattened(learner.metrics[ALL])
        self.rows.append(row)
        if trainer.is_global_zero:
            write_history(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of an earlier run."""
        self.rows = list(state_dict["rows"])


class ProgressReport(Callback):
    """A bar with rate, time left and loss on a terminal; a line per round everywhere.

    Parameters
    ----------
    console
        Where to write.
    history
        Source of the lines; must run before this callback.
    total_steps
        Length of the bar.
    """

    def __init__(self, console: Console, history: History, total_steps: int) -> None:
        self.console, self.history, self.total_steps = console, history, total_steps
        self._progress: Progress | None = None
        self._task: Any = None

    def on_train_start(self, trainer: lightning.Trainer, learner: Any) -> None:
        """Write the head of the table and start the bar."""
        if not trainer.is_global_zero:
            return
        self.console.print(header(), style="bold", highlight=False, soft_wrap=True)
        self.console.print(
            "validation errors: E kcal/mol, F(QM) kcal/mol/Å (both MAE), F(MM) relative RMS, "
            "charges e (MAE)",
            style="dim",
            highlight=False,
            soft_wrap=True,
        )
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            _Rate(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[loss]}"),
            console=self.console,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(
            "training", total=self.total_steps, completed=trainer.global_step, loss=""
        )
        self._progress.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, learner: Any, *_: Any) -> None:
        """Move the bar."""
        if self._progress is not None:
            loss = f"loss {learner.last_loss:.4f}"
            self._progress.update(self._task, completed=trainer.global_step, loss=loss)

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Any) -> None:
        """Write the line of the round."""
        if trainer.is_global_zero:
            best = learner.best["step"] == trainer.global_step and bool(learner.metrics)
            self.console.print(line(self.history.rows[-1], best), highlight=False, soft_wrap=True)

    def on_train_end(self, *_: Any) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(self, *_: Any) -> None:
        """Leave the terminal in order."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Rate(ProgressColumn):
    """Steps per second over the last seconds."""

    def render(self, task: Task) -> Text:
        return Text("– steps/s" if not task.speed else f"{task.speed:.1f} steps/s")


def header() -> str:
    """Titles of the columns of `line`."""
    return " ".join(f"{title:>{_WIDTH}}" for title, _ in _COLUMNS.values())


def line(row: Row, best: bool) -> str:
    """One round as a line; an asterisk marks the best validation so far."""
    cells = [form.format(row[key]) if key in row else "–" for key, (_, form) in _COLUMNS.items()]
    return " ".join(f"{cell:>{_WIDTH}}" for cell in cells) + (" *" if best else "")


def flattened(metrics: Metrics) -> Row:
    """``{quantity: {kind: value}}`` as ``quantity_kind``, counts left out."""
    return {
        f"{name}_{kind}": value
        for name, errors in metrics.items()
        for kind, value in errors.items()
        if kind != "count"
    }
