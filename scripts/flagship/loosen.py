"""Geometries about the transition state with longer bonds, in chains of twenty.

    python -m scripts.flagship.loosen OUTPUT SOLVENT SEED CHAINS

GFN2-xTB holds the chlorines closer to the carbon of the transition state than B3LYP does, and so
does what is sampled with it. Here geometries of the training data in one solvent, with the
coordinate between −1.2 and 1.2 Å, get both bonds up to 0.4 Å longer. A chain is in the order of the
coordinate, so that the solvent can follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from scripts.flagship.flagship_data import load_flagship, zeta

RANGE, LONGEST, LENGTH = 1.2, 0.4, 20


def main(output: Path, solvent: str, seed: int, chains: int) -> None:
    """Write chains of geometries as extended XYZ."""
    rng = np.random.default_rng(seed)
    near = [frame for frame in load_flagship().known([solvent]) if abs(zeta(frame)) < RANGE]
    images = []
    for chain in range(chains):
        drawn = [near[k] for k in rng.permutation(len(near))[:LENGTH]]
        for frame in sorted(drawn, key=zeta):
            positions = frame.qm_positions.copy()
            bonds = positions[1:3] - positions[0]
            units = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
            positions[1:3] += units * rng.uniform(0.0, LONGEST, (2, 1))
            info = {"source": f"loose-{chain}", "total_charge": frame.total_charge}
            images.append(Atoms(frame.atomic_numbers, positions, info=info))
    write(output, images, format="extxyz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
