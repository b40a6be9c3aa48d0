"""Precomputed features: what a network takes of positions and charges, and has no weights.

These are the expansion of the MM potential, the functions of the QM–QM edges and the near-field
kernels. They are computed outside the graph and are its leaf tensors; from the
derivatives of the energy with respect to them, those with respect to positions and charges follow
by the chain rule in closed form. That is linear in the former, so its own derivative, through which
training on forces reaches the weights, is the transposed product. Second derivatives with respect
to positions and charges do not exist on this way: `Neighbourhood.of` is the way that has them.

At the size of a QM region the number of operations is the cost. Traced, each of those here would
come back once in the gradient and twice in the gradient's gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch.autograd.function import once_differentiable

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import EdgeGeometry, Edges
from eqmm_ase.network.environment import EnvironmentFeatures
from eqmm_ase.network.expansion import Expansion
from eqmm_ase.network.pair_features import (
    CompiledEdges,
    CompiledNearField,
    EdgeFeatures,
    NearField,
)


class Neighbourhood(NamedTuple):
    """Edges of the QM region and the near field of the MM charges about each QM atom."""

    edges: Edges
    near: torch.Tensor | None  # (a, N, n_near), None where nothing polarises

    @classmethod
    def of(
        cls, frames: FrameBatch, edges: EdgeGeometry, environment: EnvironmentFeatures | None
    ) -> Neighbourhood:
        """In the graph of the frames' positions and charges."""
        near = None if environment is None else environment.near_field(frames)
        return cls(edges.qm(frames), near)


class ExpansionFeature(Protocol):
    """Expansion C (N, (L+1)²) as a feature, with what follows from dE/dC, as an `Expansion`."""

    tensors: torch.Tensor

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        ...

    def atom_gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dC → dE/dR (N, 3)."""
        ...


class PrecomputedFeatures:
    """Expansion, edges and near field of a batch as leaf tensors of the graph, with the chain rule.

    Parameters
    ----------
    frames
        Positions in Å, charges in e.
    l_max
        Highest order L of the expansion.
    edges, environment
        Of a model; the environment is None where nothing polarises.
    expansion
        Where it is not that of the frames' charges alone.
    """

    def __init__(
        self,
        frames: FrameBatch,
        l_max: int,
        edges: EdgeGeometry,
        environment: EnvironmentFeatures | None,
        expansion: ExpansionFeature | None = None,
    ) -> None:
        self._expansion = Expansion(frames, l_max) if expansion is None else expansion
        self.tensors = self._expansion.tensors
        self._edges, self._near, near = _pair_features(frames, edges, environment)
        self.neighbourhood = Neighbourhood(self._edges.edges, near)

    @property
    def all(self) -> list[torch.Tensor]:
        """Expansion (N, (L+1)²); radial, envelope and harmonics of the edges; near field."""
        edges, near = self.neighbourhood
        features = [self.tensors, edges.radial, edges.envelope, edges.harmonics]
        return features if near is None else [*features, near]

    def pull_back(
        self, grads: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/d(feature) of every feature → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        tensors, radial, envelope, harmonics, *near = grads
        atoms, sites, charges = self._expansion.pull_back(tensors)
        atoms = atoms + _EdgeGradient.apply(self._edges, radial, envelope, harmonics)
        if self._near is None:
            return atoms, sites, charges
        near_atoms, near_sites, near_charges = _NearGradient.apply(self._near, *near)
        return atoms + near_atoms, sites + near_sites, charges + near_charges

    def atom_gradient(self, grads: Sequence[torch.Tensor]) -> torch.Tensor:
        """`pull_back` to dE/dR alone, without a graph."""
        tensors, radial, envelope, harmonics, *near = (grad.detach() for grad in grads)
        atoms = self._expansion.atom_gradient(tensors)
        atoms = atoms + self._edges.pull_back(radial, envelope, harmonics)
        return atoms if self._near is None else atoms + self._near.pull_back(*near)[0]


class _EdgeGradient(torch.autograd.Function):
    """dE/d(radial, envelope, harmonics) → dE/dR."""

    @staticmethod
    def forward(
        ctx: Any, features: EdgeFeatures | CompiledEdges, *grads: torch.Tensor
    ) -> torch.Tensor:
        ctx.features = features
        return features.pull_back(*grads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, atoms: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *ctx.features.moved(atoms)


class _NearGradient(torch.autograd.Function):
    """dE/d(near field) → dE/dR, dE/dr and dE/dq."""

    @staticmethod
    def forward(
        ctx: Any, features: NearField | CompiledNearField, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.features = features
        return features.pull_back(grad)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *moves: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, ctx.features.moved(*moves)


def _pair_features(
    frames: FrameBatch, geometry: EdgeGeometry, environment: EnvironmentFeatures | None
) -> tuple[EdgeFeatures | CompiledEdges, NearField | CompiledNearField | None, torch.Tensor | None]:
    """Of edges and near field, and the near field itself; by compiled loops where there are any."""
    on_cpu = frames.qm_positions.is_cpu
    with torch.no_grad():
        edges = (CompiledEdges if on_cpu else EdgeFeatures)(frames, geometry)
        if environment is None:
            return edges, None, None
        near = (CompiledNearField if on_cpu else NearField)(frames, environment.near)
    return edges, near, near.near
