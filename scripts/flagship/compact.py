"""Write labelled frames into files small enough for the repository, and a subset for the tests.

    python -m scripts.flagship.compact FOLDER

MM positions are multiples of 2⁻¹³ Å, so that single precision holds them exactly. Forces on MM
charges and the potential at them are rounded to 2⁻²⁰ eV/Å and 2⁻¹⁷ V, a thousandth of what a model
can learn; everything else keeps its digits. The subset has 20 frames of each medium, evenly along
the reaction coordinate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, write_frames
from scripts.common import FLAGSHIP, TEST_DATA, argument_parser
from scripts.flagship.flagship_data import zeta

TESTS_FILE = TEST_DATA / "flagship.h5"
MEDIA = ("water", "methanol", "gas")
SWEEPS = ("gas", "methanol", "water_a", "water_b", "water_c")
PARTS = {**{name: (name,) for name in SWEEPS}, "loose": tuple(f"{m}_loose" for m in MEDIA)}
"""File for the repository → files of labels."""
_FORCE_STEP = 2.0**-20  # eV/Å
_POTENTIAL_STEP = 2.0**-17  # V
_PER_MEDIUM = 20


def compact(frame: Frame) -> Frame:
    """The frame with its MM arrays in single precision."""
    return replace(
        frame,
        mm_positions=np.asarray(frame.mm_positions, np.float32),
        mm_forces=_rounded(frame.mm_forces, _FORCE_STEP),
        mm_potential=_rounded(frame.mm_potential, _POTENTIAL_STEP),
    )


def evenly_along_coordinate(frames: Sequence[Frame], number: int) -> list[Frame]:
    """Frames whose ζ divides the range of all into equal parts, each at most once."""
    rest = sorted(frames, key=zeta)
    chosen = []
    for target in np.linspace(zeta(rest[0]), zeta(rest[-1]), number):
        chosen.append(min(rest, key=lambda frame: abs(zeta(frame) - target)))
        rest = [frame for frame in rest if frame is not chosen[-1]]
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path, help="where scripts/flagship/make put its labels")
    chosen = parser.parse_args(arguments)
    by_medium: dict[str, list[Frame]] = {}
    method = {}
    for part, names in PARTS.items():
        paths = [chosen.folder / f"{name}.h5" for name in names]
        if missing := [path for path in paths if not path.is_file()]:
            print(f"{missing[0]} is not there yet")
            continue
        frames = []
        for path in paths:
            with ReferenceData(path) as data:
                frames += [compact(frame) for frame in data.load()]
                method = data.method
        write_frames(FLAGSHIP / f"{part}.h5", frames, method)
        if part in SWEEPS:
            by_medium.setdefault(frames[0].medium, []).extend(frames)
        print(f"{part}: {len(frames)} frames")
    subset = [
        frame
        for frames in by_medium.values()
        for frame in evenly_along_coordinate(frames, _PER_MEDIUM)
    ]
    write_frames(TESTS_FILE, subset, method)
    print(f"{TESTS_FILE.name}: {len(subset)} frames")


def _rounded(values: np.ndarray | None, step: float) -> np.ndarray:
    assert values is not None  # the frames are labelled
    return (np.round(values / step) * step).astype(np.float32)


if __name__ == "__main__":
    main()
