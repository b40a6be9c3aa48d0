"""Vector instructions for compiled loops, where the compiler finds none by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llvmlite import ir

_WIDEST = 8
_SUMS = ("reassoc", "contract", "nsz")  # as `compiler` has them
_INDEX = ir.IntType(32)


def source_of(file: Path) -> str:
    """Hash of a file that writes code with this one."""
    sources = file.read_bytes() + Path(__file__).read_bytes()
    return hashlib.sha256(sources).hexdigest()[:16]


def vector_widths(n: int) -> Iterator[tuple[int, int]]:
    """First number and width of vectors that hold n numbers, the widths powers of two up to 8."""
    start = 0
    while start < n:
        width = min(_WIDEST, 1 << ((n - start).bit_length() - 1))
        yield start, width
        start += width


class VectorBuilder:
    """Instructions on numbers and vectors of a real type, at the place of a numba builder."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self._context, self._builder = context, builder
        self._real = context.get_value_type(dtype)
        self._bytes = context.get_abi_sizeof(self._real)

    def pointer(self, array_type: Any, array: Any, offset: Any) -> Any:
        """To an element of a contiguous array, by its number."""
        data = self._context.make_array(array_type)(self._context, self._builder, array).data
        return self._builder.gep(data, [offset])

    @staticmethod
    def index(number: int) -> Any:
        """Number of an element, as `pointer` takes it."""
        return ir.IntType(64)(number)

    def further(self, pointer: Any, length: Any, rows: int) -> Any:
        """The same place some rows on, of a length that is known only at run time."""
        return self._builder.gep(pointer, [self._builder.mul(length, self.index(rows))])

    def load(self, pointer: Any, offset: int, width: int) -> Any:
        """A vector that begins at an offset."""
        return self._builder.load(self._at(pointer, offset, width), align=self._bytes)

    def store(self, vector: Any, pointer: Any, offset: int) -> None:
        """Write a vector, from an offset on."""
        self._builder.store(vector, self._at(pointer, offset, vector.type.count), align=self._bytes)

    def load_number(self, pointer: Any, offset: int) -> Any:
        """The number at an offset."""
        return self._builder.load(self._element(pointer, offset))

    def add_number(self, number: Any, pointer: Any, offset: int) -> None:
        """Add a number to the one at an offset."""
        place = self._element(pointer, offset)
        self._builder.store(self.add(self._builder.load(place), number), place)

    def spread(self, number: Any, width: int) -> Any:
        """Vector of equal numbers."""
        empty = ir.Constant(ir.VectorType(self._real, width), ir.Undefined)
        vector = self._builder.insert_element(empty, number, _INDEX(0))
        return self._shuffled(vector, [0] * width)

    def multiply(self, first: Any, second: Any) -> Any:
        """Product of numbers or of vectors, number by number."""
        return self._builder.fmul(first, second, flags=_SUMS)

    def add(self, first: Any | None, second: Any) -> Any:
        """Sum; None is nothing."""
        return second if first is None else self._builder.fadd(first, second, flags=_SUMS)

    def total(self, vector: Any) -> Any:
        """Sum of a vector's numbers."""
        while (width := vector.type.count) > 1:
            numbers = list(range(width))
            halves = numbers[: width // 2], numbers[width // 2 :]
            vector = self.add(*(self._shuffled(vector, half) for half in halves))
        return self._builder.extract_element(vector, _INDEX(0))

    def _element(self, pointer: Any, offset: int) -> Any:
        return self._builder.gep(pointer, [self.index(offset)])

    def _at(self, pointer: Any, offset: int, width: int) -> Any:
        vector = ir.VectorType(self._real, width).as_pointer()
        return self._builder.bitcast(self._element(pointer, offset), vector)

    def _shuffled(self, vector: Any, numbers: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_INDEX, len(numbers)), numbers)
        return self._builder.shuffle_vector(vector, vector, mask)
