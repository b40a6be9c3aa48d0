"""The dipeptide of `dipeptide_kit` in four-site water, in periodic boxes of any shape."""

from __future__ import annotations

import itertools

import numpy as np
from ase.geometry import cellpar_to_cell
from dipeptide_kit import DIPEPTIDE, POSITIONS

from eqmm_ase.topology import Topology

WATER = np.array([[0.0, 0.0, 0.0], [0.9572, 0.0, 0.0], [-0.24, 0.9266, 0.0], [0.15, 0.11, 0.0]])
WATER_CHARGES = (0.0, 0.52, 0.52, -1.04)  # the fourth site is virtual and carries the charge

CELLS = {
    "cube": np.diag([22.5, 22.5, 22.5]),
    "octahedron": cellpar_to_cell([24.0, 24.0, 24.0, 109.4712190, 109.4712190, 109.4712190]),
    "dodecahedron": cellpar_to_cell([23.0, 23.0, 23.0, 60.0, 60.0, 90.0]),
    "skewed": np.array([[22.0, 0.0, 0.0], [9.0, 23.0, 0.0], [-8.0, 7.0, 22.0]]),
}


def images(reach: int) -> np.ndarray:
    return np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))


def topology_in_water(n: int) -> Topology:
    """The dipeptide and n waters."""
    first = 22 + 4 * np.arange(n)
    return Topology(
        atomic_numbers=np.concatenate([DIPEPTIDE.atomic_numbers, np.tile([8, 1, 1, 0], n)]),
        charges=np.concatenate([DIPEPTIDE.charges, np.tile(WATER_CHARGES, n)]),
        names=(*DIPEPTIDE.names, *(("O", "H1", "H2", "M") * n)),
        residues=np.concatenate([DIPEPTIDE.residues, 3 + np.repeat(np.arange(n), 4)]),
        residue_names=(*DIPEPTIDE.residue_names, *(["WAT"] * n)),
        residue_numbers=tuple(range(1, 4 + n)),
        segments=("",) * (3 + n),
        bonds=np.concatenate(
            [DIPEPTIDE.bonds, *(np.stack([first, first + k], axis=1) for k in (1, 2))]
        ),
        parents=np.concatenate(
            [DIPEPTIDE.parents, np.stack([*(-np.ones((3, n), int)), first], axis=1).ravel()]
        ),
    )


def in_water(cell: np.ndarray, seed: int = 0, spacing: float = 3.3) -> tuple[Topology, np.ndarray]:
    """Molecules whole, none nearer than 2.4 Å to another; waters turned at random.

    The waters stand near the points of a grid, off the places that symmetry would make equal.
    """
    rng = np.random.default_rng(seed)
    counts = np.maximum(
        1, (1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0) / spacing).astype(int)
    )
    grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in counts)), axis=-1).reshape(-1, 3)
    places = grid @ cell + rng.normal(0.0, 0.15, grid.shape)
    solute = POSITIONS + rng.normal(0.0, 0.02, POSITIONS.shape)
    around = (solute[None] + (images(2) @ cell)[:, None]).reshape(-1, 3)
    places = places[np.linalg.norm(places[:, None] - around, axis=-1).min(axis=1) > 3.4]
    turns = np.linalg.qr(rng.normal(size=(len(places), 3, 3)))[0]
    waters = places[:, None] + np.einsum("sk,nkj->nsj", WATER, turns)
    return topology_in_water(len(places)), np.concatenate([solute, waters.reshape(-1, 3)])
