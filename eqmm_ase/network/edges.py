"""The geometry the network sees: QM–QM edges and QM–MM near pairs with their angular functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.harmonics import gradient_of_unit_harmonics, regular_harmonics
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

    def qm(self, frames: FrameBatch) -> Edges:
        """Edges of the QM region's graph."""
        receiver, sender = qm_pairs(frames, self.cutoff)
        return self._edges(receiver, sender, frames.qm_positions, frames.qm_positions)

    def near_field(self, frames: FrameBatch) -> Edges:
        """MM charges (senders) near QM atoms (receivers)."""
        receiver, sender = qm_mm_pairs(frames, self.cutoff)
        return self._edges(receiver, sender, frames.qm_positions, frames.mm_positions)

    def _edges(
        self, receiver: torch.Tensor, sender: torch.Tensor, at: torch.Tensor, of: torch.Tensor
    ) -> Edges:
        vectors = of.index_select(0, sender) - at.index_select(0, receiver)
        return self.of_vectors(receiver, sender, vectors)

    def of_vectors(
        self, receiver: torch.Tensor, sender: torch.Tensor, vectors: torch.Tensor
    ) -> Edges:
        """Pairs with given edge vectors (E, 3), Å."""
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


def qm_pairs(frames: FrameBatch, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Receiver and sender of all directed QM–QM edges shorter than the cutoff (Å), (E,) each."""
    atoms = _padded(frames.qm_positions, frames.qm_ptr)
    close = _distances(atoms, atoms) < cutoff
    close.diagonal(dim1=1, dim2=2).fill_(False)
    return _flat(close, frames.qm_ptr, frames.qm_ptr)


def distant_qm_pairs(frames: FrameBatch, distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Atoms of all QM–QM pairs farther apart than a distance (Å), each pair once, (P,) each."""
    atoms = _padded(frames.qm_positions, frames.qm_ptr)
    far = _distances(atoms, atoms) > distance
    return _flat(far.triu_(), frames.qm_ptr, frames.qm_ptr)


def qm_mm_pairs(frames: FrameBatch, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """QM atom and MM site of all pairs closer than the cutoff (Å), (P,) each."""
    atoms = _padded(frames.qm_positions, frames.qm_ptr)
    sites = _padded(frames.mm_positions, frames.mm_ptr)
    close = _distances(atoms, sites) < cutoff
    return _flat(close, frames.qm_ptr, frames.mm_ptr)


def _padded(positions: torch.Tensor, ptr: torch.Tensor) -> torch.Tensor:
    """Every frame's positions in a table of its own, (F, n, 3), ended by NaN: near nothing."""
    rows = positions.detach().split(ptr.diff().tolist())
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)


def _distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(F, n, 3), (F, m, 3) → (F, n, m); from differences, as scalar products are rough."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def _flat(
    pairs: torch.Tensor, first_ptr: torch.Tensor, second_ptr: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a table (F, n, m) is true, as row numbers of the batch."""
    frame, first, second = pairs.nonzero().unbind(1)
    first_start, second_start = (ptr.to(frame.device) for ptr in (first_ptr, second_ptr))
    return first + first_start[frame], second + second_start[frame]
