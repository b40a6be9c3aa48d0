"""Errors in the units people quote, per medium and over all frames.

Only sums are kept, so any number of frames can be added and sums of several processes merged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.network.batch import Batch
from eqmm_ase.network.prediction import Prediction

Metrics = dict[str, dict[str, float]]

ALL = "all"
"""Key of the metrics over all media."""
REPORTED = [name for name, quantity in QUANTITIES.items() if quantity.reported]

_COUNT, _ABSOLUTE, _SQUARE, _REFERENCE = range(4)


class ErrorSums:
    """Running sums of errors, from which MAE, RMSE and relative RMS errors follow.

    Parameters
    ----------
    media
        Names that the batches' medium numbers stand for.
    """

    def __init__(self, media: Sequence[str]) -> None:
        self.media = tuple(media)
        self.sums = torch.zeros(len(self.media), len(REPORTED), 4, dtype=torch.float64)

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """Add a batch; labels that are not known (NaN) do not count."""
        owner = {
            "frame": batch.medium,
            "qm": batch.medium[batch.frames.qm_frame_index()],
            "mm": batch.medium[batch.frames.mm_frame_index()],
        }
        for number, name in enumerate(REPORTED):
            label = batch.labels[name].detach()
            known = ~label.isnan()
            error = torch.where(known, prediction[name].detach() - label, 0.0).double()
            rows = torch.stack(
                [
                    known.double(),
                    error.abs(),
                    error.square(),
                    label.double().nan_to_num().square(),
                ],
                dim=-1,
            ).reshape(len(label), math.prod(label.shape[1:]), 4)
            medium = owner[QUANTITIES[name].rows].cpu()
            self.sums[:, number].index_add_(0, medium, rows.sum(1).cpu())

    def result(self) -> dict[str, Metrics]:
        """Metrics by medium and for `all`.

        Returns
        -------
        dict
            medium → quantity → ``count``, ``mae``, ``rmse`` in quoted units, and ``relative`` =
            RMS(error) / RMS(reference) for all but the energy, whose zero is arbitrary, and for
            references that are zero within `Quantity.resolution`.
        """
        results = {ALL: _metrics(self.sums.sum(0))}
        for medium, sums in zip(self.media, self.sums, strict=True):
            if found := _metrics(sums):
                results[medium or "unnamed"] = found
        return results


def has_relative(name: str) -> bool:
    """Whether errors of a quantity have a size to relate to: the zero of energies is arbitrary."""
    return not QUANTITIES[name].total_energy


def spoken_relative(name: str, errors: Mapping[str, float]) -> str:
    """The relative error of a quantity: a dash where the reference is zero, "" for energies."""
    if not has_relative(name):
        return ""
    relative, quantity = errors.get("relative"), QUANTITIES[name]
    # Cards of earlier versions have one against any reference, however small.
    if relative is None or errors["rmse"] * quantity.factor < relative * quantity.resolution:
        return "–"
    return f"{relative:.2%}"


def _metrics(sums: torch.Tensor) -> Metrics:
    found: Metrics = {}
    for name, row in zip(REPORTED, sums.tolist(), strict=True):
        quantity, count = QUANTITIES[name], row[_COUNT]
        if not count:
            continue
        found[name] = {
            "count": int(count),
            "mae": row[_ABSOLUTE] / count / quantity.factor,
            "rmse": (row[_SQUARE] / count) ** 0.5 / quantity.factor,
        }
        size = (row[_REFERENCE] / count) ** 0.5
        if has_relative(name) and size > quantity.resolution:
            found[name]["relative"] = (row[_SQUARE] / count) ** 0.5 / size
    return found
