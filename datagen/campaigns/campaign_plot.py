"""One picture of the labels of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from datagen.campaigns.statistics import FAR, Statistics
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.units import KCAL_PER_MOL

_BLUE, _GREY = "#1f5f99", "#b8b8b8"
_BINS = 50
_STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def plot_statistics(statistics: Statistics, path: Path, title: str, coordinate: str = "") -> None:
    """Draw histograms of a campaign's labels into a PNG file.

    Parameters
    ----------
    statistics
        From `datagen.campaigns.statistics.gather`.
    path
        The file; its folder must exist.
    title
        What the campaign is.
    coordinate
        The reaction coordinate, where one was evaluated.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.0, 6.0), layout="constrained", dpi=150)
        FigureCanvasAgg(figure)  # no window, whatever backend is configured
        panels = figure.subplots(2, 3).ravel()
        energies = statistics.energies / KCAL_PER_MOL
        _histogram(panels[0], energies, "energy − mean, kcal/mol", "labels")
        _histogram(panels[1], statistics.qm_forces, "force on a QM atom, eV/Å", "atoms")
        _logarithmic(panels[2], statistics.mm_forces)
        _histogram(panels[3], statistics.contacts, "nearest MM site, Å", "labels")
        distances = statistics.site_distances
        _histogram(panels[4], distances, f"MM site to nearest QM atom, below {FAR:g} Å", "sites")
        _coordinate(panels[5], statistics, coordinate)
        # A dollar sign in the name of a folder is no formula.
        figure.suptitle(title, fontsize=11, parse_math=False)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")


def _histogram(axes: Axes, values: np.ndarray, label: str, counted: str) -> None:
    if len(values):
        axes.hist(values, bins=min(_BINS, max(10, len(values) // 5)), color=_BLUE)
    axes.set(xlabel=label, ylabel=counted)


def _logarithmic(axes: Axes, forces: np.ndarray) -> None:
    present = forces[forces > 0.0]
    if len(present):
        axes.hist(
            present,
            bins=np.geomspace(present.min(), present.max() * 1.001, _BINS).tolist(),
            color=_BLUE,
        )
        axes.set_xscale("log")
    axes.set(xlabel="force on an MM site, eV/Å", ylabel="sites")


def _coordinate(axes: Axes, statistics: Statistics, coordinate: str) -> None:
    values = [statistics.labelled, statistics.unlabelled]
    if not coordinate or not sum(map(len, values)):
        axes.set_axis_off()
        return
    low, high = np.min(np.concatenate(values)), np.max(np.concatenate(values))
    edges = np.linspace(low, max(high, low + 1e-6), _BINS // 2 + 1).tolist()
    axes.hist(values, bins=edges, stacked=True, color=[_BLUE, _GREY], label=["labelled", "not yet"])
    axes.set(ylabel="frames")
    axes.set_xlabel(f"{coordinate}, Å", parse_math=False)
    axes.legend(frameon=False, fontsize=9)
