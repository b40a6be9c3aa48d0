"""Split a file of geometries by sweeps: ``split_sweeps.py water.xyz 7`` makes water-0.xyz etc."""

from __future__ import annotations

import sys
from pathlib import Path

from ase.io import read, write


def main(path: Path, sweeps_each: int) -> None:
    """Write the sweeps 0 to n − 1, n to 2 n − 1 … into files of their own."""
    parts: dict[int, list] = {}
    for atoms in read(path, index=":"):
        sweep = int(str(atoms.info["source"]).rpartition("-")[2])
        parts.setdefault(sweep // sweeps_each, []).append(atoms)
    for number, images in parts.items():
        write(path.with_name(f"{path.stem}-{number}{path.suffix}"), images, format="extxyz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
