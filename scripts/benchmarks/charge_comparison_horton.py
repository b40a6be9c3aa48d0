"""MBIS charges by horton-part: an independent check of ours.

horton-part is GPL software that EqMM neither contains nor links. This file runs by itself, in an
environment of its own (`pip install horton-part pyscf`), started by `charge_comparison.py`:

    python -m scripts.benchmarks.charge_comparison_horton density.npz charges.json

`density.npz` holds a PySCF molecule (`molecule`, as `dumps` writes it) and its density `matrix`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from grid.basegrid import Grid
from horton_part.mbis import MBISWPart
from pyscf import dft, gto

GRID_LEVEL = 3  # of PySCF; ours is 2
BLOCK = 20_000


def main(source: str, target: str) -> None:
    """Read a density, write charges (e) and the number of electrons that the grid counts."""
    with np.load(source) as stored:
        molecule, matrix = gto.loads(str(stored["molecule"])), stored["matrix"]
    numbers, nuclei = molecule.atom_charges(), molecule.atom_coords()
    own = dft.gen_grid.Grids(molecule)
    own.level = GRID_LEVEL
    own.build()
    grid = Grid(own.coords, own.weights)
    blocks = []
    for start in range(0, len(grid.points), BLOCK):
        orbitals = molecule.eval_gto("GTOval", grid.points[start : start + BLOCK])
        blocks.append(np.einsum("gi,ij,gj->g", orbitals, matrix, orbitals, optimize=True))
    density = np.concatenate(blocks)
    partition = MBISWPart(
        nuclei,
        numbers,
        None,
        grid,
        density,
        grid_type=3,  # one grid for all atoms: horton-part's own atomic grids lose 1e-4 e
        threshold=1e-6,
        inner_threshold=1e-8,
        maxiter=5000,
    )
    partition.do_charges()
    result = {
        "charges": partition["charges"].tolist(),
        "electrons": float(grid.weights @ density),
        "version": version("horton-part"),
    }
    Path(target).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
