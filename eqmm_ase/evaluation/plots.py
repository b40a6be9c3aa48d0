"""Figures: parity of prediction and reference, reliability of uncertainties, learning curve."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.evaluation.evaluate import Evaluation, Pairs
from eqmm_ase.evaluation.metrics import ALL, spoken_relative
from eqmm_ase.evaluation.reliability import binned
from eqmm_ase.uncertainty.calibration import Calibration, Deviations

_DENSE = 3000
_BLUE, _ORANGE, _GREY = "#1f5f99", "#d1701a", "#808080"
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "figure.dpi": 150,
}


def plot_parity(evaluation: Evaluation, folder: Path, title: str = "") -> list[Path]:
    """Draw prediction against reference, and the error against reference, for every quantity.

    Parameters
    ----------
    evaluation
        From `eqmm_ase.evaluation.evaluate.evaluate`.
    folder
        Gets ``parity_<quantity>.png``; must exist.
    title
        What was evaluated.

    Returns
    -------
    list of Path
        The files written.
    """
    written = []
    for name, quantity in QUANTITIES.items():
        if quantity.plotted and name in evaluation.pairs:
            path = folder / f"parity_{name}.png"
            errors = evaluation.metrics[ALL][name]
            with mpl.rc_context(_STYLE):
                _save(_parity_figure(name, evaluation.pairs[name], errors, title), path)
            written.append(path)
    return written


def plot_reliability(
    deviations: Mapping[str, Deviations],
    calibration: Calibration,
    path: Path,
    title: str = "",
) -> Path:
    """Draw every error against its uncertainty, and the root mean squares of groups of labels.

    Where the uncertainty can be relied on, the groups lie on the diagonal.

    Parameters
    ----------
    deviations
        By quantity, from `eqmm_ase.evaluation.evaluate.evaluate`; at least one.
    calibration
        From the model's card.
    path
        The PNG to write.
    title
        What was evaluated.
    """
    with mpl.rc_context(_STYLE):
        figure = _figure(4.4 * len(deviations), 4.4)
        panels = figure.subplots(1, len(deviations), squeeze=False)[0]
        for axes, (name, pairs) in zip(panels, deviations.items(), strict=True):
            _reliability_panel(axes, name, pairs, calibration.factors.get(name, 1.0))
        if title:
            figure.suptitle(title, fontsize=11, parse_math=False)
        _save(figure, path)
    return path


def plot_learning_curve(history: Path, path: Path) -> Path:
    """Draw losses and validation errors over the steps of a training.

    Parameters
    ----------
    history
        ``history.csv`` of a training folder.
    path
        The PNG to write.

    Raises
    ------
    ValueError
        When the table is not that of a training.
    """
    with history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "training_loss" not in rows[0]:
        raise ValueError(f"{history} is not the history of a training")

    def column(key: str) -> np.ndarray:
        return np.array([float(row.get(key) or "nan") for row in rows])

    with mpl.rc_context(_STYLE):
        figure = _figure(8.0, 4.0)
        losses, errors = figure.subplots(1, 2)
        step = column("step")
        _curve(losses, step, column("training_loss"), "training frames", _GREY)
        _curve(losses, step, column("validation_loss"), "validation frames", _BLUE)
        _logarithmic(losses, "loss of the averaged weights")
        _curve(errors, step, column("energy_mae"), "energy, kcal/mol", _BLUE)
        _curve(errors, step, column("qm_forces_mae"), "QM forces, kcal/mol/Å", _ORANGE)
        relative = 100.0 * column("mm_forces_relative")
        _curve(errors, step, relative, "MM forces, % (relative RMS)", "#3a8f5c")
        _logarithmic(errors, "validation error (MAE)")
        _save(figure, path)
    return path


def _parity_figure(name: str, pairs: Pairs, errors: Mapping[str, float], title: str) -> Figure:
    quantity = QUANTITIES[name]
    figure = _figure(4.6, 5.8)  # makes the upper panel square
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    low, high = _limits(np.concatenate([pairs.reference, pairs.predicted]))
    upper.plot([low, high], [low, high], color=_GREY, linewidth=0.8, zorder=1)
    _cloud(upper, pairs.reference, pairs.predicted, (90, 52))
    upper.set(xlim=(low, high), ylim=(low, high), ylabel=f"model / {quantity.quoted}")
    text = f"MAE {errors['mae']:.3g}\nRMSE {errors['rmse']:.3g} {quantity.quoted}"
    if relative := spoken_relative(name, errors):
        text += f"\nrelative RMS {relative}"
    text += f"\n{int(errors['count'])} values"
    upper.text(0.04, 0.96, text, transform=upper.transAxes, va="top", fontsize=9)
    # A dollar sign in the name of a file is no formula.
    whole = f"{quantity.title}{f' – {title}' if title else ''}"
    upper.set_title(whole, fontsize=11, parse_math=False)

    lower.axhline(0.0, color=_GREY, linewidth=0.8, zorder=1)
    error = pairs.predicted - pairs.reference
    _cloud(lower, pairs.reference, error, (90, 15))
    reach = 1.1 * float(np.abs(error).max()) or 1.0
    zero = " − mean" if name == "energy" else ""
    lower.set(ylim=(-reach, reach), ylabel="error", xlabel=f"reference{zero} / {quantity.quoted}")
    figure.align_ylabels()
    return figure


def _reliability_panel(axes: Axes, name: str, pairs: Deviations, factor: float) -> None:
    quantity = QUANTITIES[name]
    uncertainty, error = (
        values / quantity.factor for values in (factor * pairs.spread, pairs.error)
    )
    shown = (uncertainty > 0.0) & (error > 0.0)  # the others have no place on logarithmic axes
    if shown.any():
        axes.scatter(
            uncertainty[shown], error[shown], s=7, alpha=0.35, color=_BLUE, edgecolors="none"
        )
        ends = np.array([uncertainty[shown].min(), uncertainty[shown].max()])
        axes.plot(ends, ends, color=_GREY, linewidth=1.0, label="error = uncertainty σ")
        axes.plot(ends, 2 * ends, color=_GREY, linewidth=0.9, linestyle=":", label="error = 2σ")
        axes.set(xscale="log", yscale="log", xlim=ends * (0.8, 1.25))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        # Errors far below their uncertainty are luck; they would squeeze everything else.
        axes.set_ylim(max(error[shown].min(), 3e-3 * error.max()) * 0.8, 6.0 * error.max())
    groups = binned(pairs, factor)
    axes.plot(
        groups.uncertainty / quantity.factor,
        groups.error / quantity.factor,
        color=_ORANGE,
        marker="o",
        markersize=5.0,
        linewidth=1.2,
        label="RMS of groups",
    )
    axes.set(xlabel=f"uncertainty / {quantity.quoted}", ylabel=f"error / {quantity.quoted}")
    axes.set_title(quantity.title, fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray, cells: tuple[int, int]) -> None:
    """Points where they can be told apart, their density on a log scale where they cannot."""
    if len(x) <= _DENSE:
        axes.scatter(x, y, s=9, alpha=0.55, color=_BLUE, edgecolors="none", zorder=2)
        return
    axes.hexbin(x, y, gridsize=cells, norm=LogNorm(vmin=0.1), cmap="Blues", mincnt=1, zorder=2)


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, label: str, color: str) -> None:
    known = np.isfinite(y)
    if known.any():
        marker = "o" if known.sum() < 60 else ""
        axes.plot(
            x[known], y[known], color=color, label=label, lw=1.4, marker=marker, markersize=3.0
        )


def _logarithmic(axes: Axes, label: str) -> None:
    axes.set(yscale="log", xlabel="step", ylabel=label)
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever backend is configured
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
