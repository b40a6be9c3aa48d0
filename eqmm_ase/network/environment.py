"""What the network sees of the MM charges: gauge-free tensors at every QM atom."""

from __future__ import annotations

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import EdgeGeometry, Edges
from eqmm_ase.network.harmonics import degree_of_component
from eqmm_ase.network.layers import PackedLinear


class EnvironmentFeatures(torch.nn.Module):
    """Packed tensors (a, N, 1 + n_near): the gauge-free Taylor expansion and near-field kernels.

    Column 0 is C̃ in units of its typical size. The others are Σ_k q_k B_n(r_ik) Y_lm(r̂_ik) over
    charges within the near cutoff: with them the network can tell a charge that nearly touches the
    electron density, where the expansion converges slowly, from the same field made far away.
    All are linear in the charges: superposition holds and no charges give exact zeros.
    """

    potential_scale: torch.Tensor
    degree: torch.Tensor

    def __init__(self, l_max: int, near_cutoff: float, n_near: int) -> None:
        super().__init__()
        self.near = EdgeGeometry(near_cutoff, n_near, l_max)
        self.register_buffer("potential_scale", torch.ones(l_max + 1))
        self.register_buffer("degree", degree_of_component(l_max), persistent=False)

    def near_field(self, frames: FrameBatch) -> torch.Tensor:
        """Σ_k q_k B_n(r_ik) Y_lm(r̂_ik), (a, N, n_near); differentiable in positions and charges."""
        pairs = self.near.near_field(frames)
        return sum_of_kernels(pairs, frames.mm_charges, len(frames.qm_positions))

    def forward(self, tensors: torch.Tensor, near: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Put both together.

        Parameters
        ----------
        tensors: `electrostatics.expand`, (N, a).
        near: `near_field`, (a, N, n_near).
        edges: the QM graph.
        """
        scaled = gauge_free(tensors, edges) / self.potential_scale.index_select(0, self.degree)
        return torch.cat([scaled.T.unsqueeze(2), near], dim=2)


def sum_of_kernels(pairs: Edges, charges: torch.Tensor, n_atoms: int) -> torch.Tensor:
    """Σ_k q_k f_cut(r_ik) B_n(r_ik) Y_lm(r̂_ik) of QM–MM pairs, (a, N, n_near)."""
    strength = pairs.from_sender(charges) * pairs.envelope
    kernels = pairs.radial * strength.unsqueeze(1)  # (P, n_near)
    harmonics = pairs.harmonics.T.contiguous()  # or the product is not, and its sum slow
    outer = harmonics.unsqueeze(2) * kernels.unsqueeze(1)  # (P, a, n_near)
    return pairs.sum_at_receiver(outer, n_atoms).transpose(0, 1)


def gauge_free(tensors: torch.Tensor, edges: Edges) -> torch.Tensor:
    """C̃: the potential C_00 as its difference from a smooth local mean, higher orders unchanged.

    C̃_00,i = C_00,i − Σ_j w_ij C_00,j / Σ_j w_ij,   w_ij = f_cut(r_ij), w_ii = 1

    Raising the potential everywhere leaves C̃ untouched, and so does any molecule beyond the cutoff.
    """
    potential = tensors[:, 0]
    ones = torch.ones_like(potential)
    weighted = potential.index_add(0, edges.receiver, edges.envelope * edges.from_sender(potential))
    total = ones.index_add(0, edges.receiver, edges.envelope)
    difference = potential - weighted / total
    return torch.cat([difference.unsqueeze(1), tensors[:, 1:]], dim=1)


class EnvironmentMix(PackedLinear):
    """Environment tensors to feature channels, a matrix per order l."""

    def __init__(self, l_max: int, n_near: int, channels: int) -> None:
        n_columns = 1 + n_near
        super().__init__(l_max, n_columns, channels, scale=n_columns**0.5)
        # Kernels vary over tenths of an Å: at full size they would rule the first forces on the MM.
        with torch.no_grad():
            self.weight[:, 1:] *= 0.1
