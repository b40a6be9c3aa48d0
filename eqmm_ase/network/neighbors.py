"""Which pairs are near, QM–QM edges and QM–MM pairs of the near field, and which are far."""

from __future__ import annotations

import torch

from eqmm_ase.network.batch import Frames


def qm_pairs(frames: Frames, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Receiver and sender of all directed QM–QM edges shorter than the cutoff (Å), (E,) each."""
    atoms = _padded(frames.qm_positions, frames.qm_ptr)
    close = _distances(atoms, atoms) < cutoff
    close.diagonal(dim1=1, dim2=2).fill_(False)
    return _flat(close, frames.qm_ptr, frames.qm_ptr)


def distant_qm_pairs(frames: Frames, distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Atoms of all QM–QM pairs farther apart than a distance (Å), each pair once, (P,) each."""
    atoms = _padded(frames.qm_positions, frames.qm_ptr)
    far = _distances(atoms, atoms) > distance
    return _flat(far.triu_(), frames.qm_ptr, frames.qm_ptr)


def qm_mm_pairs(frames: Frames, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
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
