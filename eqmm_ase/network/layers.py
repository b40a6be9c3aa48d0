"""Equivariant building blocks on packed features (components, atoms, channels).

All orders l live side by side in the first axis (`eqmm_ase.network.harmonics`), so that a product
of two features is one Clebsch–Gordan contraction, not one small operation per path: at the size of
a QM region the number of operations is the cost. Natural parity (−1)^l throughout.
"""

from __future__ import annotations

import torch

from eqmm_ase.network.edges import Edges
from eqmm_ase.network.harmonics import (
    ExactModule,
    coupling,
    degree_of_component,
    gather_matrix,
    n_components,
)
from eqmm_ase.network.trilinear import message, product


class PackedLinear(torch.nn.Module):
    """Mix channels within each order l, without a bias, which only l = 0 could have."""

    weight: torch.Tensor
    degree: torch.Tensor

    def __init__(self, l_max: int, c_in: int, c_out: int, scale: float = 1.0) -> None:
        super().__init__()
        weight = torch.randn(l_max + 1, c_in, c_out) * scale / c_in**0.5
        self.weight = torch.nn.Parameter(weight)
        self.register_buffer("degree", degree_of_component(l_max), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(a, n, c_in) → (a, n, c_out)."""
        return torch.bmm(features, self.weight.index_select(0, self.degree))


class PackedProduct(ExactModule):
    """Channel-wise coupling of two packed features, a learned weight per path and channel.

    z^c_l3 = Σ_(l1,l2) w_(l1 l2 l3),c (x^c_l1 ⊗ y^c_l2)_l3
    """

    tensor: torch.Tensor
    gather: torch.Tensor
    path: torch.Tensor

    def __init__(
        self, l_first: int, l_second: int, l_out: int, channels: int, *, symmetric: bool = False
    ) -> None:
        super().__init__()
        self.orders = (l_first, l_second, l_out, int(symmetric))
        table = coupling(l_first, l_second, l_out, symmetric=symmetric)
        self.weight = torch.nn.Parameter(torch.randn(len(table.paths), channels))
        self.register_constant("tensor", table.tensor.flatten(0, 1).T)
        self.register_constant("gather", gather_matrix(table, l_out))
        self.register_buffer("path", table.path, persistent=False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(a, n, c), (b, n, c) → (l_out components, n, c)."""
        if first.is_cpu:
            return product(first, second, self.weight, self.orders)
        return self.composed(first, second)

    def composed(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """`forward` by torch's own operations, on any device."""
        n, channels = first.shape[1:]
        outer = (first.unsqueeze(1) * second.unsqueeze(0)).reshape(-1, n * channels)
        coupled = (self.tensor @ outer).reshape(-1, n, channels)
        weighted = coupled * self.weight.index_select(0, self.path).unsqueeze(1)
        return (self.gather @ weighted.flatten(1)).reshape(-1, n, channels)


class EdgeWeights(torch.nn.Module):
    """Weights of a message: an MLP of the distance and both ends' scalars, zero at the cutoff."""

    def __init__(self, channels: int, n_radial: int, hidden: int, n_out: int) -> None:
        super().__init__()
        self.radial = torch.nn.Linear(n_radial, hidden)
        self.ends = torch.nn.Linear(channels, 2 * hidden, bias=False)
        self.out = torch.nn.Linear(hidden, n_out, bias=False)

    def forward(self, scalars: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(n, c) → (E, n_out)."""
        receiver, sender = self.ends(scalars).chunk(2, dim=1)
        hidden = self.radial(edges.radial) + edges.from_receiver(receiver)
        hidden = hidden + edges.from_sender(sender)
        return self.out(torch.nn.functional.silu(hidden)) * edges.envelope.unsqueeze(1)


class Density(torch.nn.Module):
    """First message: the neighbours' scalars spread over the sphere, Σ_j R_l(ij) Y_lm(ij) s_j."""

    degree: torch.Tensor

    def __init__(self, l_max: int, channels: int, n_radial: int, hidden: int) -> None:
        super().__init__()
        self.weights = EdgeWeights(channels, n_radial, hidden, (l_max + 1) * channels)
        self.register_buffer("degree", degree_of_component(l_max), persistent=False)
        self.orders = (0, l_max)

    def forward(self, scalars: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(n, c) → (a, n, c)."""
        weights = self.weights(scalars, edges).unflatten(1, (-1, scalars.shape[1]))
        if scalars.is_cpu:
            ends = edges.sender, edges.receiver
            return message(scalars.unsqueeze(0), edges.harmonics, weights, *ends, self.orders)
        return self.composed(scalars, weights, edges)

    def composed(self, scalars: torch.Tensor, weights: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Sum of the messages by torch's own operations, on any device."""
        radial = weights * edges.from_sender(scalars).unsqueeze(1)  # (E, l, c)
        harmonics = edges.harmonics.T.unsqueeze(2)  # (E, a, 1)
        messages = radial.index_select(1, self.degree) * harmonics
        return edges.sum_at_receiver(messages, len(scalars)).transpose(0, 1)


class Message(ExactModule):
    """Later messages: Σ_j R_path(ij) (Y(ij) ⊗ x_j)_path over all paths (l1, l2 → l3)."""

    steering: torch.Tensor
    gather: torch.Tensor
    path: torch.Tensor

    def __init__(self, l_max: int, channels: int, n_radial: int, hidden: int) -> None:
        super().__init__()
        table = coupling(l_max, l_max, l_max)
        self.weights = EdgeWeights(channels, n_radial, hidden, len(table.paths) * channels)
        n_out = len(table.target)
        steering = table.tensor.permute(1, 2, 0).flatten(1)
        self.register_constant("steering", steering)  # (harmonics, o·features)
        self.register_constant("gather", gather_matrix(table, l_max))
        self.register_buffer("path", table.path, persistent=False)
        self.shape = (n_out, n_components(l_max))
        self.orders = (l_max, l_max)

    def forward(self, features: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(a, n, c) → (a, n, c)."""
        weights = self.weights(features[0], edges).unflatten(1, (-1, features.shape[2]))
        if features.is_cpu:
            ends = edges.sender, edges.receiver
            return message(features, edges.harmonics, weights, *ends, self.orders)
        return self.composed(features, weights, edges)

    def composed(self, features: torch.Tensor, weights: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Sum of the messages by torch's own operations, on any device."""
        n, channels = features.shape[1:]
        steering = edges.harmonics.T @ self.steering  # (E, o·b)
        steering = steering.reshape(-1, *self.shape)
        sent = edges.from_sender(features.transpose(0, 1))  # (E, b, c)
        messages = torch.bmm(steering, sent) * weights.index_select(1, self.path)  # (E, o, c)
        received = edges.sum_at_receiver(messages, n)  # (n, o, c)
        gathered = self.gather @ received.transpose(0, 1).flatten(1)
        return gathered.reshape(-1, n, channels)


class InvariantUpdate(ExactModule):
    """An MLP on the scalars and the norms of every order adds to the scalars and gates the rest."""

    orders: torch.Tensor
    degree: torch.Tensor

    def __init__(self, l_max: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear((l_max + 1) * channels, hidden),
            torch.nn.SiLU(),
            torch.nn.Linear(hidden, (l_max + 1) * channels),
        )
        degree = degree_of_component(l_max)
        self.register_constant("orders", torch.nn.functional.one_hot(degree).T[1:, 1:])  # (l, a)
        self.register_buffer("degree", degree[1:] - 1, persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(a, n, c) → (a, n, c)."""
        scalars, vectors = features[0], features[1:]
        squares = torch.tensordot(self.orders, vectors.square(), dims=1)  # (l, n, c)
        norms = (squares + 1.0).sqrt() - 1.0  # smooth where the vector vanishes
        update = self.mlp(torch.cat([scalars, *norms], dim=1))
        update = update.reshape(len(scalars), -1, scalars.shape[1]).transpose(0, 1)  # (l, n, c)
        gated = vectors * (1.0 + update[1:].index_select(0, self.degree))
        return torch.cat([(scalars + update[0]).unsqueeze(0), gated])
