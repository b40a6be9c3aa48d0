"""Messages and products as operators of torch, with derivatives of any order; CPU only.

Both are linear in each of three tensors X, Y and W. With a gradient g of the result, the
derivatives of Φ = g · result by the three are again linear in three of X, Y, W and g: their own
derivatives are made of the same operators.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from eqmm_ase.network.harmonics import coupling, gather_matrix, n_components

if TYPE_CHECKING:
    from eqmm_ase.kernels.messages import MessageTable
    from eqmm_ase.kernels.products import ProductTable

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
    harmonics: (E, b), of the edges' unit vectors.
    weights: (E, p, c), of every path of ``coupling(*orders, orders[1])``.
    sender, receiver: (E,).
    orders: highest of the features, and of harmonics and result.

    Returns
    -------
    (b, n, c).
    """
    return _MESSAGE(features, harmonics, weights, [sender, receiver], orders)


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


@cache
def _message_table(orders: Orders, dtype: Any) -> MessageTable:
    from eqmm_ase.kernels.messages import MessageTable  # and numba, when first needed

    l_features, l_max = orders
    return MessageTable.of(*_dense(l_features, l_max, l_max)).astype(dtype)


@cache
def _product_table(orders: Orders, dtype: Any) -> ProductTable:
    from eqmm_ase.kernels.products import ProductTable

    return ProductTable.of(*_dense(*orders)).astype(dtype)


def _dense(l_first: int, l_second: int, l_out: int, symmetric: int = 0) -> tuple[Any, ...]:
    """T (o, f, s), each order of the sum of all paths to unit variance; p(o), t(o), how many t."""
    table = coupling(l_first, l_second, l_out, symmetric=bool(symmetric))
    tensor = table.tensor * gather_matrix(table, l_out).sum(0)
    path, target = table.path.numpy(), table.target.numpy()
    return tensor.permute(2, 0, 1).numpy(), path, target, n_components(l_out)


class _Trilinear:
    """A trilinear function and its derivatives, each an operator that a trace sees as one step.

    The operators know nothing of derivatives: what torch wraps around those that do takes longer
    than a small region's products. `_Value` and `_Gradients` do instead.
    """

    def __init__(
        self, name: str, table: Callable[[Orders, Any], Any], forwards: Any, backwards: Any
    ) -> None:
        inputs = "Tensor first, Tensor second, Tensor weights, Tensor[] ends"
        outputs = "(Tensor, Tensor, Tensor)"
        _LIBRARY.define(f"{name}({inputs}, int[] orders) -> Tensor")
        _LIBRARY.define(f"{name}_gradients({inputs}, Tensor grad, int[] orders) -> {outputs}")

        def value(*inputs: Any) -> torch.Tensor:
            *factors, ends, orders = inputs
            arrays = _arrays(*factors, *ends)
            return torch.from_numpy(forwards(table(tuple(orders), arrays[0].dtype), *arrays))

        def gradients(*inputs: Any) -> tuple[torch.Tensor, ...]:
            *factors, ends, grad, orders = inputs
            arrays = _arrays(*factors, *ends, grad)
            found = backwards(table(tuple(orders), arrays[0].dtype), *arrays)
            return tuple(map(torch.from_numpy, found))

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


def _arrays(*tensors: torch.Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _send(*arguments: Any) -> Any:
    from eqmm_ase.kernels.messages import send

    return send(*arguments)


def _send_back(*arguments: Any) -> Any:
    from eqmm_ase.kernels.messages import send_back

    return send_back(*arguments)


def _multiply(*arguments: Any) -> Any:
    from eqmm_ase.kernels.products import multiply

    return multiply(*arguments)


def _multiply_back(*arguments: Any) -> Any:
    from eqmm_ase.kernels.products import multiply_back

    return multiply_back(*arguments)


_MESSAGE = _Trilinear("message", _message_table, _send, _send_back)
_PRODUCT = _Trilinear("product", _product_table, _multiply, _multiply_back)
