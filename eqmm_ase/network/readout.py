"""From node features to energies, charges and multipoles."""

from __future__ import annotations

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import Edges
from eqmm_ase.network.layers import EdgeWeights, PackedLinear, PackedProduct

# Untrained outputs are this small against typical ones. Otherwise random charges of several e make
# the first gradients, and with them Adam's memory of their size, a thousand times too large.
_START = 0.03


def _start_small(layer: torch.nn.Linear) -> None:
    with torch.no_grad():
        layer.weight.mul_(_START)


class ChargeFlow(torch.nn.Module):
    """Atomic charges as a share of the total charge plus antisymmetric flows along edges.

    q_i = z_i + (Q − Σ_j z_j) w_i / Σ_j w_j + Σ_j p_ij,   p_ij = f_ij − f_ji

    Σ_i q_i = Q exactly, and what flows out of one connected part never reaches another. Formal
    charges z are those of ions of one atom (`long_range`), 0 for atoms of molecules. Q counts as
    zero where `neutral`.
    """

    def __init__(self, channels: int, n_radial: int, hidden: int, neutral: bool = False) -> None:
        super().__init__()
        self.neutral = neutral
        self.flow = EdgeWeights(channels, n_radial, hidden, 1)
        self.share = torch.nn.Linear(channels, 1)
        _start_small(self.flow.out)

    def forward(
        self,
        scalars: torch.Tensor,
        edges: Edges,
        frames: FrameBatch,
        formal: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, c) scalars, (N,) formal charges z (None: all 0) → (N,) in e."""
        owner = frames.qm_frame_index()
        weight = torch.nn.functional.softplus(self.share(scalars)[:, 0])
        total = weight.new_zeros(frames.n_frames).index_add(0, owner, weight)
        shared = 0.0 * frames.total_charge if self.neutral else frames.total_charge
        if formal is not None:
            shared = shared.index_add(0, owner, formal, alpha=-1)
        charges = (shared / total).index_select(0, owner) * weight
        if formal is not None:
            charges = charges + formal
        flow = self.flow(scalars, edges)[:, 0]
        return charges.index_add(0, edges.receiver, flow).index_add(0, edges.sender, -flow)


class Multipoles(torch.nn.Module):
    """Atomic multipoles M_lm, l = 1 … L, in e·Å^l, from the features' product with themselves."""

    def __init__(self, l_hidden: int, l_max: int, channels: int) -> None:
        super().__init__()
        self.product = PackedProduct(l_hidden, l_hidden, l_max, channels, symmetric=True)
        self.out = PackedLinear(l_max, channels, 1, scale=0.1 * _START)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (a, N, c) → M_lm without l = 0, (a' − 1, N)."""
        return self.out(self.product(features, features))[1:, :, 0]


class AtomicEnergy(torch.nn.Module):
    """Atomic energies ε_i from the final scalar features, in units of the energy scale."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        out = torch.nn.Linear(hidden, 1)
        _start_small(out)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(channels, hidden), torch.nn.SiLU(), out)

    def forward(self, scalars: torch.Tensor) -> torch.Tensor:
        """(N, c) → (N,)."""
        return self.mlp(scalars)[:, 0]
