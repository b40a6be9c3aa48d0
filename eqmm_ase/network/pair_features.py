"""Edges and near field of a batch with their derivatives: by torch, and by compiled loops.

The loops are for the CPU, where they take a tenth of the time; torch's own operations for all other
devices.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch

from eqmm_ase.kernels.arrays import contiguous_arrays
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import EdgeGeometry, Edges
from eqmm_ase.network.environment import sum_of_kernels
from eqmm_ase.network.harmonics import regular_gradient_matrix


class EdgeFeatures:
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

    def pull_back(
        self, radial: torch.Tensor, envelope: torch.Tensor, harmonics: torch.Tensor
    ) -> torch.Tensor:
        """dE/d(radial, envelope, harmonics) → dE/dR, by the edge vectors r_sender − r_receiver."""
        grad = torch.cat([radial, envelope.unsqueeze(1), harmonics.T], dim=1)
        vectors = torch.bmm(grad.unsqueeze(1), self.jacobian)[:, 0]  # (E, 3)
        atoms = self.edges.sum_at_receiver(-vectors, self.n_atoms)
        return atoms.index_add_(0, self.edges.sender, vectors)

    def moved(self, atoms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Change of radial, envelope and harmonics where atoms move like (N, 3)."""
        vectors = self.edges.from_sender(atoms) - self.edges.from_receiver(atoms)
        moved = torch.bmm(self.jacobian, vectors.unsqueeze(2))[:, :, 0]
        n_radial = self.edges.radial.shape[1]
        radial, envelope, harmonics = moved.tensor_split((n_radial, n_radial + 1), dim=1)
        return radial, envelope[:, 0], harmonics.T


class NearField:
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

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """G = dE/d(near field) (a, N, n) → dE/dR, dE/dr, dE/dq.

        With k_n = f_cut B_n, u the unit vector from atom i to charge k and x = r_k − R_i, a pair
        gives

            dE/dx = q Σ_an G_ain (k_n ∇Y_a + u k_n' Y_a)        dE/dq = Σ_an G_ain k_n Y_a
        """
        # (P, a, n) and (P, n, a): the sum over the last axis is twice as fast as over the middle.
        kernels_last, harmonics_last = (
            self.pairs.from_receiver(grad.permute(axes).contiguous())
            for axes in ((1, 0, 2), (1, 2, 0))
        )
        by_kernel = torch.bmm(harmonics_last, self.harmonics.unsqueeze(2))[:, :, 0]
        by_harmonic = torch.bmm(kernels_last, self.kernels.unsqueeze(2))  # (P, a, 1)
        across = torch.bmm(by_harmonic.transpose(1, 2), self.harmonics_slopes)[:, 0]
        along = (by_kernel * self.kernel_slopes).sum(1, keepdim=True)
        vectors = torch.addcmul(across, along, self.units) * self.charges.unsqueeze(1)
        own = (by_kernel * self.kernels).sum(1)

        atoms = self.pairs.sum_at_receiver(-vectors, self.n_atoms)
        sites = grad.new_zeros(self.n_sites, 3).index_add_(0, self.pairs.sender, vectors)
        charges = grad.new_zeros(self.n_sites).index_add_(0, self.pairs.sender, own)
        return atoms, sites, charges

    def moved(
        self, atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor
    ) -> torch.Tensor:
        """Change of the near field where atoms, sites and charges change like these."""
        vectors = self.pairs.from_sender(sites) - self.pairs.from_receiver(atoms)
        vectors = vectors * self.charges.unsqueeze(1)
        along = (vectors * self.units).sum(1, keepdim=True)
        more = self.pairs.from_sender(charges).unsqueeze(1)
        kernels = torch.addcmul(more * self.kernels, along, self.kernel_slopes)  # (P, n)
        harmonics = torch.bmm(self.harmonics_slopes, vectors.unsqueeze(2))  # (P, a, 1)
        moved = self.harmonics.unsqueeze(2) * kernels.unsqueeze(1)  # (P, a, n)
        moved = torch.addcmul(moved, harmonics, self.kernels.unsqueeze(1))
        return self.pairs.sum_at_receiver(moved, self.n_atoms).transpose(0, 1)


