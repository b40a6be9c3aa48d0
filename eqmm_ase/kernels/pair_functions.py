"""Functions of the vectors of pairs: Bessel functions, cutoff and harmonics, and sums of them.

With x = r_k − R_i, d = |x| and u = x/d a pair has the functions B_n(d), f(d) and Y_lm(u). They are
made again for every sum, and for derivatives by x: cheaper than to keep and read them.

Source: `eqmm_ase.network.radial` and `eqmm_ase.network.harmonics`, where they are made by torch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.kernels.compiler import compiled
from eqmm_ase.kernels.pair_sums import recursion_coefficients


class PairTable(NamedTuple):
    """What the functions are made of."""

    cutoff: float  # Å
    n_radial: int
    degree: Any  # (a,) order l of every harmonic
    onward: Any  # `recursion_coefficients`
    backward: Any
    gradient: tuple[Any, Any, Any, Any]  # ∂_d R_a = Σ_b D_bad R_b: a, b, d, D_bad where not zero

    @classmethod
    def of(cls, cutoff: float, n_radial: int, gradient: Any) -> PairTable:
        """From D (b, a, 3), dense."""
        l_max = math.isqrt(len(gradient)) - 1
        b, a, d = np.nonzero(gradient)
        degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
        coefficients = recursion_coefficients(l_max, np.float64)
        return cls(cutoff, n_radial, degree, *coefficients, (a, b, d, gradient[b, a, d]))


class Pairs(NamedTuple):
    """Rows of pairs, and the positions that they are rows of."""

    receiver: Any  # (P,)
    sender: Any  # (P,)
    at: Any  # (N, 3) Å, of receivers
    of: Any  # (K, 3) Å, of senders


def edge_functions(table: PairTable, pairs: Pairs) -> tuple[Any, Any, Any]:
    """B_n (P, n), f (P,) and Y_lm ((l_max+1)², P)."""
    out = _empty_functions(table, pairs)
    _edge_functions(table, pairs, *out)
    return out


def edge_gradients(
    table: PairTable, pairs: Pairs, radial: Any, envelope: Any, harmonics: Any
) -> tuple[Any, Any]:
    """From G = dE/d(`edge_functions`) to the gradients at receivers (N, 3) and senders (K, 3)."""
    out = np.zeros_like(pairs.at), np.zeros_like(pairs.of)
    _edge_gradients(table, pairs, radial, envelope, harmonics, *out)
    return out


def edge_changes(table: PairTable, pairs: Pairs, at: Any, of: Any) -> tuple[Any, Any, Any]:
    """Change of `edge_functions` where positions move like (N, 3) and (K, 3), to first order."""
    out = _empty_functions(table, pairs)
    _edge_changes(table, pairs, at, of, *out)
    return out


def kernel_sums(table: PairTable, pairs: Pairs, charges: Any) -> Any:
    """Σ_k q_k f B_n Y_lm of every receiver, (N, (l_max+1)², n); charges (K,)."""
    out = _zero_sums(table, pairs)
    _kernel_sums(table, pairs, charges, out)
    return out


def kernel_gradients(table: PairTable, pairs: Pairs, charges: Any, grad: Any) -> tuple[Any, ...]:
    """From G = dE/d(`kernel_sums`) to dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
    out = np.zeros_like(pairs.at), np.zeros_like(pairs.of), np.zeros_like(charges)
    _kernel_gradients(table, pairs, charges, grad, *out)
    return out


def kernel_changes(
    table: PairTable, pairs: Pairs, charges: Any, at: Any, of: Any, more: Any
) -> Any:
    """Change of `kernel_sums` where positions and charges change like (N, 3), (K, 3) and (K,)."""
    out = _zero_sums(table, pairs)
    _kernel_changes(table, pairs, charges, at, of, more, out)
    return out


def _empty_functions(table: PairTable, pairs: Pairs) -> tuple[Any, Any, Any]:
    n, dtype = len(pairs.receiver), pairs.at.dtype
    shapes = (n, table.n_radial), (n,), (len(table.degree), n)
    return tuple(np.empty(shape, dtype) for shape in shapes)  # type: ignore[return-value]


def _zero_sums(table: PairTable, pairs: Pairs) -> Any:
    return np.zeros((len(pairs.at), len(table.degree), table.n_radial), pairs.at.dtype)


@compiled
def _length(pairs, pair, unit):  # type: ignore[no-untyped-def]
    """d, having filled in u."""
    i, k = pairs.receiver[pair], pairs.sender[pair]
    for d in range(3):
        unit[d] = pairs.of[k, d] - pairs.at[i, d]
    distance = math.sqrt(np.float64(unit[0]) ** 2 + unit[1] ** 2 + unit[2] ** 2)
    for d in range(3):
        unit[d] /= distance
    return distance


