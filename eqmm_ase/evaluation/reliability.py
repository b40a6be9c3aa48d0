"""Whether the uncertainty of a committee can be relied on: spreads against errors on labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.network.batch import Batch
from eqmm_ase.network.committee import Spread
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.uncertainty.calibration import ROUNDING, Calibration, Deviations

GAUSSIAN = {"energy": (0.683, 0.954), "qm_forces": (0.608, 0.993)}
"""Shares of Gaussian errors within one and two σ: of a number, and of the length of a vector whose
mean square is σ² (χ² of three degrees of freedom below 3 and 12)."""


class Bins(NamedTuple):
    """Labels in order of their uncertainty, cut into groups of equal size."""

    uncertainty: FloatArray  # root mean square of each group
    error: FloatArray


class DeviationCollector:
    """Keeps the errors of the mean and the spreads of all batches."""

    def __init__(self) -> None:
        self._errors: dict[str, list[torch.Tensor]] = {name: [] for name in GAUSSIAN}
        self._spreads: dict[str, list[torch.Tensor]] = {name: [] for name in GAUSSIAN}

    def add(self, prediction: Prediction, spread: Spread, batch: Batch) -> None:
        """Add a batch; labels that are not known (NaN) do not count."""
        for name in GAUSSIAN:
            error = prediction[name] - batch.labels[name]
            size = error.double().reshape(len(error), -1).norm(dim=1)
            known = ~size.isnan()
            self._errors[name].append(size[known].cpu())
            self._spreads[name].append(getattr(spread, name)[known].double().cpu())

    def result(self) -> dict[str, Deviations]:
        """By quantity; those without labels are left out."""
        return {
            name: Deviations(error, torch.cat(self._spreads[name]).numpy())
            for name, errors in self._errors.items()
            if errors and len(error := torch.cat(errors).numpy())
        }


def reliability(
    deviations: Mapping[str, Deviations], calibration: Calibration
) -> dict[str, dict[str, float]]:
    """Reliability of a committee's uncertainty: calibrated spreads against errors on labels.

    Returns
    -------
    dict
        quantity → ``count``; ``rms_error`` and ``rms_uncertainty`` in quoted units; ``factor``, by
        which spreads were multiplied; ``within_1`` and ``within_2``, the share of errors below one
        and two times the uncertainty; ``spearman``, the rank correlation of spread and error, where
        neither is constant to rounding.
    """
    from scipy.stats import spearmanr  # a second that only this needs

    found: dict[str, dict[str, float]] = {}
    for name, pairs in deviations.items():
        factor = calibration.factors.get(name, 1.0)
        uncertainty, unit = factor * pairs.spread, QUANTITIES[name].factor
        found[name] = {
            "count": len(pairs.error),
            "rms_error": _rms(pairs.error) / unit,
            "rms_uncertainty": _rms(uncertainty) / unit,
            "factor": factor,
            "within_1": float((pairs.error <= uncertainty).mean()),
            "within_2": float((pairs.error <= 2.0 * uncertainty).mean()),
        }
        if np.ptp(pairs.spread) > ROUNDING and np.ptp(pairs.error) > ROUNDING:
            found[name]["spearman"] = float(spearmanr(pairs.spread, pairs.error).statistic)
    return found


def binned(pairs: Deviations, factor: float, most: int = 12) -> Bins:
    """Groups of at least twenty labels where there are so many; at most `most` of them."""
    order = np.argsort(pairs.spread)
    groups = np.array_split(order, min(max(len(order) // 20, 1), most))
    return Bins(
        np.array([factor * _rms(pairs.spread[group]) for group in groups]),
        np.array([_rms(pairs.error[group]) for group in groups]),
    )


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.square(values).mean()))
