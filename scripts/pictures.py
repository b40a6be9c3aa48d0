"""How pictures of scripts look: one style, and ticks that do not overlap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eqmm_ase.atomic_write import atomic_path

BLUE, ORANGE, GREY = "#1f5f99", "#d1701a", "#808080"
_STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Figure to draw into, which becomes a PNG file when the block ends without an error.

    Parameters
    ----------
    path
        The file.
    width, height
        Inches, of 150 pixels.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
        FigureCanvasAgg(figure)  # no window, whatever backend is configured
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")


def few(value: float, _: float, leading: str = "23457") -> str:
    """Label of a minor tick, at some multiples of a power of ten: more would overlap."""
    return f"{value:g}" if f"{value:e}"[0] in leading else ""
