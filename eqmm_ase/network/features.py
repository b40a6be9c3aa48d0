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
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch.autograd.function import once_differentiable

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import EdgeGeometry, Edges
from eqmm_ase.network.environment import EnvironmentFeatures, sum_of_kernels
from eqmm_ase.network.expansion import Expansion


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
        with torch.no_grad():
            self._edges = _EdgeFeatures(frames, edges)
            self._near = None if environment is None else _NearFeatures(frames, environment.near)
        near = None if self._near is None else self._near.near
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


class _EdgeFeatures:
    """Functions of the edges, and their derivatives with respect to the edge vectors."""

    def __init__(self, frames: FrameBatch, geometry: EdgeGeometry) -> None:
        positions = frames.qm_positions
        edges = geometry.qm(frames)
        slopes = geometry.slopes(edges, positions, positions)
        along = torch.cat([slopes.radial, slopes.envelope.unsqueeze(1)], dim=1)
        along = along.unsqueeze(2) * slopes.units.unsqueeze(1)
        self.jacobian = torch.cat([along, slopes.harmonics], dim=1)  # (E, n_radial + 1 + a, 3)
        self.n_atoms = len(positions)
        self.edges = replace(
            edges,
            radial=edges.radial.requires_grad_(),
            envelope=edges.envelope.requires_grad_(),
            harmonics=edges.harmonics.requires_grad_(),
        )


class _EdgeGradient(torch.autograd.Function):
    """dE/d(radial, envelope, harmonics) → dE/dR, by the edge vectors r_sender − r_receiver."""

    @staticmethod
    def forward(
        ctx: Any,
        features: _EdgeFeatures,
        radial: torch.Tensor,
        envelope: torch.Tensor,
        harmonics: torch.Tensor,
    ) -> torch.Tensor:
        ctx.features = features
        edges = features.edges
        grad = torch.cat([radial, envelope.unsqueeze(1), harmonics.T], dim=1)
        vectors = torch.bmm(grad.unsqueeze(1), features.jacobian)[:, 0]  # (E, 3)
        atoms = edges.sum_at_receiver(-vectors, features.n_atoms)
        return atoms.index_add_(0, edges.sender, vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, atoms: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        edges, jacobian = ctx.features.edges, ctx.features.jacobian
        vectors = edges.from_sender(atoms) - edges.from_receiver(atoms)
        moved = torch.bmm(jacobian, vectors.unsqueeze(2))[:, :, 0]
        n_radial = edges.radial.shape[1]
        radial, envelope, harmonics = moved.tensor_split((n_radial, n_radial + 1), dim=1)
        return None, radial, envelope[:, 0], harmonics.T


class _NearFeatures:
    """Sum of the near-field kernels, and of every pair what its derivatives are made of."""

    def __init__(self, frames: FrameBatch, geometry: EdgeGeometry) -> None:
        pairs = geometry.near_field(frames)
        slopes = geometry.slopes(pairs, frames.qm_positions, frames.mm_positions)
        self.pairs = pairs
        self.charges = pairs.from_sender(frames.mm_charges)  # (P,)
        self.units = slopes.units
        self.harmonics = pairs.harmonics.T.contiguous()  # (P, a)
        self.harmonics_slopes = slopes.harmonics  # (P, a, 3)
        envelope = pairs.envelope.unsqueeze(1)
        self.kernels = pairs.radial * envelope  # (P, n_near), without the charge
        self.kernel_slopes = slopes.radial * envelope + pairs.radial * slopes.envelope.unsqueeze(1)
        self.n_atoms, self.n_sites = len(frames.qm_positions), len(frames.mm_positions)
        near = sum_of_kernels(pairs, frames.mm_charges, self.n_atoms)
        self.near = near.requires_grad_()


class _NearGradient(torch.autograd.Function):
    """G = dE/d(near field) (a, N, n) → dE/dR, dE/dr, dE/dq.

    With k_n = f_cut B_n, u the unit vector from atom i to charge k and x = r_k − R_i, a pair gives

        dE/dx = q Σ_an G_ain (k_n ∇Y_a + u k_n' Y_a)        dE/dq = Σ_an G_ain k_n Y_a
    """

    @staticmethod
    def forward(
        ctx: Any, features: _NearFeatures, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.features = features
        # (P, a, n) and (P, n, a): the sum over the last axis is twice as fast as over the middle.
        kernels_last, harmonics_last = (
            features.pairs.from_receiver(grad.permute(axes).contiguous())
            for axes in ((1, 0, 2), (1, 2, 0))
        )
        by_kernel = torch.bmm(harmonics_last, features.harmonics.unsqueeze(2))[:, :, 0]
        by_harmonic = torch.bmm(kernels_last, features.kernels.unsqueeze(2))  # (P, a, 1)
        across = torch.bmm(by_harmonic.transpose(1, 2), features.harmonics_slopes)[:, 0]
        along = (by_kernel * features.kernel_slopes).sum(1, keepdim=True)
        vectors = torch.addcmul(across, along, features.units) * features.charges.unsqueeze(1)
        own = (by_kernel * features.kernels).sum(1)

        atoms = features.pairs.sum_at_receiver(-vectors, features.n_atoms)
        sites = grad.new_zeros(features.n_sites, 3).index_add_(0, features.pairs.sender, vectors)
        charges = grad.new_zeros(features.n_sites).index_add_(0, features.pairs.sender, own)
        return atoms, sites, charges

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        # By how much the near field changes where positions and charges move like this.
        features = ctx.features
        vectors = features.pairs.from_sender(sites) - features.pairs.from_receiver(atoms)
        vectors = vectors * features.charges.unsqueeze(1)
        along = (vectors * features.units).sum(1, keepdim=True)
        more = features.pairs.from_sender(charges).unsqueeze(1)
        kernels = torch.addcmul(more * features.kernels, along, features.kernel_slopes)  # (P, n)
        harmonics = torch.bmm(features.harmonics_slopes, vectors.unsqueeze(2))  # (P, a, 1)
        moved = features.harmonics.unsqueeze(2) * kernels.unsqueeze(1)  # (P, a, n)
        moved = torch.addcmul(moved, harmonics, features.kernels.unsqueeze(1))
        return None, features.pairs.sum_at_receiver(moved, features.n_atoms).transpose(0, 1)