@compiled
def _bessel(table, distance, values, slopes):  # type: ignore[no-untyped-def]
    """Fill in B_n and B_n', by the recursion of sin(nθ) and cos(nθ)."""
    angle = math.pi / table.cutoff
    sine, cosine = math.sin(angle * distance), math.cos(angle * distance)
    scale, twice = math.sqrt(2.0 / table.cutoff) / distance, 2.0 * cosine
    last_sine, last_cosine = 0.0, 1.0
    for n in range(len(values)):
        values[n] = scale * sine
        slopes[n] = scale * ((n + 1) * angle * cosine - sine / distance)
        last_sine, sine = sine, twice * sine - last_sine
        last_cosine, cosine = cosine, twice * cosine - last_cosine


@compiled
def _envelope(table, distance):  # type: ignore[no-untyped-def]
    """F and f'."""
    x = min(distance / table.cutoff, 1.0)
    return 1.0 + x**3 * (-10.0 + x * (15.0 - 6.0 * x)), -30.0 / table.cutoff * (x - x * x) ** 2


@compiled
def _near_kernels(table, distance, values, slopes):  # type: ignore[no-untyped-def]
    """Fill in k_n = f B_n and its derivative."""
    _bessel(table, distance, values, slopes)
    envelope, slope = _envelope(table, distance)
    for n in range(len(values)):
        slopes[n] = envelope * slopes[n] + slope * values[n]
        values[n] *= envelope


@compiled
def _fill_harmonics(table, unit, values):  # type: ignore[no-untyped-def]
    """Y_lm, by the recursion of `pair_sums`."""
    x, y, z = unit[0], unit[1], unit[2]
    values[0] = 1.0
    for l in range(table.degree[-1]):
        here, above, below = l * l + l, (l + 1) ** 2 + l + 1, (l - 1) ** 2 + l - 1
        for m in range(-l, l + 1):
            value = table.onward[here + m] * y * values[here + m]
            if abs(m) < l:
                value -= table.backward[here + m] * values[below + m]
            values[above + m] = value
        c, cosine = table.backward[here + l], values[here + l]
        sine = values[here - l] if l else 0.0 * cosine
        values[above - l - 1] = c * (x * cosine + z * sine)
        values[above + l + 1] = c * (z * cosine - x * sine)


@compiled
def _harmonics_back(table, distance, unit, values, grad, vector):  # type: ignore[no-untyped-def]
    """Fill in Σ_a g_a ∇Y_a, where ∇Y_a = (∇R_a − l u Y_a)/d with ∇R_a at u."""
    along = grad[0] * 0.0
    for a in range(len(grad)):
        along += grad[a] * table.degree[a] * values[a]
    for d in range(3):
        vector[d] = -along * unit[d]
    harmonic, earlier, axis, factor = table.gradient
    for term in range(len(factor)):
        slope = factor[term] * values[earlier[term]]
        vector[axis[term]] += grad[harmonic[term]] * slope
    for d in range(3):
        vector[d] /= distance


@compiled
def _harmonics_moved(table, distance, unit, values, vector, moved):  # type: ignore[no-untyped-def]
    """Fill in v · ∇Y_a."""
    along = unit[0] * vector[0] + unit[1] * vector[1] + unit[2] * vector[2]
    for a in range(len(moved)):
        moved[a] = -along * table.degree[a] * values[a]
    harmonic, earlier, axis, factor = table.gradient
    for term in range(len(factor)):
        slope = factor[term] * values[earlier[term]]
        moved[harmonic[term]] += vector[axis[term]] * slope
    for a in range(len(moved)):
        moved[a] /= distance


@compiled
def _edge_functions(table, pairs, radial, envelope, harmonics):  # type: ignore[no-untyped-def]
    dtype = pairs.at.dtype
    unit, values = np.empty(3, dtype), np.empty(len(table.degree), dtype)
    slopes = np.empty(table.n_radial, dtype)
    for pair in range(len(pairs.receiver)):
        distance = _length(pairs, pair, unit)
        _bessel(table, distance, radial[pair], slopes)
        envelope[pair], _ = _envelope(table, distance)
        _fill_harmonics(table, unit, values)
        for a in range(len(values)):
            harmonics[a, pair] = values[a]


@compiled
def _edge_gradients(table, pairs, radial, envelope, harmonics, by_at, by_of):  # type: ignore[no-untyped-def]
    dtype, n_harmonics = pairs.at.dtype, len(table.degree)
    unit, vector = np.empty(3, dtype), np.empty(3, dtype)
    values, grad = np.empty(n_harmonics, dtype), np.empty(n_harmonics, dtype)
    bessel, slopes = np.empty(table.n_radial, dtype), np.empty(table.n_radial, dtype)
    for pair in range(len(pairs.receiver)):
        distance = _length(pairs, pair, unit)
        _bessel(table, distance, bessel, slopes)
        _, slope = _envelope(table, distance)
        along = slope * envelope[pair]
        for n in range(table.n_radial):
            along += slopes[n] * radial[pair, n]
        _fill_harmonics(table, unit, values)
        for a in range(n_harmonics):
            grad[a] = harmonics[a, pair]
        _harmonics_back(table, distance, unit, values, grad, vector)
        i, k = pairs.receiver[pair], pairs.sender[pair]
        for d in range(3):
            total = vector[d] + along * unit[d]
            by_at[i, d] -= total
            by_of[k, d] += total


