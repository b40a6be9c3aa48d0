"""Which frames are the same QM region in the same charges, up to rounding.

A fingerprint is four numbers, each a sum over nuclei and charges,

    f_a = Σ_i Z_i sin(k_a·R_i + a) + Σ_k q_k cos(k_a·r_k + a) + Q + S,   |k_a| ≈ 1/Å,

so that the order of the atoms does not matter, coordinates that differ by rounding change it by
less than `TOLERANCE`, and two frames of a trajectory differ in it by about ten. A model file keeps
those of its training frames, 16 bytes each.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from eqmm_ase.data.frame import Frame

TOLERANCE = 0.01
"""Positions with three decimals change a number of 50 atoms in 3000 charges by 0.005. A thousand
frames have 10⁻⁵ pairs within it by chance."""

SAME_POSITION = 1e-5
"""Å (and e): what is left of a number in float32, or with seven decimals in Bohr."""

_WAVE_VECTORS = np.array(
    [[0.91, 0.29, 0.47], [-0.38, 0.95, 0.31], [0.53, -0.61, 0.83], [0.71, 0.67, -0.59]]
)  # 1/Å


def fingerprints(frames: Sequence[Frame]) -> NDArray[np.float32]:
    """Fingerprints of frames, (F, 4)."""
    found = np.zeros((len(frames), len(_WAVE_VECTORS)), np.float32)
    phases = np.arange(len(_WAVE_VECTORS))
    for own, frame in zip(found, frames, strict=True):
        qm = np.asarray(frame.qm_positions, np.float64) @ _WAVE_VECTORS.T + phases
        mm = np.asarray(frame.mm_positions, np.float64) @ _WAVE_VECTORS.T + phases
        own += np.asarray(frame.atomic_numbers) @ np.sin(qm)
        own += np.asarray(frame.mm_charges, np.float64) @ np.cos(mm)
        own += frame.total_charge + frame.spin_multiplicity
    return found


def among(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of some fingerprints (F, 4) also occur among others, (F,)."""
    if not len(some) or not len(others):
        return np.zeros(len(some), bool)
    distances, _ = cKDTree(others).query(some, p=np.inf, distance_upper_bound=TOLERANCE)
    return np.isfinite(distances)


def to_text(found: NDArray[np.float32]) -> str:
    """Fingerprints for the card of a model."""
    return base64.b64encode(found.astype("<f4").tobytes()).decode()


def from_text(text: str) -> NDArray[np.float32]:
    """What `to_text` wrote."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, len(_WAVE_VECTORS))


def groups_of_same(frames: Sequence[Frame]) -> list[list[int]]:
    """Numbers of frames that are the same within `SAME_POSITION`, in the order of the first ones.

    Frames that are alike, as those of finite differences, are not the same.
    """
    found = fingerprints(frames)
    first: dict[int, int] = {}
    pairs = cKDTree(found).query_pairs(TOLERANCE, p=np.inf) if len(frames) else set()
    for i, j in sorted(pairs):
        if j not in first and are_same(frames[first.get(i, i)], frames[j]):
            first[j] = first.get(i, i)
    groups: dict[int, list[int]] = {}
    for number in range(len(frames)):
        groups.setdefault(first.get(number, number), []).append(number)
    return list(groups.values())


def are_same(one: Frame, other: Frame) -> bool:
    """Whether two frames are one QM region in one set of charges, row by row."""
    if (one.total_charge, one.spin_multiplicity) != (other.total_charge, other.spin_multiplicity):
        return False
    pairs = [
        (getattr(one, name), getattr(other, name))
        for name in ("atomic_numbers", "qm_positions", "mm_positions", "mm_charges")
    ]
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=0.0, atol=SAME_POSITION)
        for a, b in pairs
    )
