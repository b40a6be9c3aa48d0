"""How errors fall with the number of training frames, and with which power.

    python -m scripts.studies.learning_curve -o scripts/results/learning_curve.json \
        --plot scripts/images/learning_curve.png

The default network is trained in the same steps on 50 to 1000 frames in water, each set a part of
the next, without validation, and tested on whole sweeps in water that were held out. A run that was
killed goes on with the size it was at. About half an hour of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from eqmm_ase.network.model_file import load_model
from scripts.flagship.flagship_data import load_flagship
from scripts.studies.cells import Cell, Cells, errors, trained

SIZES = (1000, 50, 200, 400, 100)
"""In the order of training, so that a part of it already shows the slope."""
STEPS = 6000
SETTINGS = [
    *("model.cutoff=8.0", "hardware.accelerator=cpu"),
    *("training.batch_size=5", f"training.max_steps={STEPS}"),
]
FIGURES = {
    "energy_mae": ("energy, kcal/mol", "#1f5f99"),
    "qm_forces_mae": ("QM forces, kcal/mol/Å", "#d1701a"),
    "mm_forces_relative_rms": ("MM forces, relative RMS", "#808080"),
}


def slopes(cells: Mapping[str, Cell]) -> dict[str, float]:
    """Power of the number of frames with which every error goes: least squares of logarithms."""
    sizes = np.log([cell["n_frames"] for cell in cells.values()])
    return {
        key: float(np.polyfit(sizes, np.log([_error(c, key) for c in cells.values()]), 1)[0])
        for key in FIGURES
    }


def table(cells: Mapping[str, Cell], powers: Mapping[str, float]) -> str:
    """A line per size, and the powers."""
    lines = [f"{'frames':>8}{'CPU s':>8}{'E':>9}{'F(QM)':>9}{'F(MM)':>9}"]
    for cell in sorted(cells.values(), key=lambda cell: cell["n_frames"]):
        energy, qm, mm = (_error(cell, key) for key in FIGURES)
        lines.append(
            f"{cell['n_frames']:8}{cell['cpu_seconds']:8.0f}{energy:9.3f}{qm:9.3f}{mm:9.2%}"
        )
    if powers:
        lines.append(f"{'power':>16}" + "".join(f"{powers[key]:9.2f}" for key in FIGURES))
    return "\n".join(lines)


def plot(cells: Mapping[str, Cell], powers: Mapping[str, float], path: Path) -> None:
    """Errors against frames on logarithmic axes, with the fitted lines."""
    ordered = sorted(cells.values(), key=lambda cell: cell["n_frames"])
    sizes = np.array([cell["n_frames"] for cell in ordered], dtype=float)
    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 3.3), layout="constrained", dpi=150)
        FigureCanvasAgg(figure)
        for axis, (key, (title, colour)) in zip(
            figure.subplots(1, len(FIGURES)), FIGURES.items(), strict=True
        ):
            values = np.array([_error(cell, key) for cell in ordered])
            axis.loglog(sizes, values, "o", color=colour)
            if powers:
                offset = np.mean(np.log(values) - powers[key] * np.log(sizes))
                line = np.exp(offset) * sizes ** powers[key]
                axis.loglog(sizes, line, "-", color=colour, linewidth=1)
                axis.text(
                    0.95,
                    0.9,
                    rf"$\propto n^{{{powers[key]:.2f}}}$",
                    ha="right",
                    transform=axis.transAxes,
                )
            axis.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.yaxis.set_minor_formatter(few)
            axis.yaxis.set_major_formatter("{x:g}")
            axis.set_xlabel("training frames")
            axis.set_ylabel(title)
        figure.savefig(path)


def few(value: float, _: float, leading: str = "23457") -> str:
    """Label of a minor tick, at some multiples of a power of ten: more would overlap."""
    return f"{value:g}" if f"{value:e}"[0] in leading else ""


def _error(cell: Cell, key: str) -> float:
    return float(cell["errors"]["water"][key])


def report(cells: Cells, picture: Path | None) -> None:
    """Print, write and draw what is known so far."""
    powers = slopes(cells.cells) if len(cells.cells) > 1 else {}
    cells.summary = {"powers": powers}
    if cells.cells:
        cells.write()
        print(table(cells.cells, powers), flush=True)
        if picture:
            plot(cells.cells, powers, picture)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing; print the table and draw the plot after each size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--models", type=Path, default=Path("build/models"), help="folder")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    options = parser.parse_args(arguments)
    data = load_flagship()
    cells = Cells(options.output, {"steps": STEPS})
    report(cells, options.plot)
    for size in SIZES:
        name = f"{size} frames"
        if name in cells:
            continue
        print(f"\n{name}", flush=True)
        made, model = trained(data.training(size), data.method, SETTINGS, options.models)
        tests = {"water": data.test("water")}
        cells.add(name, made | {"errors": errors(load_model(model)[0], tests)})
        report(cells, options.plot)


if __name__ == "__main__":
    main()
