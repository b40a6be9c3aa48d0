"""What rounding the factors of all matrix products would do, as GPUs offer it: on the CPU.

TF32 has 10 bits behind the point, bfloat16 7, of which the results have no more either. Sums are in
float32 in both. Expansion, near field, network and derivatives are rounded alike, by the operations
that a GPU would do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from eqmm_ase.cuda.fixed_size import Room, predict_in_room
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.models.pretrained import pretrained_file
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import members_of
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import cast, load_model
from eqmm_ase.network.prediction import Prediction, predict
from scripts.common import TEST_DATA
from scripts.device.figures import Figures, largest

Rounding = Callable[[torch.Tensor], torch.Tensor]
SHOWN = {"energy": "energy, eV", "qm_forces": "QM forces, eV/Å", "mm_forces": "MM forces, eV/Å"}
_EVERY = 4  # th frame
_ROOM = Room(64, 1024)
_PRODUCTS = {
    getattr(torch.ops.aten, name).default for name in ("mm", "bmm", "addmm", "baddbmm", "mv", "dot")
}


def tf32(tensor: torch.Tensor) -> torch.Tensor:
    """To the nearest number with 10 bits behind the point."""
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def bfloat16(tensor: torch.Tensor) -> torch.Tensor:
    """To the nearest number with 7 bits behind the point."""
    return tensor.bfloat16().float()


class Rounded(TorchDispatchMode):
    """Rounds the factors of matrix products in float32, and their results where asked to."""

    def __init__(self, rounding: Rounding, results: bool = False) -> None:
        super().__init__()
        self._rounding, self._results = rounding, results

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _PRODUCTS or args[-1].dtype != torch.float32:
            return func(*args, **(kwargs or {}))
        *others, first, second = args
        found = func(*others, self._rounding(first), self._rounding(second), **(kwargs or {}))
        return self._rounding(found) if self._results else found


def figures() -> Figures:
    """Largest deviations from float64 of a member of the pretrained model."""
    source = members_of(load_model(pretrained_file("sn2-chloride-b3lyp"))[0])[0]
    source.requires_grad_(False)
    double, model = (cast(deepcopy(source), own) for own in (torch.float64, torch.float32))
    frames = [frame for frame in read_frames(TEST_DATA / "flagship.h5") if frame.n_mm][::_EVERY]
    exact = [predict(double, FrameBatch.from_frames([frame])) for frame in frames]
    kinds: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "float32": nullcontext,
        "TF32": lambda: Rounded(tf32),
        "bfloat16": lambda: Rounded(bfloat16, results=True),
    }
    found: Figures = {"frames": float(len(frames))}
    for kind, rounded in kinds.items():
        each = [_predicted(model, frame, rounded()) for frame in frames]
        for name, title in SHOWN.items():
            pairs = zip(each, exact, strict=True)
            found[f"{title}, {kind}"] = max(largest(a[name], b[name]) for a, b in pairs)
    return found


def _predicted(
    model: MultiscaleModel, frame: Frame, rounded: AbstractContextManager[Any]
) -> Prediction:
    batch = FrameBatch.from_frames([frame], torch.float32)
    elements = model.elements(batch.atomic_numbers)
    # The compiled loops of the CPU are not what a GPU does.
    with patch.object(torch.Tensor, "is_cpu", False), rounded:
        step = predict_in_room([model], elements, batch, _ROOM)
    assert all(own <= rows for own, rows in zip(step.pairs.tolist(), _ROOM, strict=True))
    return step.each[0]
