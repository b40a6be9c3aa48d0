"""An atom's product of two features in straight lines of vector instructions, with derivatives.

For some channels of an atom, z_t += Σ_o W_p(o) Σ_fs T_ofs X_f Y_s: as loops over so few channels,
the counting would take longer than the arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numba.core import types
from numba.extending import intrinsic

from eqmm_ase.kernels.vectors import VectorBuilder, source_of, vector_widths

_SOURCE = source_of(Path(__file__))


class Output(NamedTuple):
    """One component of one path."""

    path: int
    target: int  # component of the result that it adds to
    terms: tuple[tuple[int, int, int], ...]  # number of T, f and s


def as_text(outputs: list[Output]) -> str:
    """Outputs as a constant of a compiled function, which nested tuples cannot be.

    What is compiled with it is kept (`compiler`) until it changes: so it tells of a changed source.
    """
    lines = [
        ",".join(map(str, [own.path, own.target, *(n for term in own.terms for n in term)]))
        for own in outputs
    ]
    return " ".join([_SOURCE, *lines])


def _from_text(text: str) -> list[Output]:
    outputs = []
    for line in text.split()[1:]:
        path, target, *numbers = map(int, line.split(","))
        terms = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
        outputs.append(Output(path, target, tuple(terms)))
    return outputs


@intrinsic(prefer_literal=True)
def multiply_atom(  # type: ignore[no-untyped-def]
    typing_context, outputs, channels, group, coefficients, row, place, c, x, y, w, z
):
    """Add the product of a group of channels.

    Parameters
    ----------
    outputs, channels, group
        Constants: `as_text`, how many channels there are, and how many of them to take.
    coefficients
        T, flat.
    row, place, c
        Length of a component's row, where in it the atom's channels begin, and the first channel.
    x, y, w, z
        Flat arrays of X (f, n, c), Y (s, n, c), W (p, c) and the products (t, n, c).
    """
    arguments = coefficients, row, place, c, x, y, w, z
    own, n, size = _from_text(outputs.literal_value), channels.literal_value, group.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vectors = VectorBuilder(context, builder, coefficients.dtype)
        (t,) = _pointers(vectors, signature, values, (3,), vectors.index(0))
        features = _pointers(vectors, signature, values, (7, 8, 10), values[5])
        (w,) = _pointers(vectors, signature, values, (9,), values[6])
        for start, width in vector_widths(size):
            first, second, product = (
                _Rows(vectors, at, values[4], start, width) for at in features
            )
            weight = _Rows(vectors, w, vectors.index(n), start, width)
            for output in own:
                coupled = None
                for number, f, s in output.terms:
                    factor = vectors.spread(vectors.load_number(t, number), width)
                    term = vectors.multiply(vectors.multiply(factor, first[f]), second[s])
                    coupled = vectors.add(coupled, term)
                product.add(output.target, vectors.multiply(weight[output.path], coupled))
            product.store()
        return context.get_dummy_value()

    return types.void(outputs, channels, group, *arguments), generate


@intrinsic(prefer_literal=True)
def multiply_atom_back(  # type: ignore[no-untyped-def]
    typing_context,
    outputs,
    channels,
    group,
    coefficients,
    row,
    place,
    c,
    x,
    y,
    w,
    grad,
    by_x,
    by_y,
    by_w,
):
    """Add the derivatives of Σ_tc grad_tc z_tc by X, Y and W.

    Parameters
    ----------
    outputs, channels, group, coefficients, row, place, c, x, y, w
        As `multiply_atom`.
    grad
        Flat array of (t, n, c).
    by_x, by_y, by_w
        Of the sizes of x, y and w.
    """
    arguments = coefficients, row, place, c, x, y, w, grad, by_x, by_y, by_w
    own, n, size = _from_text(outputs.literal_value), channels.literal_value, group.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vectors = VectorBuilder(context, builder, coefficients.dtype)
        (t,) = _pointers(vectors, signature, values, (3,), vectors.index(0))
        features = _pointers(vectors, signature, values, (7, 8, 10, 11, 12), values[5])
        of_paths = _pointers(vectors, signature, values, (9, 13), values[6])
        for start, width in vector_widths(size):
            first, second, back, by_first, by_second = (
                _Rows(vectors, at, values[4], start, width) for at in features
            )
            weight, by_weight = (
                _Rows(vectors, at, vectors.index(n), start, width) for at in of_paths
            )
            for output in own:
                weighted = vectors.multiply(weight[output.path], back[output.target])
                coupled = None
                for number, f, s in output.terms:
                    factor = vectors.spread(vectors.load_number(t, number), width)
                    left = vectors.multiply(factor, first[f])
                    coupled = vectors.add(coupled, vectors.multiply(left, second[s]))
                    by_second.add(s, vectors.multiply(left, weighted))
                    right = vectors.multiply(factor, second[s])
                    by_first.add(f, vectors.multiply(right, weighted))
                by_weight.add(output.path, vectors.multiply(back[output.target], coupled))
            for sums in (by_first, by_second, by_weight):
                sums.store()
        return context.get_dummy_value()

    return types.void(outputs, channels, group, *arguments), generate


def _pointers(
    vectors: VectorBuilder, signature: Any, values: Any, arrays: tuple[int, ...], element: Any
) -> list[Any]:
    """To an element of some of the arguments."""
    return [vectors.pointer(signature.args[k], values[k], element) for k in arrays]


class _Rows(dict[int, Any]):
    """Vectors by row, at one place in the rows of an array; loaded when first asked for."""

    def __init__(
        self, vectors: VectorBuilder, at: Any, length: Any, start: int, width: int
    ) -> None:
        self._vectors, self._at, self._length = vectors, at, length
        self._start, self._width = start, width

    def __missing__(self, row: int) -> Any:
        self[row] = self._vectors.load(self._place(row), self._start, self._width)
        return self[row]

    def add(self, row: int, vector: Any) -> None:
        """Add to a row's vector."""
        self[row] = self._vectors.add(self[row], vector)

    def store(self) -> None:
        """Write all of them."""
        for row, vector in self.items():
            self._vectors.store(vector, self._place(row), self._start)

    def _place(self, row: int) -> Any:
        return self._vectors.further(self._at, self._length, row)
