"""Divide the flagship data: whole sweeps are held out, the same ones for every model.

    python scripts/flagship/hold_out.py FOLDER

Writes ``<medium>_train.h5`` and ``<medium>_test.h5``. One sweep of each part in water (300 K,
350 K, spheres of one size) is held out, and one in methanol and in the gas phase.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import ReferenceData, write_frames

HERE = Path(__file__).parent
PARTS = {"water": ("water_a", "water_b", "water_c"), "methanol": ("methanol",), "gas": ("gas",)}
HELD_OUT = (
    "water-sweep-3",
    "water-sweep-10",
    "water-sweep-17",
    "methanol-sweep-5",
    "gas-sweep-3",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for medium, parts in PARTS.items():
        frames: dict[str, list[Frame]] = {"train": [], "test": []}
        for part in parts:
            with ReferenceData(HERE / f"{part}.h5") as data:
                method = data.method
                for frame in data.load():
                    frames["test" if frame.source in HELD_OUT else "train"].append(frame)
        for name, chosen in frames.items():
            write_frames(folder / f"{medium}_{name}.h5", chosen, method)
            print(f"{medium}_{name}.h5: {len(chosen)} frames")


if __name__ == "__main__":
    main()
