"""Pairs closer than a cutoff."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqmm_ase.kernels.compiler import compiled


def pairs_within(
    at: Any, at_ptr: Any, of: Any, of_ptr: Any, cutoff: float, *, same: bool = False
) -> tuple[Any, Any]:
    """All pairs of points in the same frame that are closer than a cutoff.

    Parameters
    ----------
    at, of: (N, 3) and (K, 3) Å.
    at_ptr, of_ptr: rows ptr[f]:ptr[f+1] are frame f.
    cutoff: Å.
    same: both are the same points, of which none is paired with itself.

    Returns
    -------
    Row of ``at``, in ascending order, and of ``of``, (P,) int64 each.
    """
    rows = _pairs_within(at, at_ptr, of, of_ptr, cutoff, same)
    return rows[0], rows[1]


@compiled
def _pairs_within(at, at_ptr, of, of_ptr, cutoff, same):  # type: ignore[no-untyped-def]
    rows, number = np.empty((2, 32 * len(at)), np.int64), 0
    for frame in range(len(at_ptr) - 1):
        close = _near_box(at, at_ptr[frame : frame + 2], of, of_ptr[frame : frame + 2], cutoff)
        for i in range(at_ptr[frame], at_ptr[frame + 1]):
            if number + len(close) > rows.shape[1]:
                larger = np.empty((2, 2 * (number + len(close))), np.int64)
                larger[:, :number] = rows[:, :number]
                rows = larger
            for k in close:
                square = at[i, 0] * 0
                for d in range(3):
                    square += (of[k, d] - at[i, d]) ** 2
                rows[0, number], rows[1, number] = i, k  # stays if near, else is written over
                if square < cutoff**2 and not (same and i == k):
                    number += 1
    return rows[:, :number].copy()


@compiled
def _near_box(at, at_rows, of, of_rows, cutoff):  # type: ignore[no-untyped-def]
    """Rows of a frame's points near the box around the others."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for i in range(at_rows[0], at_rows[1]):
        for d in range(3):
            low[d], high[d] = min(low[d], at[i, d] - cutoff), max(high[d], at[i, d] + cutoff)
    close, number = np.empty(of_rows[1] - of_rows[0], np.int64), 0
    for k in range(of_rows[0], of_rows[1]):
        close[number] = k
        if (
            low[0] <= of[k, 0] <= high[0]
            and low[1] <= of[k, 1] <= high[1]
            and low[2] <= of[k, 2] <= high[2]
        ):
            number += 1
    return close[:number]
