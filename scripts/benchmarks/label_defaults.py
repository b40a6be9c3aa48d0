"""What density fitting, the grid and the SCF thresholds cost in accuracy: why defaults are so.

python -m scripts.benchmarks.label_defaults          # writes scripts/results/label_defaults.json

Methanol in the charges of water, B3LYP/6-31G*, against labels without density fitting on grid
level 5 with thresholds of 1e-12 and 1e-8. Besides the largest error of an energy stands the
largest after the mean has been taken away: a constant matters to nobody who trains or runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from scripts.benchmarks.plain_labels import KCAL_PER_MOL
from scripts.common import RESULTS, TEST_DATA, argument_parser, write_results

RESULT = RESULTS / "label_defaults.json"
FRAMES = TEST_DATA / "methanol.h5"
TIGHT = {"conv_tol": 1e-12, "conv_tol_grad": 1e-8}
REFERENCE = {"density_fit": False, "grid_level": 5, **TIGHT}
SETTINGS: list[dict[str, Any]] = [
    *({"density_fit": True, "grid_level": level, **TIGHT} for level in (1, 2, 3, 4, 5)),
    {"density_fit": False, "grid_level": 3, **TIGHT},
    {"density_fit": True, "grid_level": 3},  # all as by default
    {"density_fit": True, "grid_level": 3, "conv_tol": 1e-8, "conv_tol_grad": 1e-4},
]


def labelled(frames: Sequence[Frame], settings: dict[str, Any]) -> tuple[list[Frame], float]:
    """Labels and processor seconds of one."""
    method = Method(**settings)
    begun = time.process_time()
    found = [label_frame(frame, method).frame for frame in frames]
    return found, (time.process_time() - begun) / len(frames)


def errors(found: Sequence[Frame], expected: Sequence[Frame]) -> dict[str, float]:
    """Largest errors in kcal/mol and kcal/mol/Å."""
    energies = np.array([[frame.energy for frame in frames] for frames in (found, expected)], float)
    energy = energies[0] - energies[1]
    worst = {"energy": np.abs(energy).max(), "energy_less_mean": np.ptp(energy - energy.mean()) / 2}
    for name in ("qm_forces", "mm_forces"):
        pairs = zip(found, expected, strict=True)
        worst[name] = max(np.abs(getattr(a, name) - getattr(b, name)).max() for a, b in pairs)
    return {name: float(value) / KCAL_PER_MOL for name, value in worst.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write", RESULT)
    parser.add_argument("--frames", type=int, default=4)
    chosen = parser.parse_args(arguments)
    frames = read_frames(FRAMES, range(chosen.frames))
    expected, seconds = labelled(frames, REFERENCE)
    rows: list[dict[str, Any]] = [{**REFERENCE, "seconds": seconds}]
    print("fitting grid  tol_grad       s        dE  dE-mean    dF_QM    dF_MM   kcal/mol, /Å")
    for settings in SETTINGS:
        found, seconds = labelled(frames, settings)
        full = {key: getattr(Method(**settings), key) for key in REFERENCE}
        rows.append({**full, "seconds": seconds, "largest_error": errors(found, expected)})
        print(
            f"{full['density_fit']!s:8s}{full['grid_level']:4d}{full['conv_tol_grad']:10.0e}"
            f"{seconds:8.2f}  "
            + "".join(f"{value:9.1e}" for value in rows[-1]["largest_error"].values()),
            flush=True,
        )
    result = {
        "what": "errors of labels by setting, kcal/mol and kcal/mol/Å; processor seconds",
        "frames": f"{chosen.frames} of {FRAMES.name}",
        "rows": rows,
    }
    write_results(chosen.output, result, ("eqmm", "pyscf", "numpy"))


if __name__ == "__main__":
    main()
