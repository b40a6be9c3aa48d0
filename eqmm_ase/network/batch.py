"""Batches of QM regions in their charges: what the network sees, and labels to learn from.

Frames are made tensors once and laid end to end, frame f owning the rows ``ptr[f]:ptr[f+1]``. There
is no padding and no cutoff: a batch of small and large frames costs what its frames cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.quantities import QUANTITIES, Quantity
from eqmm_ase.settings_help import with_help


@with_help
@dataclass(frozen=True, eq=False)
class FrameBatch:
    """A batch of F frames as flat tensors: variable-size frames, concatenated without padding."""

    atomic_numbers: torch.Tensor
    """Atomic numbers of the QM atoms of all frames, (N,) int64."""
    qm_positions: torch.Tensor
    """Positions of the QM atoms, (N, 3), Å."""
    mm_positions: torch.Tensor
    """Positions of the MM charges, (K, 3), Å."""
    mm_charges: torch.Tensor
    """MM point charges, (K,), e."""
    qm_ptr: torch.Tensor
    """Offsets of QM atoms: rows ptr[i]:ptr[i+1] are frame i, (F+1,) int64, on the CPU."""
    mm_ptr: torch.Tensor
    """Offsets of MM charges: rows ptr[i]:ptr[i+1] are frame i, (F+1,) int64, on the CPU."""
    total_charge: torch.Tensor
    """Total charge of each QM region, (F,), e."""
    spin_multiplicity: torch.Tensor
    """Spin multiplicity of each QM region, (F,)."""

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
    ) -> FrameBatch:
        """Concatenate F frames; their labels are left out (`FrameDataset` has them)."""

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

    def to(self, device: torch.device | str) -> FrameBatch:
        """Copy to another device; the row pointers stay on the CPU."""
        moved = (
            "atomic_numbers",
            "qm_positions",
            "mm_positions",
            "mm_charges",
            "total_charge",
            "spin_multiplicity",
        )
        return replace(self, **{name: getattr(self, name).to(device) for name in moved})


class ByQuantity(dict[str, torch.Tensor]):
    """Tensors of all `QUANTITIES` of a batch, as ``labels["energy"]`` or ``labels.energy``.

    Rows of frames (F, …), of QM atoms (N, …) or of MM sites (K, …), in the unit of the table.
    """

    def __getattr__(self, name: str) -> torch.Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no quantity {name!r}") from None


class Labels(ByQuantity):
    """Reference labels; NaN where not known, energies in float64."""

    @classmethod
    def of(cls, frame: Frame, charge_scheme: str | None, dtype: torch.dtype) -> Labels:
        """Labels of one frame.

        Parameters
        ----------
        frame
            Labels that are None are not known.
        charge_scheme
            Which of those that go by scheme to take; None for none.
        dtype
            Of all but total energies.
        """
        rows = {"frame": 1, "qm": frame.n_qm, "mm": frame.n_mm}

        def known(name: str, quantity: Quantity) -> torch.Tensor:
            value: Any = getattr(frame, name)
            if quantity.by_scheme:
                value = None if charge_scheme is None else value.get(charge_scheme)
            shape = rows[quantity.rows], *quantity.item
            width = torch.float64 if quantity.total_energy else dtype
            if value is None:
                return torch.full(shape, torch.nan, dtype=width)
            return torch.as_tensor(np.array(value, dtype=np.float64)).to(width).reshape(shape)

        return cls({name: known(name, quantity) for name, quantity in QUANTITIES.items()})


@dataclass(frozen=True, eq=False)
class Batch:
    """Batch of labelled frames, with their media and their places in the dataset."""

    frames: FrameBatch
    labels: Labels
    medium: torch.Tensor  # (F,) int64, index into the dataset's `media`
    index: torch.Tensor  # (F,) int64

    def to(self, device: torch.device | str) -> Batch:
        """Copy to another device; row pointers stay on the CPU."""
        return Batch(
            self.frames.to(device),
            Labels({name: label.to(device) for name, label in self.labels.items()}),
            self.medium.to(device),
            self.index.to(device),
        )


class FrameDataset(Dataset[Batch]):
    """Torch dataset of labelled frames; item i is a batch of one frame.

    Parameters
    ----------
    frames
        What to hold.
    charge_scheme
        Which of the frames' charges are the label; None for none.
    dtype
        Of all reals but the energy, which is float64.
    media
        Names of the media in a fixed order; those of the frames when None.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        charge_scheme: str | None = None,
        dtype: torch.dtype = torch.float32,
        media: Sequence[str] | None = None,
    ) -> None:
        self.media = tuple(media or sorted({frame.medium for frame in frames}))
        self.frame_ids = tuple(frame.frame_id or f"number {i}" for i, frame in enumerate(frames))
        number = {medium: i for i, medium in enumerate(self.media)}
        self._items = [
            Batch(
                FrameBatch.from_frames([frame], dtype),
                Labels.of(frame, charge_scheme, dtype),
                torch.tensor([number[frame.medium]]),
                torch.tensor([i]),
            )
            for i, frame in enumerate(frames)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Batch:
        return self._items[index]


def collate(batches: Sequence[Batch]) -> Batch:
    """Concatenate batches, gas-phase frames without charges included."""
    labels = [batch.labels for batch in batches]
    return Batch(
        _collate_frames([batch.frames for batch in batches]),
        Labels({name: torch.cat([own[name] for own in labels]) for name in labels[0]}),
        torch.cat([batch.medium for batch in batches]),
        torch.cat([batch.index for batch in batches]),
    )


def _collate_frames(parts: Sequence[FrameBatch]) -> FrameBatch:
    def pointers(name: str) -> torch.Tensor:
        sizes = torch.cat([getattr(part, name).diff() for part in parts])
        return torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])

    flat = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(FrameBatch)
        if f.name not in ("qm_ptr", "mm_ptr")
    }
    return FrameBatch(**flat, qm_ptr=pointers("qm_ptr"), mm_ptr=pointers("mm_ptr"))


def _owner(ptr: torch.Tensor, device: torch.device) -> torch.Tensor:
    sizes = ptr.diff()
    return torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device)
