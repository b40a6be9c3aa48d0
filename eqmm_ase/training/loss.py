"""The training loss: errors of every known label in units that make weights portable.

L = Σ_k w_k ⟨ρ_k(|error_k| / s_k)⟩

The scale s_k of a quantity is the RMS of its labels over the training set; that of the energy is
the RMS QM force × 1 Å × √n_qm, since an energy error is a sum over atoms while the total energy has
an arbitrary zero. ⟨⟩ runs over the known components of a batch, so a missing label costs nothing.

ρ is the square, but for energies and QM forces the pseudo-Huber function 2δ(√(x² + δ²) − δ) of the
length of the error: the square up to about δ, a straight line beyond it. Squares would leave the
many small errors to the few large ones, at strained geometries, when it is the small ones that a
simulation sees. While a training begins and all errors are large, squares learn faster: δ falls
from 1 to its final size in the first 900 steps. What a frame costs may count less:
`eqmm_ase.training.outliers` limits the influence of wrong labels so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import torch

from eqmm_ase.network.frame_dataset import Batch, Labels
from eqmm_ase.settings_help import with_help
from eqmm_ase.training.robust import limited_rms

if TYPE_CHECKING:
    from eqmm_ase.network.model import Prediction
    from eqmm_ase.training.outliers import Influence

QUANTITIES = tuple(f.name for f in fields(Labels))
_STRAIGHT = ("energy", "qm_forces")
_FINAL_DELTA = 0.01
"""In units of the scale: about the error of a good model."""
_FALL = 0.995
"""Of δ, per step. In the middle of what was tried: 0.98 to 0.999 differ by a tenth."""


@with_help
@dataclass(frozen=True)
class LossWeights:
    """Relative importance of the quantities, without unit; 0 leaves one out."""

    energy: float = 6.0
    """Of energies, in units of the RMS QM force × 1 Å × √n_qm."""
    qm_forces: float = 4.0
    """Of forces on QM atoms, in units of their RMS, as all below."""
    mm_forces: float = 1.0
    """Of forces on MM charges."""
    mm_potential: float = 0.1
    """Of the potential of the QM region at the MM charges."""
    charges: float = 0.1
    """Of the atomic charges."""
    dipole: float = 0.1
    """Of the dipole."""


@dataclass(frozen=True)
class Loss:
    """The loss with the scales of one training set."""

    weights: LossWeights = field(default_factory=LossWeights)
    scales: Mapping[str, float] = field(default_factory=dict)
    """Quantity → scale in its own unit; 1 where missing."""

    @classmethod
    def fit(cls, weights: LossWeights, batches: Iterable[Batch]) -> Loss:
        """Take the scales from batches of one frame; quantities without labels get no weight."""
        labels = [batch.labels for batch in batches]
        scales = {}
        for name in QUANTITIES:
            values = [getattr(own, name).double() for own in labels]
            squares = [float(value.nan_to_num().square().sum()) for value in values]
            counts = [int((~value.isnan()).sum()) for value in values]
            if any(counts):
                scales[name] = limited_rms(squares, counts) or 1.0
        if "energy" in scales:
            scales["energy"] = scales.get("qm_forces", 1.0)
        unknown = {name: 0.0 for name in QUANTITIES if name not in scales}
        return cls(replace(weights, **unknown), scales)

    def terms(
        self,
        prediction: Prediction,
        batch: Batch,
        influence: Influence | None = None,
        delta: float = _FINAL_DELTA,
    ) -> dict[str, torch.Tensor]:
        """Weighted terms of the loss, each a number; those without weight are left out.

        Parameters
        ----------
        prediction
            Of the frames of the batch.
        batch
            With NaN for labels that are not known.
        influence
            Limits that of frames whose errors are far beyond the others'; None for no limit.
        delta
            Beyond it, errors of energies and QM forces count linearly (`delta_at`).
        """
        weights = {n: weight for n in QUANTITIES if (weight := getattr(self.weights, n)) > 0}
        squares = {n: self._squares(n, getattr(prediction, n), batch) for n in weights}
        costs = {n: self._per_frame(n, _cost(n, squares[n], delta), batch) for n in weights}
        counts = {n: self._per_frame(n, _rows(_known(n, batch)), batch) for n in weights}
        if influence is not None:
            sums = {n: self._per_frame(n, squares[n].detach(), batch) for n in weights}
            factors = influence.weights({n: (sums[n] / counts[n]).sqrt() for n in weights})
            costs = {n: factors[n] * costs[n] for n in weights}
        return {n: w * costs[n].sum() / counts[n].sum().clamp(min=1) for n, w in weights.items()}

    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        influence: Influence | None = None,
        delta: float = _FINAL_DELTA,
    ) -> torch.Tensor:
        """Sum of the terms, in the width of the network."""
        return torch.stack(list(self.terms(prediction, batch, influence, delta).values())).sum()

    def _squares(self, name: str, predicted: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Squared lengths of the errors in units of their scale, of every row of the labels."""
        label = getattr(batch.labels, name)
        # The difference of two large energies is taken in float64 before anything is narrowed.
        difference = predicted - label.nan_to_num()
        error = torch.where(_known(name, batch), difference, torch.zeros_like(predicted))
        if name == "energy":
            atoms = batch.frames.qm_ptr.diff().to(error)
            error = error / atoms.sqrt()
        error = error.to(batch.frames.qm_positions.dtype) / self.scales.get(name, 1.0)
        return _rows(error.square())

    @staticmethod
    def _per_frame(name: str, rows: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Sums over the rows of each frame, (F,)."""
        rows = rows.to(batch.frames.qm_positions.dtype)
        if name in ("energy", "dipole"):
            return rows
        mm = name in ("mm_forces", "mm_potential")
        owner = batch.frames.mm_frame_index() if mm else batch.frames.qm_frame_index()
        return rows.new_zeros(batch.frames.n_frames).index_add(0, owner, rows)


def _known(name: str, batch: Batch) -> torch.Tensor:
    """Which components of the labels of a quantity there are, in the shape of the labels."""
    return ~getattr(batch.labels, name).isnan()


def _rows(components: torch.Tensor) -> torch.Tensor:
    """Sums over all axes but the first."""
    return components.flatten(1).sum(1) if components.ndim > 1 else components


def delta_at(step: int) -> float:
    """δ at a step of training."""
    return max(_FALL**step, _FINAL_DELTA)


def _cost(name: str, squares: torch.Tensor, delta: float) -> torch.Tensor:
    """ρ of errors, given their squares."""
    if name not in _STRAIGHT:
        return squares
    # 2δ(√(x² + δ²) − δ), without the difference of two numbers that are nearly the same.
    return 2.0 * delta * squares / ((squares + delta**2).sqrt() + delta)
