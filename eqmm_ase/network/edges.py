"""The geometry the network sees: QM–QM edges and QM–MM near pairs with their angular functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from eqmm_ase.network.batch import Frames
from eqmm_ase.network.harmonics import gradient_of_unit_harmonics, regular_harmonics
from eqmm_ase.network.neighbors import qm_mm_pairs, qm_pairs
from eqmm_ase.network.radial import BesselBasis, smooth_cutoff, smooth_cutoff_slope


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


class Slopes(NamedTuple):
    """Derivatives of an edge's functions by its length or, of the harmonics, by its vector."""

    units: torch.Tensor  # (E, 3), unit vectors
    radial: torch.Tensor  # (E, n_radial) 1/Å
    envelope: torch.Tensor  # (E,) 1/Å
    harmonics: torch.Tensor  # (E, (l_max+1)², 3) 1/Å


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
            harmonics=regular_harmonics(vectors.T.contiguous() / distances, self.l_max),
        )

    def slopes(self, edges: Edges, at: torch.Tensor, of: torch.Tensor) -> Slopes:
        """Derivatives of what `_edges` makes, edge by edge, with respect to the edge vectors."""
        vectors = of.index_select(0, edges.sender) - at.index_select(0, edges.receiver)
        distances = torch.linalg.vector_norm(vectors, dim=1)
        units = vectors / distances.unsqueeze(1)
        return Slopes(
            units=units,
            radial=self.basis.slopes(distances, edges.radial),
            envelope=smooth_cutoff_slope(distances, self.cutoff),
            harmonics=gradient_of_unit_harmonics(edges.harmonics.T, units, distances),
        )
