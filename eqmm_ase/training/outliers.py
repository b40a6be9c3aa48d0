"""Frames whose labels contradict all others: their pull on the weights is limited, and named.

A squared error lets one wrong label out of a thousand decide where a model goes. So a frame whose
RMS error r is beyond `LIMIT` times the median of the frames seen lately counts, quantity by
quantity, with the weight

(r₀/r)²,   r₀ = LIMIT · median(r)

The better the others are described, the less does a wrong one pull, yet none is ever given up. A
pull that stays the same however wrong a frame is, as a straight line's, is not enough: one frame
with tenfold forces among a hundred then doubled the errors of the forces.
A frame of ordinary error counts as if there were no limit, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from eqmm_ase.atomic_write import write_text
from eqmm_ase.terminal import say
from eqmm_ase.training.loss import QUANTITIES
from eqmm_ase.training.robust import LIMIT

REMARKABLE = 50.0
"""Errors over the median beyond which a frame is named."""
_MEMORY = 500
"""Frames whose errors the median is taken of: enough for a median, few enough to be of now."""


class Influence:
    """How much frames may pull, from the errors of the frames seen lately."""

    def __init__(self) -> None:
        self._recent = {name: torch.zeros(0) for name in QUANTITIES}
        self.excess: dict[str, torch.Tensor] = {}
        """Of the frames seen last: error over the median, quantity by quantity; NaN: not known."""

    def weights(self, errors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of frames that have just been seen in the loss; constants when it is derived.

        Parameters
        ----------
        errors
            Quantity → (F,) RMS errors of each frame in any unit; NaN where not known.

        Returns
        -------
        Quantity → (F,), 1 up to the limit, less beyond; 1 where not known.
        """
        self.excess = {name: self._excess(name, error.cpu()) for name, error in errors.items()}
        return {
            name: (LIMIT / excess).clamp(max=1.0).square().nan_to_num(1.0).to(errors[name])
            for name, excess in self.excess.items()
        }

    def state(self) -> dict[str, torch.Tensor]:
        """What the next weights depend on."""
        return self._recent

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Inverse of `state`."""
        self._recent = state

    def _excess(self, name: str, errors: torch.Tensor) -> torch.Tensor:
        # An exact prediction (atoms that feel no force) says nothing about the size of errors.
        telling = errors[errors > 0].double()
        self._recent[name] = torch.cat([self._recent[name].double(), telling])[-_MEMORY:]
        return errors / self._recent[name].median() if len(telling) else errors


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
            self._excess[index, QUANTITIES.index(name)] = values.nan_to_num(0.0).float()

    def on_train_epoch_end(self, trainer: Any, learner: Any) -> None:
        """Name those that are beyond the limit now."""
        if not trainer.is_global_zero:
            return
        largest, quantity = self._excess.max(1)
        numbers = [int(i) for i in largest.argsort(descending=True) if largest[i] > REMARKABLE]
        rows = {i: (QUANTITIES[int(quantity[i])], float(largest[i])) for i in numbers}
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
