"""The training loss: squared errors of every known label in units that make weights portable.

L = Σ_k w_k ⟨|error_k|²⟩ / s_k²

The scale s_k of a quantity is the RMS of its labels over the training set; that of the energy is
the RMS QM force × 1 Å × √n_qm, since an energy error is a sum over atoms while the total energy has
an arbitrary zero. ⟨⟩ runs over the known components of a batch, so a missing label costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import torch

from eqmm_ase.dataset import Batch, Labels

if TYPE_CHECKING:
    from eqmm_ase.model import Prediction

QUANTITIES = tuple(f.name for f in fields(Labels))


@dataclass(frozen=True)
class LossWeights:
    """Relative importance of the quantities; 0 leaves one out."""

    energy: float = 6.0
    qm_forces: float = 1.0
    mm_forces: float = 1.0
    mm_potential: float = 0.1
    charges: float = 0.1
    dipole: float = 0.1


@dataclass(frozen=True)
class Loss:
    """The loss with the scales of one training set."""

    weights: LossWeights = field(default_factory=LossWeights)
    scales: Mapping[str, float] = field(default_factory=dict)
    """Quantity → scale in its own unit; 1 where missing."""

    @classmethod
    def fit(cls, weights: LossWeights, batches: Iterable[Batch]) -> Loss:
        """Take the scales from training batches; quantities without labels get no weight."""
        sums = dict.fromkeys(QUANTITIES, 0.0)
        counts = dict.fromkeys(QUANTITIES, 0)
        for batch in batches:
            for name in QUANTITIES:
                label = getattr(batch.labels, name)
                sums[name] += float(label.double().nan_to_num().pow(2).sum())
                counts[name] += int((~label.isnan()).sum())
        scales = {n: (sums[n] / counts[n]) ** 0.5 or 1.0 for n in QUANTITIES if counts[n]}
        if "energy" in scales:
            scales["energy"] = scales.get("qm_forces", 1.0)
        unknown = {name: 0.0 for name in QUANTITIES if not counts[name]}
        return cls(replace(weights, **unknown), scales)

    def terms(self, prediction: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
        """Weighted terms of the loss, each a number; those without weight are left out.

        Parameters
        ----------
        prediction
            Of the frames of the batch.
        batch
            With NaN for labels that are not known.
        """
        return {
            name: weight * self._term(name, getattr(prediction, name), batch)
            for name in QUANTITIES
            if (weight := getattr(self.weights, name)) > 0
        }

    def __call__(self, prediction: Prediction, batch: Batch) -> torch.Tensor:
        """Sum of the terms, in the width of the network."""
        return torch.stack(list(self.terms(prediction, batch).values())).sum()

    def _term(self, name: str, predicted: torch.Tensor, batch: Batch) -> torch.Tensor:
        label = getattr(batch.labels, name)
        known = ~label.isnan()
        # The difference of two large energies is taken in float64 before anything is narrowed.
        error = torch.where(known, predicted - label.nan_to_num(), torch.zeros_like(predicted))
        if name == "energy":
            atoms = batch.frames.qm_ptr.diff().to(error)
            error = error / atoms.sqrt()
        error = error.to(batch.frames.qm_positions.dtype) / self.scales.get(name, 1.0)
        return error.square().sum() / known.sum().clamp(min=1)
