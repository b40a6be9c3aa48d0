"""Errors in the units people quote, per medium and over all frames.

Only sums are kept, so any number of frames can be added and sums of several processes merged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from eqmm_ase.network.frame_dataset import Batch
from eqmm_ase.units import KCAL_PER_MOL

if TYPE_CHECKING:
    from eqmm_ase.network.model import Prediction

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Quantity:
    """How one quantity is quoted."""

    title: str
    unit: str
    factor: float
    """Internal unit over quoted unit: divide by it."""
    rows: str
    """What its rows belong to: frame, qm or mm."""
    resolution: float
    """Size, in the internal unit, below which differences between labels mean nothing. Where the
    RMS of the reference is no larger, it is zero as far as the labels tell (the dipole of a
    symmetric molecule, the charges of N2), and an error relative to it is no figure."""


# Resolutions: integration grids of level 3 leave 1e-3 eV/Å in QM forces; an SCF converged to an
# orbital gradient of 1e-5 leaves 2e-5 e of the density somewhere else, which is 3e-5 V and
# 2e-5 eV/(Å·e) at 3 Å; schemes that share out the density on a grid scatter by 1e-4 e; the grid
# breaks the symmetry of a molecule, and with it a dipole of zero, by 1e-3 e·Å. An energy of 1e-5 eV
# is rounding in float32.
REPORTED = {
    "energy": Quantity("energy", "kcal/mol", KCAL_PER_MOL, "frame", 1e-5),
    "qm_forces": Quantity("QM forces", "kcal/mol/Å", KCAL_PER_MOL, "qm", 1e-3),
    "mm_forces": Quantity("MM forces", "kcal/mol/Å", KCAL_PER_MOL, "mm", 2e-5),
    "mm_potential": Quantity("potential at MM sites", "kcal/mol/e", KCAL_PER_MOL, "mm", 1e-4),
    "charges": Quantity("charges", "e", 1.0, "qm", 1e-4),
    "dipole": Quantity("dipole", "e·Å", 1.0, "frame", 1e-3),
}
ALL = "all"
"""Key of the metrics over all media."""

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
        for number, (name, quantity) in enumerate(REPORTED.items()):
            label = getattr(batch.labels, name).detach()
            known = ~label.isnan()
            error = torch.where(known, getattr(prediction, name).detach() - label, 0.0).double()
            rows = torch.stack(
                [
                    known.double(),
                    error.abs(),
                    error.square(),
                    label.double().nan_to_num().square(),
                ],
                dim=-1,
            ).reshape(len(label), math.prod(label.shape[1:]), 4)
            medium = owner[quantity.rows].cpu()
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
    """Whether there is a relative error of a quantity at all: the zero of energies is arbitrary."""
    return name != "energy"


def spoken_relative(name: str, errors: Mapping[str, float]) -> str:
    """The relative error of a quantity: a dash where the reference is zero, "" for energies."""
    if not has_relative(name):
        return ""
    relative, quantity = errors.get("relative"), REPORTED[name]
    # Cards of earlier versions have one against any reference, however small.
    if relative is None or errors["rmse"] * quantity.factor < relative * quantity.resolution:
        return "–"
    return f"{relative:.2%}"


def _metrics(sums: torch.Tensor) -> Metrics:
    found: Metrics = {}
    for (name, quantity), row in zip(REPORTED.items(), sums.tolist(), strict=True):
        count = row[_COUNT]
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
