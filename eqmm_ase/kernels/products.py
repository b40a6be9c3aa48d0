"""Products of two packed features at each atom, weighted by path and channel.

    z_t,i,c = Σ_o W_p(o),c Σ_fs T_ofs X_f,i,c Y_s,i,c        t = t(o)

Atoms and channels lie side by side in memory and are taken in blocks that stay in a core's nearest
cache; the products X_f Y_s are never written down. Linear in X, Y and W.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.kernels.compiler import compiled

_BLOCK = 480  # numbers in a row


class ProductTable(NamedTuple):
    """Coupling coefficients T_ofs that are not zero, by output o."""

    n_components: int  # of the result
    path: Any  # (o,) of an output
    target: Any  # (o,) component that an output adds to
    first_term: Any  # (o+1,) of an output's
    first: Any  # (terms,) component f
    second: Any  # (terms,) component s
    coefficient: Any  # (terms,)

    @classmethod
    def of(cls, tensor: Any, path: Any, target: Any, n_components: int) -> ProductTable:
        """From T (o, f, s), dense, p(o), t(o), and the number of components."""
        output, first, second = np.nonzero(tensor)
        begin = np.searchsorted(output, np.arange(len(path) + 1))
        coefficients = tensor[output, first, second]
        return cls(n_components, path, target, begin, first, second, coefficients)

    def astype(self, dtype: Any) -> ProductTable:
        """With coefficients of a type."""
        return self._replace(coefficient=self.coefficient.astype(dtype))


@compiled
def multiply(table, first, second, weights):  # type: ignore[no-untyped-def]
    """Sum over all paths.

    Parameters
    ----------
    table: of the arrays' type.
    first: X, (f, n, c); all arrays are contiguous.
    second: Y, (s, n, c).
    weights: W, (p, c).

    Returns
    -------
    (t, n, c).
    """
    n_atoms, channels = first.shape[1:]
    length, tiled = n_atoms * channels, _tiled(weights, n_atoms)
    x, y = first.reshape(len(first), length), second.reshape(len(second), length)
    out = np.zeros((table.n_components, length), first.dtype)
    product = np.empty(tiled.shape[1], first.dtype)
    for start in range(0, length, max(1, len(product))):
        end = min(length, start + len(product))
        for o in range(len(table.path)):
            product[:] = 0
            for term in range(table.first_term[o], table.first_term[o + 1]):
                factor = table.coefficient[term]
                x_row, y_row = x[table.first[term], start:end], y[table.second[term], start:end]
                for k in range(end - start):
                    product[k] += factor * (x_row[k] * y_row[k])
            weight, row = tiled[table.path[o]], out[table.target[o], start:end]
            for k in range(end - start):
                row[k] += weight[k] * product[k]
    return out.reshape(table.n_components, n_atoms, channels)


@compiled
def multiply_back(table, first, second, weights, grad):  # type: ignore[no-untyped-def]
    """Derivatives of Σ grad · `multiply` by first, second and weights, in their shapes."""
    n_atoms, channels = first.shape[1:]
    length, tiled = n_atoms * channels, _tiled(weights, n_atoms)
    x, y = first.reshape(len(first), length), second.reshape(len(second), length)
    g = grad.reshape(len(grad), length)
    by_x, by_y, by_tiled = np.zeros_like(x), np.zeros_like(y), np.zeros_like(tiled)
    product, weighted = np.empty_like(tiled[0]), np.empty_like(tiled[0])
    for start in range(0, length, max(1, len(product))):
        end = min(length, start + len(product))
        for o in range(len(table.path)):
            product[:] = 0
            weight, g_row = tiled[table.path[o]], g[table.target[o], start:end]
            for k in range(end - start):
                weighted[k] = weight[k] * g_row[k]
            for term in range(table.first_term[o], table.first_term[o + 1]):
                f, s, factor = table.first[term], table.second[term], table.coefficient[term]
                x_row, y_row = x[f, start:end], y[s, start:end]
                by_x_row, by_y_row = by_x[f, start:end], by_y[s, start:end]
                for k in range(end - start):
                    by_x_row[k] += factor * (weighted[k] * y_row[k])
                    by_y_row[k] += factor * (weighted[k] * x_row[k])
                    product[k] += factor * (x_row[k] * y_row[k])
            by_weight = by_tiled[table.path[o]]
            for k in range(end - start):
                by_weight[k] += g_row[k] * product[k]
    by_weights = np.zeros_like(weights)
    for k in range(by_tiled.shape[1]):
        by_weights[:, k % channels] += by_tiled[:, k]
    return by_x.reshape(first.shape), by_y.reshape(second.shape), by_weights


@compiled
def _tiled(weights, n_atoms):  # type: ignore[no-untyped-def]
    """Weights of a block of whole atoms, (p, block)."""
    channels = weights.shape[1]
    block = channels * min(n_atoms, max(1, _BLOCK // channels))
    tiled = np.empty((len(weights), block), weights.dtype)
    for k in range(block):
        tiled[:, k] = weights[:, k % channels]
    return tiled
