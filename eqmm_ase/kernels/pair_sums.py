"""Sums of irregular solid harmonics over all pairs of atoms and sites.

The harmonics of a block of sites about one atom stay in a core's nearest cache, and are made again
for every sum: cheaper than to read them from memory. They follow from the vertical recursion

    √((l+1)² − m²) R_l+1,m = (2l+1) y R_lm − √(l² − m²) r² R_l−1,m,        |m| ≤ l

(y is the polar axis of `eqmm_ase.network.harmonics`) and, for the outermost two of each order, from
the addition theorem of sine and cosine. Taken at r/r², and times 1/r, R_lm is I_lm.

Source: T. Helgaker, P. Jørgensen, J. Olsen, Molecular Electronic-Structure Theory (2000), ch. 6.4.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from eqmm_ase.kernels.compiler import compiled

_BLOCK = 256  # sites: their harmonics fill the nearest cache in float32


def sum_over_sites(atoms: Any, sites: Any, weights: Any, l_max: int) -> Any:
    """Σ_k I_bik w_ck of the harmonics I_b(r_k − R_i); blocks are added up in float64.

    Parameters
    ----------
    atoms: (N, 3) Å.
    sites: (3, K) Å, contiguous, of the same type as all others.
    weights: (c, K), contiguous.
    l_max: highest order.

    Returns
    -------
    ((l_max+1)², N, c).
    """
    out = np.empty(((l_max + 1) ** 2, len(atoms), len(weights)), atoms.dtype)
    _sum_over_sites(atoms, sites, weights, l_max, *recursion_coefficients(l_max, atoms.dtype), out)
    return out


def sum_over_atoms(atoms: Any, sites: Any, columns: Any, l_max: int) -> Any:
    """Σ_bi I_bik h_cbi, the transpose of `sum_over_sites`.

    Parameters
    ----------
    atoms, sites, l_max: as there.
    columns: (c, (l_max+1)², N).

    Returns
    -------
    (c, K).
    """
    out = np.empty((len(columns), sites.shape[1]), atoms.dtype)
    _sum_over_atoms(atoms, sites, columns, l_max, *recursion_coefficients(l_max, atoms.dtype), out)
    return out


@cache
def recursion_coefficients(l_max: int, dtype: Any) -> tuple[Any, Any]:
    """Factors from R_lm to R_l+1,m, and those from R_l−1,m or, at R_ll, to the outermost two."""
    first, second = np.zeros((2, (l_max + 1) ** 2))
    for l in range(l_max):
        m = np.arange(-l, l + 1)
        root = np.sqrt((l + 1) ** 2 - m**2)
        first[l**2 : (l + 1) ** 2] = (2 * l + 1) / root
        second[l**2 : (l + 1) ** 2] = np.sqrt(l**2 - m**2) / root
        second[l**2 + 2 * l] = math.sqrt((2 * l + 1) / (2 * l + 2)) if l else 1.0
    return first.astype(dtype), second.astype(dtype)


@compiled
def _fill(atom, sites, start, number, l_max, first, second, inverted, rows):  # type: ignore[no-untyped-def]
    """I_lm of a block of sites, row by row; `inverted` gets r/r² and 1/r²."""
    x, y, z, square = inverted[0], inverted[1], inverted[2], inverted[3]  # unpacked, twice as slow
    one = sites.dtype.type(1)  # the integer would make it float64
    for k in range(number):
        dx = sites[0, start + k] - atom[0]
        dy = sites[1, start + k] - atom[1]
        dz = sites[2, start + k] - atom[2]
        inverse = one / (dx * dx + dy * dy + dz * dz)
        x[k], y[k], z[k], square[k] = dx * inverse, dy * inverse, dz * inverse, inverse
        rows[0, k] = math.sqrt(inverse)
    for l in range(l_max):
        here, above, below = l * l + l, (l + 1) ** 2 + l + 1, (l - 1) ** 2 + l - 1
        for m in range(-l, l + 1):
            target, source, a = rows[above + m], rows[here + m], first[here + m]
            if abs(m) < l:
                earlier, b = rows[below + m], second[here + m]
                for k in range(number):
                    target[k] = a * y[k] * source[k] - b * square[k] * earlier[k]
            else:
                for k in range(number):
                    target[k] = a * y[k] * source[k]
        sine, cosine, c = rows[above - l - 1], rows[above + l + 1], second[here + l]
        last_sine, last_cosine = rows[here - l], rows[here + l]
        if l == 0:
            for k in range(number):
                sine[k] = x[k] * last_cosine[k]
                cosine[k] = z[k] * last_cosine[k]
        else:
            for k in range(number):
                sine[k] = c * (x[k] * last_cosine[k] + z[k] * last_sine[k])
                cosine[k] = c * (z[k] * last_cosine[k] - x[k] * last_sine[k])


@compiled
def _sum_over_sites(atoms, sites, weights, l_max, first, second, out):  # type: ignore[no-untyped-def]
    n_rows, n_sites = out.shape[0], sites.shape[1]
    rows = np.empty((n_rows, _BLOCK), sites.dtype)
    inverted = np.empty((4, _BLOCK), sites.dtype)
    for i in range(len(atoms)):
        total = np.zeros((n_rows, len(weights)))
        for start in range(0, n_sites, _BLOCK):
            number = min(_BLOCK, n_sites - start)
            _fill(atoms[i], sites, start, number, l_max, first, second, inverted, rows)
            for c in range(len(weights)):
                weight = weights[c, start : start + number]
                for b in range(n_rows):
                    row, partial = rows[b], weight.dtype.type(0)
                    for k in range(number):
                        partial += row[k] * weight[k]
                    total[b, c] += partial
        out[:, i] = total


@compiled
def _sum_over_atoms(atoms, sites, columns, l_max, first, second, out):  # type: ignore[no-untyped-def]
    n_rows, n_sites = columns.shape[1], sites.shape[1]
    rows = np.zeros((n_rows + 3, _BLOCK), sites.dtype)  # and zeros, to go on four at a time
    inverted = np.empty((4, _BLOCK), sites.dtype)
    heights = np.zeros(n_rows + 3, sites.dtype)
    for start in range(0, n_sites, _BLOCK):
        number = min(_BLOCK, n_sites - start)
        out[:, start : start + number] = 0
        for i in range(len(atoms)):
            _fill(atoms[i], sites, start, number, l_max, first, second, inverted, rows)
            for c in range(len(columns)):
                heights[:n_rows] = columns[c, :, i]
                total = out[c, start : start + number]
                for b in range(0, n_rows, 4):
                    h0, h1, h2, h3 = heights[b], heights[b + 1], heights[b + 2], heights[b + 3]
                    r0, r1, r2, r3 = rows[b], rows[b + 1], rows[b + 2], rows[b + 3]
                    for k in range(number):
                        total[k] += h0 * r0[k] + h1 * r1[k] + h2 * r2[k] + h3 * r3[k]
