"""Compiled messages and products against the same by torch's own operations, and their slopes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from eqmm_ase.network.edges import Edges
from eqmm_ase.network.layers import Density, Message, PackedProduct
from eqmm_ase.network.trilinear import message, product

N_ATOMS, N_EDGES, CHANNELS = 5, 35, 3  # edges of more than two blocks


def tensor(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def ends() -> tuple[torch.Tensor, torch.Tensor]:
    """Senders and receivers in any order, one atom without edges."""
    return (
        torch.randint(0, N_ATOMS, (N_EDGES,)),
        torch.randint(0, N_ATOMS - 1, (N_EDGES,)),
    )


def edges(l_max: int) -> Edges:
    sender, receiver = ends()
    radial, envelope = tensor(N_EDGES, 8).detach(), torch.rand(N_EDGES, dtype=torch.float64)
    return Edges(receiver, sender, radial, envelope, tensor((l_max + 1) ** 2, N_EDGES).detach())


def assert_first_and_second_slopes(
    function: Callable[..., torch.Tensor], factors: tuple[torch.Tensor, ...]
) -> None:
    assert torch.autograd.gradcheck(function, factors, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, factors, fast_mode=True)


@pytest.mark.parametrize(
    ("l_max", "channels"),
    [(1, CHANNELS), (2, CHANNELS), (3, CHANNELS), (1, 32), (1, 79)],  # groups, and what is left
)
def test_messages_are_those_of_torch(l_max: int, channels: int) -> None:
    own, features = edges(l_max), tensor((l_max + 1) ** 2, N_ATOMS, channels)
    layer = Message(l_max, channels, 8, 16).double()
    weights = layer.weights(features[0], own).unflatten(1, (-1, channels))
    torch.testing.assert_close(layer(features, own), layer.composed(features, weights, own))


@pytest.mark.parametrize("l_max", [1, 2, 3])
def test_densities_are_those_of_torch(l_max: int) -> None:
    own, scalars = edges(l_max), tensor(N_ATOMS, CHANNELS)
    layer = Density(l_max, CHANNELS, 8, 16).double()
    weights = layer.weights(scalars, own).unflatten(1, (-1, CHANNELS))
    torch.testing.assert_close(layer(scalars, own), layer.composed(scalars, weights, own))


@pytest.mark.parametrize("n_atoms", [1, N_ATOMS, 200])  # one block of the loop, and several
@pytest.mark.parametrize(("orders", "symmetric"), [((2, 3, 2), False), ((1, 1, 4), True)])
def test_products_are_those_of_torch(
    orders: tuple[int, int, int], symmetric: bool, n_atoms: int
) -> None:
    layer = PackedProduct(*orders, CHANNELS, symmetric=symmetric).double()
    first = tensor((orders[0] + 1) ** 2, n_atoms, CHANNELS)
    second = first if symmetric else tensor((orders[1] + 1) ** 2, n_atoms, CHANNELS)
    found = layer(first, second)
    assert len(found) == (orders[2] + 1) ** 2  # components that no path leads to are zero
    torch.testing.assert_close(found, layer.composed(first, second))


@pytest.mark.parametrize("channels", [CHANNELS, 34])
@pytest.mark.parametrize(("orders", "n_paths"), [((2, 2), 11), ((0, 2), 3)])
def test_first_and_second_derivatives_of_messages_are_slopes(
    orders: tuple[int, int], n_paths: int, channels: int
) -> None:
    sender, receiver = ends()
    features = tensor((orders[0] + 1) ** 2, N_ATOMS, channels)
    factors = features, tensor((orders[1] + 1) ** 2, N_EDGES), tensor(N_EDGES, n_paths, channels)

    def value(*factors: torch.Tensor) -> torch.Tensor:
        return message(*factors, sender, receiver, orders)

    assert_first_and_second_slopes(value, factors)


def test_first_and_second_derivatives_of_products_are_slopes() -> None:
    layer = PackedProduct(1, 2, 3, CHANNELS).double()
    factors = tensor(4, N_ATOMS, CHANNELS), tensor(9, N_ATOMS, CHANNELS), layer.weight

    def value(*factors: torch.Tensor) -> torch.Tensor:
        return product(*factors, layer.orders)

    assert_first_and_second_slopes(value, factors)


def test_third_derivatives_of_products_are_slopes() -> None:
    # The long range takes a derivative of the network, and images of the region one of that.
    layer = PackedProduct(1, 2, 3, CHANNELS).double()
    factors = tensor(4, N_ATOMS, CHANNELS), tensor(9, N_ATOMS, CHANNELS), layer.weight

    def second(*factors: torch.Tensor) -> torch.Tensor:
        value = product(*factors, layer.orders).square().sum()
        first = torch.autograd.grad(value, factors, create_graph=True)
        return torch.autograd.grad(first[0].square().sum(), factors, create_graph=True)[1]

    assert torch.autograd.gradcheck(second, factors, fast_mode=True)
