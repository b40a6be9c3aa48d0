"""How good a model is on labelled frames: errors by medium, and pairs of values for plots."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eqmm_ase.atomic_write import write_text
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.evaluation.metrics import ALL, REPORTED, ErrorSums, Metrics, has_relative
from eqmm_ase.evaluation.reliability import DeviationCollector
from eqmm_ase.network.batch import Batch, FrameDataset, collate
from eqmm_ase.network.committee import Committee, mean_and_spread
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import Prediction, predict, predict_each
from eqmm_ase.uncertainty.calibration import Deviations

_MOST_PAIRS = 300_000
"""Values kept per quantity for plots; a plot does not get better with more."""


@dataclass(frozen=True)
class Pairs:
    """Reference and prediction of one quantity in quoted units, component by component."""

    reference: NDArray[np.float64]  # (n,)
    predicted: NDArray[np.float64]  # (n,)


@dataclass(frozen=True)
class Evaluation:
    """Errors of a model on a set of frames."""

    metrics: Mapping[str, Metrics]
    """Medium (or ``all``) → quantity → count, mae, rmse (kcal/mol, kcal/mol/Å, e …), relative."""
    pairs: Mapping[str, Pairs]
    """Quantity → reference and prediction, for parity plots."""
    n_frames: int
    """Number of frames."""
    seconds_per_frame: float
    """Time of one prediction, s."""
    deviations: Mapping[str, Deviations] = field(default_factory=dict)
    """Quantity → errors and spreads; empty unless the model is a committee."""


def evaluate(
    model: MultiscaleModel | Committee,
    frames: Sequence[Frame],
    charge_scheme: str | None = None,
    *,
    batch_size: int = 10,
    device: str = "cpu",
    on_frames: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Errors of a model's predictions on labelled frames: MAE, RMSE and relative RMS, by medium.

    Parameters
    ----------
    model
        A model or a committee of any floating-point precision; it is moved to the device.
    frames
        Labels that are None do not count.
    charge_scheme
        The charges to compare with: those the model was trained on.
    batch_size
        Frames at a time.
    device
        Where to compute.
    on_frames
        Called with the number of frames just done.

    Returns
    -------
    Evaluation
        ``metrics``: medium (or ``all``) → quantity → count, mae, rmse in the units of reports
        (kcal/mol, kcal/mol/Å, e …) and relative RMS error. ``pairs`` of reference and prediction,
        ``n_frames``, ``seconds_per_frame``, and ``deviations`` of a committee.

    Raises
    ------
    UnknownElementError
        When a frame has an element that the model does not know.
    ValueError
        When there are no frames or no labels.
    """
    if not frames:
        raise ValueError("there are no frames to evaluate")
    model = model.to(device).eval()
    dataset = FrameDataset(frames, charge_scheme, next(model.parameters()).dtype)
    errors = ErrorSums(dataset.media)
    collector = _PairCollector(model, frames)
    deviations = DeviationCollector()
    seconds = 0.0
    for start in range(0, len(dataset), batch_size):
        numbers = range(start, min(start + batch_size, len(dataset)))
        batch = collate([dataset[i] for i in numbers]).to(device)
        started = time.perf_counter()
        if isinstance(model, Committee):
            prediction, spread = mean_and_spread(predict_each(model.members, batch.frames))
            deviations.add(prediction, spread, batch)
        else:
            prediction = predict(model, batch.frames)
        seconds += time.perf_counter() - started
        errors.add(prediction, batch)
        collector.add(prediction, batch)
        on_frames(len(numbers))
    metrics = errors.result()
    if not metrics[ALL]:
        raise ValueError("none of the frames has a label that could be compared")
    return Evaluation(
        metrics,
        collector.result(),
        len(dataset),
        seconds / len(dataset),
        deviations.result(),
    )


def write_metrics(path: Path, evaluation: Evaluation, facts: Mapping[str, Any]) -> None:
    """Write metrics as JSON, with facts about what was evaluated and other plain results.

    A relative error against a reference of zero is null.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    content = {
        **facts,
        "n_frames": evaluation.n_frames,
        "seconds_per_frame": evaluation.seconds_per_frame,
        "units": {name: QUANTITIES[name].quoted for name in REPORTED},
        "metrics": {
            medium: {name: _with_null(name, errors) for name, errors in metrics.items()}
            for medium, metrics in evaluation.metrics.items()
        },
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _with_null(name: str, errors: Mapping[str, float]) -> dict[str, float | None]:
    """A relative error that is no figure, since the reference is zero, as null."""
    return {**({"relative": None} if has_relative(name) else {}), **errors}


class _PairCollector:
    """Keeps pairs for plots; of quantities with very many values, every k-th."""

    def __init__(self, model: MultiscaleModel | Committee, frames: Sequence[Frame]) -> None:
        self._offsets = model.atomic_energies.cpu()
        self._numbers = torch.tensor(model.config.elements)
        n_mm = sum(frame.n_mm for frame in frames)
        self._stride = {"frame": 1, "qm": 1, "mm": max(3 * n_mm // _MOST_PAIRS, 1)}
        self._blocks: dict[str, list[torch.Tensor]] = {name: [] for name in REPORTED}

    def add(self, prediction: Prediction, batch: Batch) -> None:
        for name in REPORTED:
            quantity = QUANTITIES[name]
            label, predicted = (own[name].double().cpu() for own in (batch.labels, prediction))
            if quantity.total_energy:
                # The total energy says which atoms there are; what the model learns is the rest.
                offset = self._atomic_part(batch)
                label, predicted = label - offset, predicted - offset
            both = torch.stack([label, predicted], dim=-1)[:: self._stride[quantity.rows]]
            both = both.reshape(-1, 2)
            self._blocks[name].append(both[~both[:, 0].isnan()] / quantity.factor)

    def result(self) -> dict[str, Pairs]:
        pairs: dict[str, Pairs] = {}
        for name, blocks in self._blocks.items():
            values = torch.cat(blocks).numpy()
            if not len(values):
                continue
            if QUANTITIES[name].total_energy:
                values = values - values[:, 0].mean()
            pairs[name] = Pairs(values[:, 0], values[:, 1])
        return pairs

    def _atomic_part(self, batch: Batch) -> torch.Tensor:
        elements = torch.searchsorted(self._numbers, batch.frames.atomic_numbers.cpu())
        owner = batch.frames.qm_frame_index().cpu()
        zeros = torch.zeros(batch.frames.n_frames, dtype=torch.float64)
        return zeros.index_add(0, owner, self._offsets[elements])
