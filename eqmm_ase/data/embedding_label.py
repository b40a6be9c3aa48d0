"""How atoms remember which MM charges they were computed in."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EMBEDDING = "embedding"
"""Where in ``atoms.info`` atoms remember the charges that they were computed in."""
CHARGES, POSITIONS = "mm_charges", "mm_positions"
"""Where files have the charges themselves: e, Å."""


def label_of(charges: FloatArray, positions: FloatArray | None) -> str:
    """Label by which atoms remember MM charges: number, sum and checksum; empty for vacuum.

    Parameters
    ----------
    charges
        (n_mm,), e.
    positions
        (n_mm, 3), Å.
    """
    if positions is None or not charges.any():
        return ""
    number = crc32(positions.tobytes(), crc32(charges.tobytes()))
    net = round(float(charges.sum()), 3) + 0.0  # no negative zero
    return f"{len(charges)} MM charges, {net:+.3f} e, checksum {number:08x}"