@compiled
def _edge_changes(table, pairs, at, of, radial, envelope, harmonics):  # type: ignore[no-untyped-def]
    dtype, n_harmonics = pairs.at.dtype, len(table.degree)
    unit, vector = np.empty(3, dtype), np.empty(3, dtype)
    values, moved = np.empty(n_harmonics, dtype), np.empty(n_harmonics, dtype)
    bessel, slopes = np.empty(table.n_radial, dtype), np.empty(table.n_radial, dtype)
    for pair in range(len(pairs.receiver)):
        distance = _length(pairs, pair, unit)
        along = _relative(pairs, pair, at, of, unit, vector)
        _bessel(table, distance, bessel, slopes)
        _, slope = _envelope(table, distance)
        envelope[pair] = along * slope
        for n in range(table.n_radial):
            radial[pair, n] = along * slopes[n]
        _fill_harmonics(table, unit, values)
        _harmonics_moved(table, distance, unit, values, vector, moved)
        for a in range(n_harmonics):
            harmonics[a, pair] = moved[a]


@compiled
def _relative(pairs, pair, at, of, unit, vector):  # type: ignore[no-untyped-def]
    """U · v, having filled in how the pair's vector moves, v."""
    i, k = pairs.receiver[pair], pairs.sender[pair]
    for d in range(3):
        vector[d] = of[k, d] - at[i, d]
    return unit[0] * vector[0] + unit[1] * vector[1] + unit[2] * vector[2]


@compiled
def _kernel_sums(table, pairs, charges, out):  # type: ignore[no-untyped-def]
    dtype, n_harmonics = pairs.at.dtype, len(table.degree)
    unit, values = np.empty(3, dtype), np.empty(n_harmonics, dtype)
    kernels, slopes = np.empty(table.n_radial, dtype), np.empty(table.n_radial, dtype)
    for pair in range(len(pairs.receiver)):
        distance = _length(pairs, pair, unit)
        _near_kernels(table, distance, kernels, slopes)
        _fill_harmonics(table, unit, values)
        row, charge = out[pairs.receiver[pair]], charges[pairs.sender[pair]]
        for a in range(n_harmonics):
            factor = charge * values[a]
            for n in range(len(kernels)):
                row[a, n] += factor * kernels[n]


@compiled
def _kernel_gradients(table, pairs, charges, grad, by_at, by_of, by_charges):  # type: ignore[no-untyped-def]
    # dE/dx = q Σ_an G_an (k_n ∇Y_a + u k_n' Y_a)        dE/dq = Σ_an G_an k_n Y_a
    dtype, n_harmonics = pairs.at.dtype, len(table.degree)
    unit, vector = np.empty(3, dtype), np.empty(3, dtype)
    values, by_values = np.empty(n_harmonics, dtype), np.empty(n_harmonics, dtype)
    kernels, slopes = np.empty(table.n_radial, dtype), np.empty(table.n_radial, dtype)
    for pair in range(len(pairs.receiver)):
        distance = _length(pairs, pair, unit)
        _near_kernels(table, distance, kernels, slopes)
        _fill_harmonics(table, unit, values)
        i, k = pairs.receiver[pair], pairs.sender[pair]
        row, along, own = grad[i], 0.0, 0.0
        for a in range(n_harmonics):
            value, slope = values[a] * 0, values[a] * 0
            for n in range(len(kernels)):
                value += row[a, n] * kernels[n]
                slope += row[a, n] * slopes[n]
            by_values[a] = value
            own += value * values[a]
            along += slope * values[a]
        _harmonics_back(table, distance, unit, values, by_values, vector)
        by_charges[k] += own
        for d in range(3):
            total = charges[k] * (vector[d] + along * unit[d])
            by_at[i, d] -= total
            by_of[k, d] += total


@compiled
def _kernel_changes(table, pairs, charges, at, of, more, out):  # type: ignore[no-untyped-def]
    dtype, n_harmonics = pairs.at.dtype, len(table.degree)
    unit, vector = np.empty(3, dtype), np.empty(3, dtype)
    values, moved = np.empty(n_harmonics, dtype), np.empty(n_harmonics, dtype)
    kernels, slopes = np.empty(table.n_radial, dtype), np.empty(table.n_radial, dtype)
    for pair in range(len(pairs.receiver)):
        distance = _length(pairs, pair, unit)
        along = _relative(pairs, pair, at, of, unit, vector)
        _near_kernels(table, distance, kernels, slopes)
        _fill_harmonics(table, unit, values)
        _harmonics_moved(table, distance, unit, values, vector, moved)
        i, k = pairs.receiver[pair], pairs.sender[pair]
        charge, change = charges[k], more[k]
        for n in range(len(kernels)):
            slopes[n] = change * kernels[n] + charge * along * slopes[n]
            kernels[n] *= charge
        for a in range(n_harmonics):
            for n in range(len(kernels)):
                out[i, a, n] += values[a] * slopes[n] + moved[a] * kernels[n]
