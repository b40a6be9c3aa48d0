"""Charges that fade out smoothly towards the cut, whole residues at a time.

With a sharp cut a residue's charges appear at once when it comes near enough. Here the charges of
residue a are scaled by

    s_a = 1 − Π_ik (1 − S(|r_k − R_i|)),   i all QM atoms, k all charges of the residue,

where S falls from 1 at the inner radius to 0 at the outer one with two continuous derivatives. The
residue counts in full as soon as one of its charges is within the inner radius of one QM atom, and
not at all when all are beyond the outer radius of all; s_a is as smooth as S. All charges of a
residue have one factor: a neutral residue stays neutral, and an ion between the radii becomes a
fraction of its charge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


def residue_scales(
    qm_positions: FloatArray,
    mm_positions: FloatArray,
    residues: IntArray,
    inner: float,
    outer: float,
) -> FloatArray:
    """Factor of each MM charge, from 0 to 1.

    Parameters
    ----------
    qm_positions, mm_positions : (n_qm, 3), (n_mm, 3)
        Å.
    residues : (n_mm,)
        Residue of each charge, any numbers.
    inner, outer
        Å.

    Returns
    -------
    (n_mm,)
    """
    missing = np.ones(len(mm_positions))  # Π_i (1 − S)
    for position in qm_positions:
        missing *= 1.0 - switch(np.linalg.norm(mm_positions - position, axis=1), inner, outer)
    _, owner = np.unique(residues, return_inverse=True)
    product = np.ones(int(owner.max(initial=-1)) + 1)
    np.multiply.at(product, owner, missing)
    return np.asarray(1.0 - product[owner])


def switch(distance: FloatArray, inner: float, outer: float) -> FloatArray:
    """S(r) = 1 − x³ (10 − 15 x + 6 x²), x = (r − inner)/(outer − inner) within 0 … 1."""
    x = np.clip((distance - inner) / (outer - inner), 0.0, 1.0)
    return np.asarray(1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2))
