"""The training loss: errors of every known label in units that make weights portable.

L = Σ_k w_k ⟨ρ_k(|error_k| / s_k)⟩

The scale s_k of a quantity is the RMS of its labels over the training set; that of the energy is
the RMS QM force × 1 Å × √n_qm, since an energy error is a sum over atoms while the total energy has
an arbitrary zero. ⟨⟩ runs over the known components of a batch, so a missing label costs nothing.

ρ is the square, but for energies and QM forces the pseudo-Huber function 2δ(√(x² + δ²) − δ) of the
length of the error: the square up to about δ, a straight line beyond it. Squares would leave the
many small errors to the few large ones, at strained geometries, when it is the small ones that a
simulation sees. While a training begins and all errors are large, squares learn faster: δ falls
from 1 to its final size in the first 900 steps.

A squared error also lets one wrong label out of a thousand decide where a model goes. So a frame
whose RMS error r is beyond `LIMIT` times the median of the frames seen lately gets, quantity by
quantity, the robust loss weight

(r₀/r)²,   r₀ = LIMIT · median(r)

The better the others are described, the less does a wrong one count, yet none is ever given up. A
weight of r₀/r, by which a frame would count the same however wrong it is, is not enough: one frame
with tenfold forces among a hundred then doubled the errors of the forces. A frame of ordinary error
counts as if there were no limit, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from typing import Any

import torch

from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.network.batch import Batch
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.settings_help import with_help
from eqmm_ase.training.scales import LIMIT, limited_rms

_FINAL_DELTA = 0.01
"""In units of the scale: about the error of a good model."""
_FALL = 0.995
"""Of δ, per step. In the middle of what was tried: 0.98 to 0.999 differ by a tenth."""


_MEMORY = 500
"""Frames whose errors the median is taken of: enough for a median, few enough to be of now."""

_OfQuantities: Any = make_dataclass(
    "_OfQuantities",
    [
        (name, "float", field(default=quantity.weight, metadata={"meaning": quantity.meaning}))
        for name, quantity in QUANTITIES.items()
    ],
    frozen=True,
)


@with_help
class LossWeights(_OfQuantities):
    """Relative importance of the quantities, without unit; 0 leaves one out."""


class RobustWeights:
    """Robust loss weights of frames, from the errors of the frames seen lately."""

    def __init__(self) -> None:
        self._recent = {name: torch.zeros(0) for name in QUANTITIES}
        self.excess: dict[str, torch.Tensor] = {}
        """Of the frames seen last: error over the median, quantity by quantity; NaN: not known."""

    def weights(self, errors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Robust loss weights of the frames of a batch, without a gradient.

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
        self._recent = self._recent | state

    def _excess(self, name: str, errors: torch.Tensor) -> torch.Tensor:
        # An exact prediction (atoms that feel no force) says nothing about the size of errors.
        telling = errors[errors > 0].double()
        self._recent[name] = torch.cat([self._recent[name].double(), telling])[-_MEMORY:]
        return errors / self._recent[name].median() if len(telling) else errors


@dataclass(frozen=True)
class Loss:
    """Training loss: weighted errors of all quantities, in units of a training set's scales."""

    weights: LossWeights = field(default_factory=LossWeights)
    scales: Mapping[str, float] = field(default_factory=dict)
    """Quantity → scale in its own unit; 1 where missing."""

    @classmethod
    def fit(cls, weights: LossWeights, batches: Iterable[Batch]) -> Loss:
        """Take the scales from batches of one frame; quantities without labels get no weight."""
        labels = [batch.labels for batch in batches]
        scales = {}
        for name in QUANTITIES:
            values = [own[name].double() for own in labels]
            squares = [float(value.nan_to_num().square().sum()) for value in values]
            counts = [int((~value.isnan()).sum()) for value in values]
            if any(counts):
                scales[name] = limited_rms(squares, counts) or 1.0
        totals = [name for name in scales if QUANTITIES[name].total_energy]
        scales |= dict.fromkeys(totals, scales.get("qm_forces", 1.0))
        unknown = {name: 0.0 for name in QUANTITIES if name not in scales}
        return cls(replace(weights, **unknown), scales)

    def terms(
        self,
        prediction: Prediction,
        batch: Batch,
        robust: RobustWeights | None = None,
        delta: float = _FINAL_DELTA,
    ) -> dict[str, torch.Tensor]:
        """Weighted terms of the loss, each a number; those without weight are left out.

        Parameters
        ----------
        prediction
            Of the frames of the batch.
        batch
            With NaN for labels that are not known.
        robust
            Weights of frames whose errors are far beyond the others'; None for no limit.
        delta
            Beyond it, errors of energies and QM forces count linearly (`delta_at`).
        """
        weights = {n: weight for n in QUANTITIES if (weight := getattr(self.weights, n)) > 0}
        squares = {n: self._squares(n, prediction[n], batch) for n in weights}
        costs = {n: self._per_frame(n, _cost(n, squares[n], delta), batch) for n in weights}
        counts = {n: self._per_frame(n, _rows(_known(n, batch)), batch) for n in weights}
        if robust is not None:
            sums = {n: self._per_frame(n, squares[n].detach(), batch) for n in weights}
            factors = robust.weights({n: (sums[n] / counts[n]).sqrt() for n in weights})
            costs = {n: factors[n] * costs[n] for n in weights}
        return {n: w * costs[n].sum() / counts[n].sum().clamp(min=1) for n, w in weights.items()}

    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        robust: RobustWeights | None = None,
        delta: float = _FINAL_DELTA,
    ) -> torch.Tensor:
        """Sum of the terms, in the width of the network."""
        return torch.stack(list(self.terms(prediction, batch, robust, delta).values())).sum()

    def _squares(self, name: str, predicted: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Squared lengths of the errors in units of their scale, of every row of the labels."""
        label = batch.labels[name]
        # The difference of two large energies is taken in float64 before anything is narrowed.
        difference = predicted - label.nan_to_num()
        error = torch.where(_known(name, batch), difference, torch.zeros_like(predicted))
        if QUANTITIES[name].total_energy:
            atoms = batch.frames.qm_ptr.diff().to(error)
            error = error / atoms.sqrt()
        error = error.to(batch.frames.qm_positions.dtype) / self.scales.get(name, 1.0)
        return _rows(error.square())

    @staticmethod
    def _per_frame(name: str, rows: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Sums over the rows of each frame, (F,)."""
        rows = rows.to(batch.frames.qm_positions.dtype)
        of = QUANTITIES[name].rows
        if of == "frame":
            return rows
        owner = batch.frames.mm_frame_index() if of == "mm" else batch.frames.qm_frame_index()
        return rows.new_zeros(batch.frames.n_frames).index_add(0, owner, rows)


def _known(name: str, batch: Batch) -> torch.Tensor:
    """Which components of the labels of a quantity there are, in the shape of the labels."""
    return ~batch.labels[name].isnan()


def _rows(components: torch.Tensor) -> torch.Tensor:
    """Sums over all axes but the first."""
    return components.flatten(1).sum(1) if components.ndim > 1 else components


def delta_at(step: int) -> float:
    """δ at a step of training."""
    return max(_FALL**step, _FINAL_DELTA)


def _cost(name: str, squares: torch.Tensor, delta: float) -> torch.Tensor:
    """ρ of errors, given their squares."""
    if not QUANTITIES[name].robust:
        return squares
    # 2δ(√(x² + δ²) − δ), without the difference of two numbers that are nearly the same.
    return 2.0 * delta * squares / ((squares + delta**2).sqrt() + delta)
