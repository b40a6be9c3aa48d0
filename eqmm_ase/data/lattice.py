"""Periodic boxes of any shape: their vectors, their translations, and nearest images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from ase.geometry import cellpar_to_cell, minkowski_reduce

from eqmm_ase.arrays import FloatArray

_SMALLEST_EDGE = 2.0  # Å; programs without a box write one of 0 or 1 Å
_FLATTEST = 1e-3  # volume of a box with edges of 1


def box_vectors(lengths_and_angles: FloatArray | Sequence[float]) -> FloatArray | None:
    """Lattice vectors as rows, (3, 3) Å, of lengths (Å) and angles (degrees).

    None where they span no box: zeros, NaN, impossible angles.
    """
    box = np.asarray(lengths_and_angles, np.float64)
    if not (np.isfinite(box).all() and (box[3:] > 0.0).all() and (box[3:] < 180.0).all()):
        return None
    try:
        return as_box(np.asarray(cellpar_to_cell(box)))
    except AssertionError:  # three angles that make no corner
        return None


def as_box(vectors: FloatArray) -> FloatArray | None:
    """The lattice vectors, (3, 3) Å, or None where they span no box."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(vectors).all() and lengths.min() >= _SMALLEST_EDGE):
        return None
    volume = abs(float(np.linalg.det(vectors / lengths[:, None])))
    return np.asarray(vectors) if volume >= _FLATTEST else None


def shortest_repeat(cell: FloatArray) -> float:
    """Length of the shortest lattice vector, in the unit of the cell."""
    return float(np.linalg.norm(_reduced(cell), axis=1).min())


def minimum_image(vectors: FloatArray, cell: FloatArray | None) -> FloatArray:
    """Shortest of the periodic images of each vector, (n, 3) in the unit of the cell."""
    if cell is None:
        return np.asarray(vectors)
    reduced, inverse, steps = _reduction(cell)
    shortest = np.array(vectors, np.float64)
    far = (shortest**2).sum(axis=1) >= (shortest_repeat(cell) / 2.0) ** 2  # the rest is shortest
    if far.any():
        # In a reduced cell, the shortest image is among the neighbours of the wrapped one.
        wrapped = shortest[far] - np.round(shortest[far] @ inverse) @ reduced
        images = wrapped[:, None] + steps
        nearest = (images**2).sum(axis=2).argmin(axis=1)
        shortest[far] = images[np.arange(len(images)), nearest]
    return shortest


def translations(cell: FloatArray, reach: float) -> FloatArray:
    """All lattice vectors up to a length, zero first, and some longer ones; (n, 3)."""
    reduced = _reduced(cell)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(reduced), axis=0)  # between opposite faces
    counts = np.floor(reach / heights).astype(int)
    steps = itertools.product(*(range(-n, n + 1) for n in counts))
    found = np.array(list(steps), np.float64) @ reduced
    return found[np.argsort((found**2).sum(axis=1), kind="stable")]


def _reduced(cell: FloatArray) -> FloatArray:
    return _reduction(cell)[0]


def _reduction(cell: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Minkowski-reduced cell, its inverse, and the 27 steps to itself and its neighbours."""
    return _reduction_of(np.ascontiguousarray(cell, np.float64).tobytes())


@lru_cache(maxsize=64)  # dynamics ask for one cell over and over, and reducing it takes a while
def _reduction_of(cell: bytes) -> tuple[FloatArray, FloatArray, FloatArray]:
    vectors = np.frombuffer(cell, np.float64).reshape(3, 3)
    reduced = np.asarray(minkowski_reduce(vectors, pbc=True)[0])
    # Zero first: of images at one distance, the wrapped one is taken.
    ordered = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda n: sum(map(abs, n)))
    return reduced, np.linalg.inv(reduced), np.array(ordered, np.float64) @ reduced
