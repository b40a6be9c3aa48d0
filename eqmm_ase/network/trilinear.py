"""Messages and products as operators of torch, with derivatives of any order; CPU only.

Both are linear in each of three tensors X, Y and W. With a gradient g of the result, the
derivatives of Φ = g · result by the three are again linear in three of X, Y, W and g: their own
derivatives are made of the same operators.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch

from eqmm_ase.kernels.arrays import contiguous_arrays
from eqmm_ase.network.harmonics import coupling, gather_matrix, n_components

_LIBRARY = torch.library.Library("eqmm", "DEF")


def message(
    features: torch.Tensor,
    harmonics: torch.Tensor,
    weights: torch.Tensor,
    sender: torch.Tensor,
    receiver: torch.Tensor,
    orders: tuple[int, int],
) -> torch.Tensor:
    """Harmonics of the edges coupled to the senders' features, summed at the receivers.

    Parameters
    ----------
    features: (a, n, c).
    harmonics: (b, E), of the edges' unit vectors.
    weights: (E, p, c), of every path of ``coupling(*orders, orders[1])``.
    sender, receiver: (E,).
    orders: highest of the features, and of harmonics and result.

    Returns
    -------
    (b, n, c).
    """
    l_features, l_max = orders
    ends = [sender, receiver]
    return _MESSAGE(features, harmonics, weights, ends, (l_features, l_max, l_max, 0))


def product(
    first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor, orders: tuple[int, ...]
) -> torch.Tensor:
    """Coupling of two packed features at each atom, channel by channel.

    Parameters
    ----------
    first, second: (a, n, c) and (b, n, c).
    weights: (p, c), of every path of ``coupling(*orders)``.
    orders: highest of first, second and result, and 1 where both are the same tensor, else 0.

    Returns
    -------
    (d, n, c).
    """
    return _PRODUCT(first, second, weights, [], orders)


Orders = tuple[int, ...]


class _Loops(NamedTuple):
    """Compiled loops of a trilinear function."""

    table: Any  # class of its coefficients
    value: Any
    gradients: Any


@cache
def _message_loops() -> _Loops:
    from eqmm_ase.kernels import messages  # and numba, when first needed

    return _Loops(messages.MessageTable, messages.send, messages.send_back)


@cache
def _product_loops() -> _Loops:
    from eqmm_ase.kernels import products

    return _Loops(products.ProductTable, products.multiply, products.multiply_back)


@cache
def _coefficients(loops: _Loops, orders: Orders, dtype: Any) -> Any:
    """T (o, f, s), the sum of all paths to each order of unit variance, as a table of its loops."""
    l_first, l_second, l_out, symmetric = orders
    table = coupling(l_first, l_second, l_out, symmetric=bool(symmetric))
    tensor = (table.tensor * gather_matrix(table, l_out).sum(0)).permute(2, 0, 1).numpy()
    path, target = table.path.numpy(), table.target.numpy()
    return loops.table.of(tensor, path, target, n_components(l_out)).astype(dtype)


class _Trilinear:
    """A trilinear function and its derivatives, each an operator that a trace sees as one step.

    The operators know nothing of derivatives: what torch wraps around those that do takes longer
    than a small region's products. `_Value` and `_Gradients` do instead.
    """

    def __init__(self, name: str, loops: Callable[[], _Loops]) -> None:
        inputs = "Tensor first, Tensor second, Tensor weights, Tensor[] ends"
        outputs = "(Tensor, Tensor, Tensor)"
        _LIBRARY.define(f"{name}({inputs}, int[] orders) -> Tensor")
        _LIBRARY.define(f"{name}_gradients({inputs}, Tensor grad, int[] orders) -> {outputs}")

        def value(*inputs: Any) -> torch.Tensor:
            *factors, ends, orders = inputs
            arrays, own = contiguous_arrays(*factors, *ends), loops()
            table = _coefficients(own, tuple(orders), arrays[0].dtype)
            return torch.from_numpy(own.value(table, *arrays))

        def gradients(*inputs: Any) -> tuple[torch.Tensor, ...]:
            *factors, ends, grad, orders = inputs
            arrays, own = contiguous_arrays(*factors, *ends, grad), loops()
            table = _coefficients(own, tuple(orders), arrays[0].dtype)
            return tuple(map(torch.from_numpy, own.gradients(table, *arrays)))

        _LIBRARY.impl(name, value, "CPU")
        _LIBRARY.impl(f"{name}_gradients", gradients, "CPU")
        self.value = getattr(torch.ops.eqmm, name).default
        self.gradients = getattr(torch.ops.eqmm, f"{name}_gradients").default

    def __call__(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        weights: torch.Tensor,
        ends: list[torch.Tensor],
        orders: Orders,
    ) -> torch.Tensor:
        """Value, with its graph."""
        return _Value.apply(self, list(orders), first, second, weights, *ends)


class _Value(torch.autograd.Function):
    """X, Y, W → value."""

    @staticmethod
    def forward(
        ctx: Any, function: _Trilinear, orders: list[int], *tensors: torch.Tensor
    ) -> torch.Tensor:
        ctx.function, ctx.orders = function, orders
        ctx.save_for_backward(*tensors)
        first, second, weights, *ends = tensors
        return function.value(first, second, weights, ends, orders)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = _Gradients.apply(ctx.function, ctx.orders, grad, *ctx.saved_tensors)
        return None, None, *found, *(None for _ in ctx.saved_tensors[3:])


class _Gradients(torch.autograd.Function):
    """g, X, Y, W → derivatives of Φ = g · value by X, Y and W."""

    @staticmethod
    def forward(
        ctx: Any, function: _Trilinear, orders: list[int], *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.function, ctx.orders = function, orders
        ctx.save_for_backward(*tensors)
        grad, first, second, weights, *ends = tensors
        return function.gradients(first, second, weights, ends, grad, orders)

    @staticmethod
    def backward(
        ctx: Any, u_x: torch.Tensor, u_y: torch.Tensor, u_w: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        # u_X · ∂Φ/∂X is Φ with u_X in the place of X, and so for Y and W: the sum's derivatives.
        grad, x, y, w, *ends = ctx.saved_tensors
        common = ctx.function, ctx.orders
        replaced = ((u_x, y, w), (x, u_y, w), (x, y, u_w))
        by_grad = sum(_Value.apply(*common, *own, *ends) for own in replaced)
        (_, y1, w1), (x2, _, w2), (x3, y3, _) = (
            _Gradients.apply(*common, grad, *own, *ends) for own in replaced
        )
        return None, None, by_grad, x2 + x3, y1 + y3, w1 + w2, *(None for _ in ends)


_MESSAGE = _Trilinear("message", _message_loops)
_PRODUCT = _Trilinear("product", _product_loops)
