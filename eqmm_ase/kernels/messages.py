"""Messages along edges: harmonics coupled to the sender's features, weighted by path and channel.

    out_t,i,c = Σ_(e: j → i) Σ_p W_e,p,c Σ_f K_p,tf X_f,j,c        K_p,tf = Σ_y T_p,tfy Y_ye

Of an edge only its weights come from memory: K, a small matrix for each path and edge, is made for
a block of edges at a time, and all else stays in registers and the nearest cache. Linear in X, Y
and W, so that derivatives of any order are made of these two functions.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from eqmm_ase.kernels.arrays import swapped
from eqmm_ase.kernels.compiler import compiled
from eqmm_ase.kernels.path_coupling import BLOCK, PathMatrix, as_text, couple, couple_back

_GROUP = 32  # channels taken at once: the code grows with them


class MessageTable(NamedTuple):
    """Paths, and the coefficients T_ptfy that fill their matrices."""

    n_components: int  # of the result
    paths: str  # `as_text`
    n_elements: int  # of all matrices of an edge
    element: Any  # (terms,)
    harmonic: Any  # (terms,)
    coefficient: Any  # (terms,)

    @classmethod
    def of(cls, tensor: Any, path: Any, target: Any, n_components: int) -> MessageTable:
        """From T (o, f, y), dense, with the path and the component of every output o."""
        paths, elements, harmonics, coefficients, n_elements = [], [], [], [], 0
        for number in range(path[-1] + 1):
            outputs = np.flatnonzero(path == number)
            features = np.flatnonzero(tensor[outputs].any((0, 2)))
            block = tensor[np.ix_(outputs, features)]
            rows, columns = block.shape[:2]
            paths.append(PathMatrix(rows, columns, features[0], target[outputs[0]], n_elements))
            row, column, harmonic = np.nonzero(block)
            elements.append(n_elements + row * columns + column)
            harmonics.append(harmonic)
            coefficients.append(block[row, column, harmonic])
            n_elements += rows * columns
        terms = map(np.concatenate, (elements, harmonics, coefficients))
        return cls(n_components, as_text(paths), n_elements, *terms)

    def astype(self, dtype: Any) -> MessageTable:
        """With coefficients of a type."""
        return self._replace(coefficient=self.coefficient.astype(dtype))


def send(
    table: MessageTable, features: Any, harmonics: Any, weights: Any, sender: Any, receiver: Any
) -> Any:
    """Sum of the messages at their receivers.

    Parameters
    ----------
    table: of the arrays' type.
    features: X, (f, n, c); all arrays are contiguous.
    harmonics: Y, (y, E).
    weights: W, (E, p, c).
    sender, receiver: (E,).

    Returns
    -------
    (t, n, c).
    """
    _, n_atoms, channels = features.shape
    run, _ = _loops(table.paths, channels)
    out = np.zeros((n_atoms, table.n_components, channels), features.dtype)
    run(table[2:], swapped(features), harmonics, weights, sender, receiver, out)
    return swapped(out)


def send_back(
    table: MessageTable,
    features: Any,
    harmonics: Any,
    weights: Any,
    sender: Any,
    receiver: Any,
    grad: Any,
) -> tuple[Any, Any, Any]:
    """Derivatives of Σ grad · `send` by features, harmonics and weights, in their shapes."""
    _, run_back = _loops(table.paths, features.shape[2])
    sent, back = swapped(features), swapped(grad)
    by_sent, by_harmonics = np.zeros_like(sent), np.zeros_like(harmonics)
    by_weights = np.empty_like(weights)
    inputs = sent, harmonics, weights, sender, receiver, back
    run_back(table[2:], *inputs, by_sent, by_harmonics, by_weights)
    return swapped(by_sent), by_harmonics, by_weights


@cache
def _loops(paths: str, channels: int) -> tuple[Any, Any]:
    """Compiled for these constants."""
    rest = channels % _GROUP
    grouped = channels - rest

    @compiled
    def run(terms, sent, harmonics, weights, sender, receiver, out):  # type: ignore[no-untyped-def]
        matrices = np.empty((terms[0], BLOCK), sent.dtype)
        k, x, w, m = matrices.ravel(), sent.ravel(), weights.ravel(), out.ravel()
        for start in range(0, len(sender), BLOCK):
            number = min(BLOCK, len(sender) - start)
            _fill(terms, harmonics, start, number, matrices)
            for e in range(number):
                i_x = sender[start + e] * sent[0].size
                i_w = (start + e) * weights[0].size
                i_m = receiver[start + e] * out[0].size
                for c in range(0, grouped, _GROUP):
                    couple(paths, channels, _GROUP, k, e, x, i_x + c, w, i_w + c, m, i_m + c)
                if rest:
                    c = grouped
                    couple(paths, channels, rest, k, e, x, i_x + c, w, i_w + c, m, i_m + c)

    @compiled
    def run_back(  # type: ignore[no-untyped-def]
        terms, sent, harmonics, weights, sender, receiver, grad, by_sent, by_harmonics, by_weights
    ):
        matrices = np.empty((terms[0], BLOCK), sent.dtype)
        by_matrices = np.empty_like(matrices)
        k, x, w, g = matrices.ravel(), sent.ravel(), weights.ravel(), grad.ravel()
        by_k, by_x, by_w = by_matrices.ravel(), by_sent.ravel(), by_weights.ravel()
        for start in range(0, len(sender), BLOCK):
            number = min(BLOCK, len(sender) - start)
            _fill(terms, harmonics, start, number, matrices)
            by_matrices[:] = 0
            for e in range(number):
                i_x = sender[start + e] * sent[0].size
                i_w = (start + e) * weights[0].size
                i_g = receiver[start + e] * grad[0].size
                # Written out: constants would not survive in a tuple of arguments.
                for c in range(0, grouped, _GROUP):
                    couple_back(
                        paths,
                        channels,
                        _GROUP,
                        k,
                        e,
                        x,
                        i_x + c,
                        w,
                        i_w + c,
                        g,
                        i_g + c,
                        by_k,
                        by_x,
                        by_w,
                    )
                if rest:
                    c = grouped
                    couple_back(
                        paths,
                        channels,
                        rest,
                        k,
                        e,
                        x,
                        i_x + c,
                        w,
                        i_w + c,
                        g,
                        i_g + c,
                        by_k,
                        by_x,
                        by_w,
                    )
            _fill_back(terms, by_matrices, start, number, by_harmonics)

    return run, run_back


@compiled
def _fill(terms, harmonics, start, number, matrices):  # type: ignore[no-untyped-def]
    """K of a block of edges, (elements, block)."""
    _, element, harmonic, coefficient = terms
    matrices[:] = 0
    for term in range(len(element)):
        row, y, factor = matrices[element[term]], harmonics[harmonic[term]], coefficient[term]
        for k in range(number):
            row[k] += factor * y[start + k]


@compiled
def _fill_back(terms, by_matrices, start, number, by_harmonics):  # type: ignore[no-untyped-def]
    """Derivatives by Y from those by K."""
    _, element, harmonic, coefficient = terms
    for term in range(len(element)):
        row, y, factor = by_matrices[element[term]], by_harmonics[harmonic[term]], coefficient[term]
        for k in range(number):
            y[start + k] += factor * row[k]
