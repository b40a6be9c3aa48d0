"""Statistics of a training set that a few wrong labels cannot decide; else the usual ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LIMIT = 10.0
"""Errors over the median beyond which a frame has no more influence than at it.

Of normally distributed errors fewer than one in 10¹⁰ is as large: correct labels do not notice.
"""


def limited_rms(squares: ArrayLike, counts: ArrayLike) -> float:
    """Root mean square over all components, with that of each frame limited by the median frame's.

    Parameters
    ----------
    squares, counts
        (F,) sums of squares of each frame, and numbers of components; frames without any do not
        count.
    """
    known = np.asarray(counts, np.float64) > 0
    own_squares, own_counts = (np.asarray(v, np.float64)[known] for v in (squares, counts))
    if not known.any():
        return 0.0
    mean = own_squares / own_counts
    # Where most frames feel no force at all, the median says nothing.
    limit = LIMIT**2 * np.median(mean) or np.inf
    return float(np.sqrt((own_counts * np.minimum(mean, limit)).sum() / own_counts.sum()))


def fit_linear(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares, where residuals far beyond the median pull like those at the limit (Huber).

    Parameters
    ----------
    design
        (F, n).
    values
        (F,).

    Returns
    -------
    (n,), the smallest of all solutions.
    """
    weights = np.ones(len(values))
    solution = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        solution, *_ = np.linalg.lstsq(root[:, None] * design, root * values, rcond=None)
        residual = values - design @ solution
        # About their median: one wild value displaces all residuals of the first fit.
        deviation = np.abs(residual - np.median(residual))
        limit = LIMIT * np.median(deviation)
        before, weights = weights, np.ones(len(values))
        beyond = deviation > limit if limit > 0 else np.zeros(len(values), bool)
        weights[beyond] = limit / deviation[beyond]
        if np.allclose(weights, before, rtol=1e-3, atol=0):
            break
    return solution


_ITERATIONS = 50
