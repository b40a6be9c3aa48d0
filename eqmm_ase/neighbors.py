"""Which pairs are near, QM–QM edges and QM–MM pairs of the near field, and which are far."""

from __future__ import annotations

import torch

from eqmm_ase.system import Frames


def qm_pairs(frames: Frames, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Receiver and sender of all directed QM–QM edges shorter than the cutoff (Å), (E,) each."""
    atoms = frames.qm_positions.detach().split(frames.qm_ptr.diff().tolist())
    starts = frames.qm_ptr.tolist()
    edges = []
    for start, positions in zip(starts, atoms, strict=False):
        close = _squared_distances(positions, positions) < cutoff**2
        close.fill_diagonal_(False)
        edges.append(close.nonzero() + start)
    receiver, sender = torch.cat(edges).unbind(1)
    return receiver, sender


def distant_qm_pairs(frames: Frames, distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Atoms of all QM–QM pairs farther apart than a distance (Å), each pair once, (P,) each."""
    atoms = frames.qm_positions.detach().split(frames.qm_ptr.diff().tolist())
    pairs = []
    for start, positions in zip(frames.qm_ptr.tolist(), atoms, strict=False):
        far = _squared_distances(positions, positions) > distance**2
        pairs.append(far.triu_().nonzero() + start)
    first, second = torch.cat(pairs).unbind(1)
    return first, second


def qm_mm_pairs(frames: Frames, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """QM atom and MM site of all pairs closer than the cutoff (Å), (P,) each."""
    atoms = frames.qm_positions.detach().split(frames.qm_ptr.diff().tolist())
    sites = frames.mm_positions.detach().split(frames.mm_ptr.diff().tolist())
    pairs = []
    for qm, mm, start in zip(
        atoms, sites, zip(frames.qm_ptr.tolist(), frames.mm_ptr.tolist(), strict=True), strict=False
    ):
        close = (_squared_distances(qm, mm) < cutoff**2).nonzero()
        pairs.append(close + torch.tensor(start, device=close.device))
    atom, site = torch.cat(pairs).unbind(1)
    return atom, site


def _squared_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    x, y, z = ((a[:, None] - b[None, :]).square_() for a, b in zip(first.T, second.T, strict=True))
    return x.add_(y).add_(z)
