"""What a person sees of a training, and the table of its rounds on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from eqmm_ase.atomic_write import write_text
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.evaluation.metrics import ALL, Metrics
from eqmm_ase.progress_bar import ProgressBar, duration
from eqmm_ase.terminal import say
from eqmm_ase.training.folder import write_history

Row = dict[str, float]

_COLUMNS: Mapping[str, tuple[str, str]] = {
    "step": ("step", "{:.0f}"),
    "minutes": ("min", "{:.1f}"),
    "learning_rate": ("rate", "{:.1e}"),
    "left": ("left", "{}"),
    "training_loss": ("loss", "{:.4f}"),
    "validation_loss": ("val. loss", "{:.4f}"),
    "energy_mae": ("E", "{:.3f}"),
    "qm_forces_mae": ("F(QM)", "{:.3f}"),
    "mm_forces_relative": ("F(MM)", "{:.2%}"),
    "charges_mae": ("charges", "{:.4f}"),
}
_EXPLANATION = (
    "losses: averaged weights; validation: E kcal/mol, F(QM) kcal/mol/Å, charges e (MAE), "
    "F(MM) rel. RMS"
)
_WIDTH = 8
REMARKABLE = 50.0
"""Errors over the median beyond which a frame is named."""
_NAMES = list(QUANTITIES)
_LINES = 60.0  # s between lines in a pipe, where a round takes longer than that


class History(Callback):
    """One row per round: kept in the checkpoint, so that a resumed training has the whole curve.

    ``training_loss`` and ``validation_loss`` are the same loss of the same weights, those that are
    saved: the moving average at the end of the round. ``step_loss`` is the mean over the steps of
    the round, each with the weights and the loss of its time: it is larger, and no measure of how
    well the training frames are described.

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
            "step_loss": math.fsum(self._losses) / max(len(self._losses), 1),
            "training_loss": learner.training_loss(),
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
        self.rows = [_today(row) for row in state_dict["rows"]]


def _today(row: Row) -> Row:
    """A row as it is written now: earlier versions called ``step_loss`` ``training_loss``."""
    if "step_loss" in row:
        return row
    return {("step_loss" if key == "training_loss" else key): x for key, x in row.items()}


class ProgressReport(Callback):
    """A bar with rate, time left and loss on a terminal; a line per round everywhere.

    In a pipe, lines in between where a round takes long.

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
        self._bar: ProgressBar | None = None

    def on_train_start(self, trainer: lightning.Trainer, learner: Any) -> None:
        """Write the head of the table and start the bar."""
        if not trainer.is_global_zero:
            return
        say(self.console, header(), "bold")
        say(self.console, _EXPLANATION, "dim")
        self._bar = ProgressBar(
            "training",
            "steps",
            self.total_steps,
            console=self.console,
            interval=_LINES,
            time_limit=learner.seconds_left,
            transient=True,
        )
        self._bar.start(trainer.global_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, learner: Any, *_: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(trainer.global_step, f"loss of the step {learner.last_loss:.4f}")

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Any) -> None:
        """Write the line of the round."""
        if self._bar is not None:
            best = learner.best["step"] == trainer.global_step and bool(learner.metrics)
            self._bar.say(line(self.history.rows[-1], best, self._bar.left))

    def on_train_end(self, *_: Any) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(self, *_: Any) -> None:
        """Leave the terminal in order."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class OutlierReport(Callback):
    """Names the frames whose errors stay far beyond the others', on screen and in a table.

    Parameters
    ----------
    console
        Where to write; each frame is named once.
    path
        Text file, rewritten after every round: frame, quantity, error over the median.
    frame_ids
        Names of the training frames.
    """

    def __init__(self, console: Console, path: Path, frame_ids: Sequence[str]) -> None:
        self.console, self.path, self.frame_ids = console, path, frame_ids
        self._excess = torch.zeros(len(frame_ids), len(QUANTITIES))
        self._named: set[int] = set()

    def on_train_batch_end(self, trainer: Any, learner: Any, *_: Any) -> None:
        """Keep the latest excess of each frame."""
        index, excess = learner.latest
        for name, values in excess.items():
            self._excess[index, _NAMES.index(name)] = values.nan_to_num(0.0).float()

    def on_train_epoch_end(self, trainer: Any, learner: Any) -> None:
        """Name those that are beyond the limit now."""
        if not trainer.is_global_zero:
            return
        largest, quantity = self._excess.max(1)
        numbers = [int(i) for i in largest.argsort(descending=True) if largest[i] > REMARKABLE]
        rows = {i: (_NAMES[int(quantity[i])], float(largest[i])) for i in numbers}
        for i in sorted(rows.keys() - self._named):
            self._name(i, *rows[i])
        if rows or self.path.exists():
            table = [f"{self.frame_ids[i]}\t{name}\t{x:.0f}" for i, (name, x) in rows.items()]
            write_text(self.path, "\n".join(["frame\tquantity\terror/median", *table, ""]))

    def _name(self, number: int, quantity: str, excess: float) -> None:
        self._named.add(number)
        say(
            self.console,
            f"warning: the error of {quantity} of frame {self.frame_ids[number]} is {excess:.0f} "
            "times the median; its labels may be wrong, and its influence is limited",
        )

    def state_dict(self) -> dict[str, Any]:
        """Errors so far, and who has been named."""
        return {"excess": self._excess, "named": sorted(self._named)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up those of an earlier run."""
        self._excess, self._named = state_dict["excess"], set(state_dict["named"])


def header() -> str:
    """Titles of the columns of `line`."""
    return " ".join(f"{title:>{_WIDTH}}" for title, _ in _COLUMNS.values())


def line(row: Row, best: bool, left: float | None = None) -> str:
    """One round as a line; an asterisk marks the best validation so far.

    Parameters
    ----------
    row
        Of the history.
    best
        Whether it is the best so far.
    left
        s until the end of the training; None where nobody can tell.
    """
    shown: dict[str, Any] = row if left is None else {**row, "left": duration(left)}
    cells = [
        f"{form.format(shown[key]) if key in shown else '–':>{max(_WIDTH, len(title))}}"
        for key, (title, form) in _COLUMNS.items()
    ]
    return " ".join(cells) + (" *" if best else "")


def flattened(metrics: Metrics) -> Row:
    """``{quantity: {kind: value}}`` as ``quantity_kind``, counts left out."""
    return {
        f"{name}_{kind}": value
        for name, errors in metrics.items()
        for kind, value in errors.items()
        if kind != "count"
    }
