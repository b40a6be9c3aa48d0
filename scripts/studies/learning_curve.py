"""How errors fall with the number of training frames, and with which power.

    python -m scripts.studies.learning_curve -o scripts/results/learning_curve.json \
        --plot scripts/images/learning_curve.png

The default network is trained in the same steps on 50 to 1000 frames in water, each set a part of
the next, without validation, and tested on whole sweeps in water that were held out. A run that was
killed goes on with the size it was at. About half an hour of one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import NullFormatter

from eqmm_ase.network.model_file import load_model
from scripts.common import text_table
from scripts.flagship.flagship_data import load_flagship
from scripts.pictures import BLUE, GREY, ORANGE, few, picture
from scripts.studies.cells import Cell, Cells, errors, study_parser, trained

SIZES = (1000, 50, 200, 400, 100)
"""In the order of training, so that a part of it already shows the slope."""
STEPS = 6000
SETTINGS = [
    *("model.cutoff=8.0", "hardware.accelerator=cpu"),
    *("training.batch_size=5", f"training.max_steps={STEPS}"),
]
FIGURES = {
    "energy_mae": ("energy, kcal/mol", BLUE),
    "qm_forces_mae": ("QM forces, kcal/mol/Å", ORANGE),
    "mm_forces_relative_rms": ("MM forces, relative RMS", GREY),
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
    columns = [("frames", ""), ("CPU s", ".0f"), ("E", ".3f"), ("F(QM)", ".3f"), ("F(MM)", ".2%")]
    rows = [
        (cell["n_frames"], cell["cpu_seconds"], *(_error(cell, key) for key in FIGURES))
        for cell in sorted(cells.values(), key=lambda cell: cell["n_frames"])
    ]
    table = text_table(columns, rows)
    said = ", ".join(f"{key} {power:.2f}" for key, power in powers.items())
    return f"{table}\npowers: {said}" if powers else table


def plot(cells: Mapping[str, Cell], powers: Mapping[str, float], path: Path) -> None:
    """Errors against frames on logarithmic axes, with the fitted lines."""
    ordered = sorted(cells.values(), key=lambda cell: cell["n_frames"])
    sizes = np.array([cell["n_frames"] for cell in ordered], dtype=float)
    with picture(path, 10, 3.3) as figure:
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
    parser = study_parser(__doc__)
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
