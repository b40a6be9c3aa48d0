"""One edge's message in straight lines of vector instructions, and its derivatives.

A path p couples the 2l+1 features of one order to the 2l'+1 components of another by a dense matrix
K of the edge, the same for all channels: components m_t,c += W_p,c Σ_f K_p,tf X_f,c. Written as
loops, the counting would take longer than the arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numba.core import types
from numba.extending import intrinsic

from eqmm_ase.kernels.vectors import VectorBuilder, source_of, vector_widths

BLOCK = 16
"""Edges whose matrices lie together: element by element, edges side by side."""
_SOURCE = source_of(Path(__file__))


class PathMatrix(NamedTuple):
    """Size and place of a path's matrix."""

    rows: int  # 2l'+1
    columns: int  # 2l+1
    feature: int  # first column's
    target: int  # first row's component
    element: int  # first among the elements of all paths' matrices

    @property
    def features(self) -> range:
        """Numbers of the columns."""
        return range(self.columns)

    def at(self, row: int, column: int) -> int:
        """Where an element of the first edge's matrix lies."""
        return (self.element + row * self.columns + column) * BLOCK


def as_text(paths: list[PathMatrix]) -> str:
    """Paths as a constant of a compiled function, which a tuple of tuples cannot be.

    What is compiled with it is kept (`compiler`) until it changes: so it tells of a changed source.
    """
    return " ".join([_SOURCE, *(",".join(map(str, path)) for path in paths)])


def _from_text(text: str) -> list[PathMatrix]:
    return [PathMatrix(*map(int, part.split(","))) for part in text.split()[1:]]


@intrinsic(prefer_literal=True)
def couple(  # type: ignore[no-untyped-def]
    typing_context, paths, channels, group, matrices, edge, x, i_x, w, i_w, out, i_out
):
    """Add the message of a group of channels.

    Parameters
    ----------
    paths, channels, group
        Constants: `as_text`, how many channels there are, and how many of them to take.
    matrices, edge
        K of a block of edges, flat, and which of them to take.
    x, w, out
        Flat arrays of X (…, f, c), W (…, p, c) and messages (…, t, c), each followed by the number
        of the element to begin at.
    """
    arrays = matrices, edge, x, i_x, w, i_w, out, i_out
    own, n, size = _from_text(paths.literal_value), channels.literal_value, group.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = VectorBuilder(context, builder, matrices.dtype)
        k, x, w, out = _pointers(vectors, signature.args[3:], arguments[3:])
        message: dict[tuple[int, int], Any] = {}
        for p, path in enumerate(own):
            matrix = _matrix(vectors, k, path)
            for c, width in vector_widths(size):
                sent = [vectors.load(x, (path.feature + f) * n + c, width) for f in path.features]
                weight = vectors.load(w, p * n + c, width)
                for t, row in enumerate(matrix, path.target):
                    term = vectors.multiply(weight, _product(vectors, row, sent))
                    message[t, c] = vectors.add(message.get((t, c)), term)
        _add(vectors, message, out, n)
        return context.get_dummy_value()

    return types.void(paths, channels, group, *arrays), generate


@intrinsic(prefer_literal=True)
def couple_back(  # type: ignore[no-untyped-def]
    typing_context,
    paths,
    channels,
    group,
    matrices,
    edge,
    x,
    i_x,
    w,
    i_w,
    grad,
    i_grad,
    by_matrices,
    by_x,
    by_w,
):
    """Derivatives of Σ_tc grad_tc m_tc: added to those by K and X, and written for W.

    Parameters
    ----------
    paths, channels, group, matrices, edge, x, w
        As `couple`.
    grad
        Flat array of (…, t, c), followed by the number of the element to begin at.
    by_matrices, by_x, by_w
        Of the sizes of matrices, x and w.
    """
    arrays = matrices, edge, x, i_x, w, i_w, grad, i_grad
    own, n, size = _from_text(paths.literal_value), channels.literal_value, group.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = VectorBuilder(context, builder, matrices.dtype)
        k, x, w, grad = _pointers(vectors, signature.args[3:11], arguments[3:11])
        alike = [
            part
            for array, first in zip((11, 12, 13), (4, 6, 8), strict=True)
            for part in (array, first)
        ]
        by_k, by_x, by_w = _pointers(
            vectors, [signature.args[i] for i in alike], [arguments[i] for i in alike]
        )
        by_sent: dict[tuple[int, int], Any] = {}
        for p, path in enumerate(own):
            matrix = _matrix(vectors, k, path)
            by_matrix: dict[tuple[int, int, int], Any] = {}
            for c, width in vector_widths(size):
                sent = [vectors.load(x, (path.feature + f) * n + c, width) for f in path.features]
                weight, by_weight = vectors.load(w, p * n + c, width), None
                back = []
                for t, row in enumerate(matrix, path.target):
                    own_grad = vectors.load(grad, t * n + c, width)
                    back.append(vectors.multiply(weight, own_grad))
                    term = vectors.multiply(own_grad, _product(vectors, row, sent))
                    by_weight = vectors.add(by_weight, term)
                vectors.store(by_weight, by_w, p * n + c)
                for f, column in enumerate(zip(*matrix, strict=True)):
                    place = path.feature + f, c
                    term = _product(vectors, column, back)
                    by_sent[place] = vectors.add(by_sent.get(place), term)
                    for t in range(path.rows):
                        element = t, f, width
                        product = vectors.multiply(back[t], sent[f])
                        by_matrix[element] = vectors.add(by_matrix.get(element), product)
            for (t, f, _), vector in by_matrix.items():
                vectors.add_number(vectors.total(vector), by_k, path.at(t, f))
        _add(vectors, by_sent, by_x, n)
        return context.get_dummy_value()

    return types.void(paths, channels, group, *arrays, by_matrices, by_x, by_w), generate


def _pointers(vectors: VectorBuilder, kinds: Any, values: Any) -> list[Any]:
    """To the first elements of flat arrays, each followed by the number of its first element."""
    pairs = zip(kinds[::2], values[::2], values[1::2], strict=True)
    return [vectors.pointer(kind, array, first) for kind, array, first in pairs]


def _matrix(vectors: VectorBuilder, k: Any, path: PathMatrix) -> list[list[Any]]:
    rows, columns = range(path.rows), range(path.columns)
    return [[vectors.load_number(k, path.at(t, f)) for f in columns] for t in rows]


def _product(vectors: VectorBuilder, factors: Any, columns: Any) -> Any:
    """Sum of vectors, each times a number."""
    total = None
    for factor, column in zip(factors, columns, strict=True):
        spread = vectors.spread(factor, column.type.count)
        total = vectors.add(total, vectors.multiply(spread, column))
    return total


def _add(vectors: VectorBuilder, terms: Any, out: Any, channels: int) -> None:
    """Add vectors to a flat array (…, component, c), by component and first channel."""
    for (component, c), term in terms.items():
        offset = component * channels + c
        earlier = vectors.load(out, offset, term.type.count)
        vectors.store(vectors.add(earlier, term), out, offset)
