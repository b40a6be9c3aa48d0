"""How the loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Sums may be reordered, which vector instructions need; NaN and infinity stay what they are.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call with arrays of a type; threads may share it.

    What was compiled is kept on disk beside the source or in the user's cache, where one of them
    can be written to: only the first process waits. Functions that call each other stay in one
    file, as a changed file is what makes numba compile anew.
    """
    options: dict[str, Any] = {"fastmath": _FASTMATH, "error_model": "numpy", "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to write
        return numba.njit(**options)(function)
