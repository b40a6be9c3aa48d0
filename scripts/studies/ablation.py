"""What each part of the model is good for: one change at a time, on 1000 frames in water.

    python -m scripts.studies.ablation -o results.json --plot ablation.png

Every variant is trained with the same steps, the same frames and no validation, and tested on water
sweeps that were held out and on all frames in methanol and in gas: media it has never seen. A
model file per variant goes to the folder `--models`. A run that was killed goes on with the
variant it was at. About an hour of one core per seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from eqmm_ase.network.model_file import load_model
from scripts.common import text_table
from scripts.flagship.flagship_data import load_flagship
from scripts.pictures import BLUE, GREY, ORANGE, few, picture
from scripts.studies.cells import Cell, Cells, errors, study_parser, trained

N_FRAMES, STEPS = 1000, 6000
SETTINGS = [
    *("model.cutoff=8.0", "hardware.accelerator=cpu"),
    *("training.batch_size=5", f"training.max_steps={STEPS}"),
]
VARIANTS: Mapping[str, Sequence[str]] = {
    "L = 3": [],
    "L = 1": ["model.l_expansion=1"],
    "L = 2": ["model.l_expansion=2"],
    "L = 0": ["model.l_expansion=0"],
    "no polarisation": ["model.polarisable=false"],
    "L = 4": ["model.l_expansion=4"],
    "hidden l ≤ 1": ["model.l_hidden=1"],
    "no near-field kernels": ["model.n_near=0"],
    "no multipoles": ["model.multipoles=false"],
    "hidden l ≤ 3": ["model.l_hidden=3"],
}
"""Changes of the default: L = 3, hidden l ≤ 2, 8 near-field kernels, 24 channels, 2 layers."""
ORDER = (
    *("L = 0", "L = 1", "L = 2", "L = 3", "L = 4", "hidden l ≤ 1", "hidden l ≤ 3"),
    *("no near-field kernels", "no multipoles", "no polarisation"),
)
"""In tables and figures, where the trainings go by importance."""
FIGURES = {
    "energy_mae": "energy, kcal/mol",
    "energy_mae_centred": "energy\nwithout its mean, kcal/mol",
    "qm_forces_mae": "QM forces, kcal/mol/Å",
    "mm_forces_relative_rms": "MM forces, relative RMS",
}
MEDIA = {
    "water": ("water, held out", BLUE),
    "methanol": ("methanol, never seen", ORANGE),
    "gas": ("gas, never seen", GREY),
}


def run(cells: Cells, models: Path, seeds: int) -> Iterator[str]:
    """Train and test every variant that has no cell yet, one seed after the other; its name."""
    data = load_flagship()
    training = data.training(N_FRAMES)
    tests = {"water": data.test("water"), **{m: data.all_in(m) for m in ("methanol", "gas")}}
    for seed in range(seeds):
        for variant, change in VARIANTS.items():
            name = f"{variant}, seed {seed}"
            if name in cells:
                continue
            print(f"\n{name}", flush=True)
            settings = [*SETTINGS, f"training.seed={seed}", *change]
            made, model = trained(training, data.method, settings, models)
            cell: Cell = {"variant": variant, "seed": seed, **made}
            cells.add(name, cell | {"errors": errors(load_model(model)[0], tests)})
            yield name


def means(cells: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """Variant → parameters, CPU seconds, seeds, and medium → error → mean over the seeds."""
    found: dict[str, dict[str, Any]] = {}
    for variant in ORDER:
        own = [cell for cell in cells.values() if cell["variant"] == variant]
        if own:
            found[variant] = {
                "seeds": len(own),
                "parameters": own[0]["parameters"],
                "cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in own])),
                "errors": {
                    medium: {
                        key: float(np.mean([cell["errors"][medium][key] for cell in own]))
                        for key in FIGURES
                        if key in own[0]["errors"][medium]
                    }
                    for medium in MEDIA
                },
            }
    return found


def table(rows: Mapping[str, dict[str, Any]]) -> str:
    """Errors of energy, also without their mean (E°), QM and MM forces, a line per variant."""
    columns = [("", ""), ("weights", "d"), ("CPU s", ".0f")]
    figures = [("E", ".2f"), ("E°", ".2f"), ("F(QM)", ".2f"), ("F(MM)", ".1%")]
    keys = ("energy_mae", "energy_mae_centred", "qm_forces_mae", "mm_forces_relative_rms")
    lines = [
        [name, row["parameters"], row["cpu_seconds"]]
        + [row["errors"][medium].get(key) for medium in MEDIA for key in keys]
        for name, row in rows.items()
    ]
    groups = [("", 3), *((medium, len(keys)) for medium in MEDIA)]
    return text_table(columns + figures * len(MEDIA), lines, groups)


def plot(rows: Mapping[str, dict[str, Any]], path: Path) -> None:
    """Bars of the three errors by variant and medium."""
    places, height = np.arange(len(rows))[::-1], 0.26
    with picture(path, 13, 0.45 * len(rows) + 1.6) as figure:
        axes = figure.subplots(1, len(FIGURES), sharey=True)
        for axis, (key, title) in zip(axes, FIGURES.items(), strict=True):
            for number, (medium, (_, colour)) in enumerate(MEDIA.items()):
                values = [row["errors"][medium].get(key, np.nan) for row in rows.values()]
                if np.isfinite(values).any():
                    axis.barh(places + (1 - number) * height, values, height, color=colour)
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(partial(few, leading="25"))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set_xlabel(f"error of the {title}")
            axis.set_yticks(places, list(rows))
        handles = [Patch(color=colour, label=label) for label, colour in MEDIA.values()]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)


def report(cells: Cells, picture: Path | None) -> None:
    """Print, write and draw what is known so far."""
    cells.summary = means(cells.cells)
    if cells.summary:
        cells.write()
        print(table(cells.summary), flush=True)
        if picture:
            plot(cells.summary, picture)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing; print the table and draw the plot after each variant."""
    parser = study_parser(__doc__)
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of every variant")
    options = parser.parse_args(arguments)
    cells = Cells(options.output, {"n_frames": N_FRAMES, "steps": STEPS})
    report(cells, options.plot)
    for _ in run(cells, options.models, options.seeds):
        report(cells, options.plot)


if __name__ == "__main__":
    main()
