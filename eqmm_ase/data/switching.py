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

from eqmm_ase.arrays import FloatArray

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
    return 1.0 - _missing(qm_positions, mm_positions, residues, inner, outer)


def scale_gradients(
    qm_positions: FloatArray,
    mm_positions: FloatArray,
    residues: IntArray,
    inner: float,
    outer: float,
    weights: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Gradients of Σ_k w_k s_a(k) by all positions, s_a as `residue_scales` gives it.

    With w_k = q_k ∂E/∂q_k, q_k the charge before it fades, this is what the fading adds to the
    gradient of an energy that depends on the scaled charges:

        ∂s_a/∂r_k = (1 − s_a) Σ_i S'(d_ik)/(1 − S(d_ik)) u_ik,   u_ik = (r_k − R_i)/d_ik

    and zero for a residue that counts in full.

    Parameters
    ----------
    qm_positions, mm_positions, residues, inner, outer
        As in `residue_scales`.
    weights : (n_mm,)
        w_k, in any unit.

    Returns
    -------
    qm_gradient, mm_gradient : (n_qm, 3), (n_mm, 3)
        In the unit of the weights per Å; their sums are opposite.
    """
    qm_gradient, mm_gradient = np.zeros((len(qm_positions), 3)), np.zeros((len(mm_positions), 3))
    missing = _missing(qm_positions, mm_positions, residues, inner, outer)
    rows = np.flatnonzero((missing > 0.0) & (missing < 1.0))
    _, owner = np.unique(residues, return_inverse=True)
    factors = (np.bincount(owner, weights, minlength=1)[owner] * missing)[rows]
    for i, position in enumerate(qm_positions):
        vectors = mm_positions[rows] - position
        distances = np.linalg.norm(vectors, axis=1)
        slopes = switch_slope(distances, inner, outer)
        near = slopes != 0.0  # elsewhere 1 − S may be zero
        ratio = np.zeros(len(rows))
        ratio[near] = slopes[near] / (1.0 - switch(distances[near], inner, outer)) / distances[near]
        parts = (factors * ratio)[:, None] * vectors
        mm_gradient[rows] += parts
        qm_gradient[i] -= parts.sum(axis=0)
    return qm_gradient, mm_gradient


def switch(distance: FloatArray, inner: float, outer: float) -> FloatArray:
    """S(r) = 1 − x³ (10 − 15 x + 6 x²), x = (r − inner)/(outer − inner) within 0 … 1."""
    x = np.clip((distance - inner) / (outer - inner), 0.0, 1.0)
    return np.asarray(1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2))


def switch_slope(distance: FloatArray, inner: float, outer: float) -> FloatArray:
    """dS/dr = −30 x² (1 − x)²/(outer − inner)."""
    x = np.clip((distance - inner) / (outer - inner), 0.0, 1.0)
    return np.asarray(-30.0 * x**2 * (1.0 - x) ** 2 / (outer - inner))


def _missing(
    qm_positions: FloatArray,
    mm_positions: FloatArray,
    residues: IntArray,
    inner: float,
    outer: float,
) -> FloatArray:
    """1 − s_a of each charge, (n_mm,)."""
    factors = np.ones(len(mm_positions))
    for position in qm_positions:
        factors *= 1.0 - switch(np.linalg.norm(mm_positions - position, axis=1), inner, outer)
    _, owner = np.unique(residues, return_inverse=True)
    product = np.ones(int(owner.max(initial=-1)) + 1)
    np.multiply.at(product, owner, factors)
    return np.asarray(product[owner])
