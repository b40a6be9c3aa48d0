"""What parts of the check of a GPU give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Figures = dict[str, float | str]
"""Name with unit → value."""


class NotRunError(Exception):
    """What a part needs is not here; that is no failure."""


class TooFarError(Exception):
    """A figure is not what it must be."""


def refuse_beyond(found: Mapping[str, float], limits: Mapping[str, float]) -> None:
    """Raise `TooFarError` for the first deviation that is larger than its limit, or NaN."""
    for name, limit in limits.items():
        if not found[name] <= limit:
            raise TooFarError(f"{name}: {found[name]:.1e}, more than {limit:.1e}")


def largest(first: Any, second: Any) -> float:
    """Largest difference of a component; 0 where there are none."""
    difference = np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64))
    return float(difference.max(initial=0.0))


def median_ms(call: Callable[[], Any], repetitions: int) -> float:
    """Median wall-clock time of a call that ends when all is done, ms."""
    times = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        call()
        times.append(1000.0 * (time.perf_counter() - begun))
    return float(np.median(times))