class CompiledEdges:
    """As `EdgeFeatures`, by compiled loops."""

    def __init__(self, frames: FrameBatch, geometry: EdgeGeometry) -> None:
        from eqmm_ase.kernels.pair_functions import edge_functions

        self._table = _table(geometry)
        self._pairs = _pairs(frames, "qm", geometry.cutoff)
        functions = edge_functions(self._table, self._pairs)
        ends = map(torch.from_numpy, self._pairs[:2])
        self.edges = Edges(*ends, *(torch.from_numpy(x).requires_grad_() for x in functions))

    def pull_back(self, *grads: torch.Tensor) -> torch.Tensor:
        """dE/d(radial, envelope, harmonics) → dE/dR (N, 3)."""
        from eqmm_ase.kernels.pair_functions import edge_gradients

        arrays = contiguous_arrays(*grads)
        by_receiver, by_sender = edge_gradients(self._table, self._pairs, *arrays)
        return torch.from_numpy(by_receiver + by_sender)

    def moved(self, atoms: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Change of radial, envelope and harmonics where atoms move like (N, 3)."""
        from eqmm_ase.kernels.pair_functions import edge_changes

        (moves,) = contiguous_arrays(atoms)
        changes = edge_changes(self._table, self._pairs, moves, moves)
        return tuple(map(torch.from_numpy, changes))


class CompiledNearField:
    """As `NearField`, by compiled loops."""

    def __init__(self, frames: FrameBatch, geometry: EdgeGeometry) -> None:
        from eqmm_ase.kernels.pair_functions import kernel_sums

        self._table = _table(geometry)
        self._pairs = _pairs(frames, "mm", geometry.cutoff)
        (self._charges,) = contiguous_arrays(frames.mm_charges)
        sums = torch.from_numpy(kernel_sums(self._table, self._pairs, self._charges))
        self.near = sums.transpose(0, 1).requires_grad_()

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/d(near field) (a, N, n) → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        from eqmm_ase.kernels.pair_functions import kernel_gradients

        (by_sum,) = contiguous_arrays(grad.transpose(0, 1))
        found = kernel_gradients(self._table, self._pairs, self._charges, by_sum)
        atoms, sites, charges = map(torch.from_numpy, found)
        return atoms, sites, charges

    def moved(self, *moves: torch.Tensor) -> torch.Tensor:
        """Change of the near field where positions and charges change like dR, dr and dq."""
        from eqmm_ase.kernels.pair_functions import kernel_changes

        arrays = contiguous_arrays(*moves)
        changes = kernel_changes(self._table, self._pairs, self._charges, *arrays)
        return torch.from_numpy(changes).transpose(0, 1)


def _pairs(frames: FrameBatch, senders: str, cutoff: float) -> Any:
    from eqmm_ase.kernels.neighbours import pairs_within
    from eqmm_ase.kernels.pair_functions import Pairs

    at, of = contiguous_arrays(frames.qm_positions, getattr(frames, f"{senders}_positions"))
    ptrs = contiguous_arrays(frames.qm_ptr, getattr(frames, f"{senders}_ptr"))
    return Pairs(*pairs_within(at, ptrs[0], of, ptrs[1], cutoff, same=senders == "qm"), at, of)


def _table(geometry: EdgeGeometry) -> Any:
    return _table_of(geometry.cutoff, len(geometry.basis.frequencies), geometry.l_max)


@cache
def _table_of(cutoff: float, n_radial: int, l_max: int) -> Any:
    from eqmm_ase.kernels.pair_functions import PairTable

    return PairTable.of(cutoff, n_radial, regular_gradient_matrix(l_max).numpy())
