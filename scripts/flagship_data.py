"""The flagship data as experiments use them: whole sweeps held out, the same in all of them.

    python scripts/flagship_data.py FOLDER

writes them as ``<medium>_train.h5`` and ``<medium>_test.h5``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import ReferenceData, write_frames

HELD_OUT = (
    *("water-sweep-3", "water-sweep-10", "water-sweep-17"),
    *("methanol-sweep-5", "gas-sweep-3"),
)
"""Sources that no model is trained or validated on; one water sweep of each kind of simulation."""
FOLDER = Path(__file__).parent / "flagship"
FILES = ("water_a", "water_b", "water_c", "methanol", "gas")


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

    def training(self, count: int, media: Sequence[str] = ("water",)) -> list[Frame]:
        """Draw frames at random from the sweeps that are not held out; fewer are a part of more.

        Raises
        ------
        ValueError
            When there are not so many.
        """
        known = [f for f in self.frames if f.source not in HELD_OUT and f.medium in media]
        if count > len(known):
            raise ValueError(
                f"asked for {count} training frames; the data have {len(known)} in "
                f"{', '.join(media)}"
            )
        return [known[i] for i in np.random.default_rng(1).permutation(len(known))[:count]]


def load_flagship(folder: Path = FOLDER) -> Flagship:
    """Read all five files, water in the order of its sweeps.

    Raises
    ------
    DatasetError, FileNotFoundError
        As `ReferenceData`.
    """
    frames: list[Frame] = []
    for name in FILES:
        with ReferenceData(folder / f"{name}.h5") as data:
            frames += data.load()
            method = data.method
    return Flagship(frames, method)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    data = load_flagship()
    for medium in ("water", "methanol", "gas"):
        known = [frame for frame in data.all_in(medium) if frame.source not in HELD_OUT]
        for name, frames in (("train", known), ("test", data.test(medium))):
            write_frames(folder / f"{medium}_{name}.h5", frames, data.method)
            print(f"{medium}_{name}.h5: {len(frames)} frames")


if __name__ == "__main__":
    main()
