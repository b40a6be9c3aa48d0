"""Products of two packed features at each atom, weighted by path and channel.

    z_t,i,c = Σ_o W_p(o),c Σ_fs T_ofs X_f,i,c Y_s,i,c        t = t(o)

The products X_f Y_s never leave the registers. Linear in X, Y and W, so that derivatives of any
order are made of these two functions.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.kernels.compiler import compiled
from eqmm_ase.kernels.product_coupling import Output, as_text, multiply_atom, multiply_atom_back

_GROUP = 8  # channels taken at once


class ProductTable(NamedTuple):
    """Coupling coefficients T_ofs that are not zero, and where they go."""

    n_components: int  # of the result
    outputs: str  # `as_text`
    coefficient: Any  # (terms,)

    @classmethod
    def of(cls, tensor: Any, path: Any, target: Any, n_components: int) -> ProductTable:
        """From T (o, f, s), dense, with the path and the component of every output o."""
        own, first, second = np.nonzero(tensor)
        terms = list(zip(range(len(own)), first.tolist(), second.tolist(), strict=True))
        begin = np.searchsorted(own, np.arange(len(path) + 1))
        outputs = [
            Output(path[o], target[o], tuple(terms[begin[o] : begin[o + 1]]))
            for o in range(len(path))
        ]
        return cls(n_components, as_text(outputs), tensor[own, first, second])

    def astype(self, dtype: Any) -> ProductTable:
        """With coefficients of a type."""
        return self._replace(coefficient=self.coefficient.astype(dtype))


def multiply(table: ProductTable, first: Any, second: Any, weights: Any) -> Any:
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
    run, _ = _loops(table.outputs, first.shape[2])
    out = np.zeros((table.n_components, *first.shape[1:]), first.dtype)
    run(table.coefficient, first, second, weights, out)
    return out


def multiply_back(
    table: ProductTable, first: Any, second: Any, weights: Any, grad: Any
) -> tuple[Any, Any, Any]:
    """Derivatives of Σ grad · `multiply` by first, second and weights, in their shapes."""
    _, run_back = _loops(table.outputs, first.shape[2])
    # Four times as fast as zeros_like.
    out = tuple(np.zeros(x.shape, x.dtype) for x in (first, second, weights))
    run_back(table.coefficient, first, second, weights, grad, *out)
    by_first, by_second, by_weights = out
    return by_first, by_second, by_weights


@cache
def _loops(outputs: str, channels: int) -> tuple[Any, Any]:
    """Compiled for these constants."""
    rest = channels % _GROUP
    grouped = channels - rest

    @compiled
    def run(coefficients, first, second, weights, out):  # type: ignore[no-untyped-def]
        t, x, y, w, z = coefficients, first.ravel(), second.ravel(), weights.ravel(), out.ravel()
        row = first[0].size
        for i in range(0, row, channels):
            for c in range(0, grouped, _GROUP):
                multiply_atom(outputs, channels, _GROUP, t, row, i + c, c, x, y, w, z)
            if rest:
                c = grouped
                multiply_atom(outputs, channels, rest, t, row, i + c, c, x, y, w, z)

    @compiled
    def run_back(  # type: ignore[no-untyped-def]
        coefficients, first, second, weights, grad, by_first, by_second, by_weights
    ):
        t, x, y, w, g = coefficients, first.ravel(), second.ravel(), weights.ravel(), grad.ravel()
        p, q, r = by_first.ravel(), by_second.ravel(), by_weights.ravel()
        row = first[0].size
        for i in range(0, row, channels):
            for c in range(0, grouped, _GROUP):
                multiply_atom_back(outputs, channels, _GROUP, t, row, i + c, c, x, y, w, g, p, q, r)
            if rest:
                c = grouped
                multiply_atom_back(outputs, channels, rest, t, row, i + c, c, x, y, w, g, p, q, r)

    return run, run_back
