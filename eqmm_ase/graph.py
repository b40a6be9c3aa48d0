"""The geometry the network sees: QM–QM edges and QM–MM near pairs with their angular functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eqmm_ase.angular import regular_harmonics
from eqmm_ase.neighbors import qm_mm_pairs, qm_pairs
from eqmm_ase.radial import BesselBasis, smooth_cutoff
from eqmm_ase.system import Frames


@dataclass(frozen=True, eq=False)
class Edges:
    """Directed pairs sender → receiver; edge vector r_sender − r_receiver."""

    receiver: torch.Tensor  # (E,)
    sender: torch.Tensor  # (E,)
    radial: torch.Tensor  # (E, n_radial)
    envelope: torch.Tensor  # (E,), 0 at the cutoff
    harmonics: torch.Tensor  # ((l_max+1)², E), of the unit vector

    # index_select and index_add along the first axis: several times faster than indexing,
    # in the derivatives above all.

    def from_sender(self, nodes: torch.Tensor) -> torch.Tensor:
        """Senders' rows of (n, …), (E, …)."""
        return nodes.index_select(0, self.sender)

    def from_receiver(self, nodes: torch.Tensor) -> torch.Tensor:
        """Receivers' rows of (n, …), (E, …)."""
        return nodes.index_select(0, self.receiver)

    def sum_at_receiver(self, messages: torch.Tensor, n: int) -> torch.Tensor:
        """Σ over the edges of each receiver: (E, …) → (n, …)."""
        zeros = messages.new_zeros(n, *messages.shape[1:])
        return zeros.index_add(0, self.receiver, messages)


class EdgeGeometry(torch.nn.Module):
    """Distances, radial basis and spherical harmonics of QM–QM or QM–MM pairs within a cutoff."""

    def __init__(self, cutoff: float, n_radial: int, l_max: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.l_max = l_max
        self.basis = BesselBasis(n_radial, cutoff)

    def qm(self, frames: Frames) -> Edges:
        """Edges of the QM region's graph."""
        receiver, sender = qm_pairs(frames, self.cutoff)
        return self._edges(receiver, sender, frames.qm_positions, frames.qm_positions)

    def near_field(self, frames: Frames) -> Edges:
        """MM charges (senders) near QM atoms (receivers)."""
        receiver, sender = qm_mm_pairs(frames, self.cutoff)
        return self._edges(receiver, sender, frames.qm_positions, frames.mm_positions)

    def _edges(
        self, receiver: torch.Tensor, sender: torch.Tensor, at: torch.Tensor, of: torch.Tensor
    ) -> Edges:
        vectors = of.index_select(0, sender) - at.index_select(0, receiver)
        distances = torch.linalg.vector_norm(vectors, dim=1)
        return Edges(
            receiver,
            sender,
            radial=self.basis(distances),
            envelope=smooth_cutoff(distances, self.cutoff),
            harmonics=regular_harmonics((vectors / distances.unsqueeze(1)).T, self.l_max),
        )
