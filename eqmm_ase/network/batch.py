"""A batch of QM regions in their charges: what the network sees.

Several frames laid end to end without padding, frame f owning the rows ``ptr[f]:ptr[f+1]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from eqmm_ase.data.frame import FloatArray, Frame
from eqmm_ase.settings_help import with_help


@with_help
@dataclass(frozen=True, eq=False)
class Frames:
    """A batch of F frames as flat tensors; no padding, so cost follows the true sizes."""

    atomic_numbers: torch.Tensor
    """(N,) int64."""
    qm_positions: torch.Tensor
    """(N, 3), Å."""
    mm_positions: torch.Tensor
    """(K, 3), Å."""
    mm_charges: torch.Tensor
    """(K,), e."""
    qm_ptr: torch.Tensor
    """(F+1,) int64, on the CPU."""
    mm_ptr: torch.Tensor
    """(F+1,) int64, on the CPU."""
    total_charge: torch.Tensor
    """(F,), e."""
    spin_multiplicity: torch.Tensor
    """(F,)."""

    @property
    def n_frames(self) -> int:
        """Number of frames F."""
        return len(self.total_charge)

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[Frame],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Frames:
        """Lay frames end to end. Labels are left behind (see `eqmm_ase.network.frame_dataset`)."""

        def real(arrays: Sequence[FloatArray], shape: tuple[int, ...]) -> torch.Tensor:
            flat = np.concatenate([np.asarray(a).reshape(shape) for a in arrays])
            return torch.as_tensor(flat).to(device=device, dtype=dtype)

        def pointers(sizes: Sequence[int]) -> torch.Tensor:
            return torch.as_tensor(np.concatenate([[0], np.cumsum(sizes)]), dtype=torch.int64)

        numbers = np.concatenate([np.asarray(f.atomic_numbers, np.int64) for f in frames])
        return cls(
            atomic_numbers=torch.as_tensor(numbers, device=device),
            qm_positions=real([f.qm_positions for f in frames], (-1, 3)),
            mm_positions=real([f.mm_positions for f in frames], (-1, 3)),
            mm_charges=real([f.mm_charges for f in frames], (-1,)),
            qm_ptr=pointers([f.n_qm for f in frames]),
            mm_ptr=pointers([f.n_mm for f in frames]),
            total_charge=real([np.array([f.total_charge], float) for f in frames], (-1,)),
            spin_multiplicity=real([np.array([f.spin_multiplicity], float) for f in frames], (-1,)),
        )

    def qm_frame_index(self) -> torch.Tensor:
        """Frame number of every QM atom, (N,)."""
        return self._qm_owner

    def mm_frame_index(self) -> torch.Tensor:
        """Frame number of every MM charge, (K,)."""
        return self._mm_owner

    # Asked for by every model and every term of a loss: made once per batch.
    @cached_property
    def _qm_owner(self) -> torch.Tensor:
        return _owner(self.qm_ptr, self.qm_positions.device)

    @cached_property
    def _mm_owner(self) -> torch.Tensor:
        return _owner(self.mm_ptr, self.mm_positions.device)

    def to(self, device: torch.device | str) -> Frames:
        """The same batch on another device; the pointers stay on the CPU."""
        moved = (
            "atomic_numbers",
            "qm_positions",
            "mm_positions",
            "mm_charges",
            "total_charge",
            "spin_multiplicity",
        )
        return replace(self, **{name: getattr(self, name).to(device) for name in moved})


def _owner(ptr: torch.Tensor, device: torch.device) -> torch.Tensor:
    sizes = ptr.diff()
    return torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device)
