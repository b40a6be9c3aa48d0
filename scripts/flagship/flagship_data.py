"""The flagship data as experiments use them: whole sweeps held out, the same in all of them.

    python -m scripts.flagship.flagship_data FLAGSHIP

writes them as ``<medium>_train.h5`` and ``<medium>_test.h5``, and ``loose_…`` beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, write_frames
from eqmm_ase.simulation.coordinate import Coordinate
from scripts.common import FLAGSHIP, argument_parser

HELD_OUT = (
    *("water-sweep-3", "water-sweep-10", "water-sweep-17"),
    *("methanol-sweep-5", "gas-sweep-3"),
    *("water-loose-3", "gas-loose-1"),
)
"""Sources that no model is trained or validated on; one water sweep of each kind of simulation."""
COORDINATE = Coordinate.parse("d(0,1)-d(0,2)")
FILES = ("water_a", "water_b", "water_c", "methanol", "gas")
LOOSE = ("loose",)
"""About the transition state with longer bonds (``flagship/loosen.py``), in all media; for the
model that is shipped, while experiments stay comparable with those before."""


class Flagship(NamedTuple):
    """Labelled frames of Cl⁻ + CH3Cl, and what they were labelled with."""

    frames: list[Frame]
    method: dict[str, Any]

    def test(self, medium: str) -> list[Frame]:
        """Frames of the held-out sweeps in a medium."""
        return [f for f in self.frames if f.source in HELD_OUT and f.medium == medium]

    def all_in(self, medium: str) -> list[Frame]:
        """Every frame in a medium, for models that were trained on none of them."""
        return [frame for frame in self.frames if frame.medium == medium]

    def known(self, media: Sequence[str]) -> list[Frame]:
        """Frames of the sweeps in some media that are not held out."""
        return [f for f in self.frames if f.source not in HELD_OUT and f.medium in media]

    def training(self, count: int, media: Sequence[str] = ("water",)) -> list[Frame]:
        """Draw frames at random from the sweeps that are not held out; fewer are a part of more.

        Raises
        ------
        ValueError
            When there are not so many.
        """
        known = self.known(media)
        if count > len(known):
            raise ValueError(
                f"asked for {count} training frames; the data have {len(known)} in "
                f"{', '.join(media)}"
            )
        return [known[i] for i in np.random.default_rng(1).permutation(len(known))[:count]]


def zeta(frame: Frame) -> float:
    """Reaction coordinate d(C–Cl1) − d(C–Cl2) of a frame, Å."""
    return COORDINATE.value(frame.qm_positions)


def load_flagship(files: Sequence[str] = FILES) -> Flagship:
    """Read the files, water in the order of its sweeps.

    Raises
    ------
    DatasetError, FileNotFoundError
        As `ReferenceData`.
    """
    frames: list[Frame] = []
    for name in files:
        with ReferenceData(FLAGSHIP / f"{name}.h5") as data:
            frames += data.load()
            method = data.method
    return Flagship(frames, method)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    data, loose = load_flagship(), load_flagship(LOOSE)
    parts = {medium: data.all_in(medium) for medium in ("water", "methanol", "gas")}
    for part, frames in {**parts, "loose": loose.frames}.items():
        known = [frame for frame in frames if frame.source not in HELD_OUT]
        held_out = [frame for frame in frames if frame.source in HELD_OUT]
        for name, own in (("train", known), ("test", held_out)):
            write_frames(folder / f"{part}_{name}.h5", own, data.method)
            print(f"{part}_{name}.h5: {len(own)} frames")


if __name__ == "__main__":
    main()
