"""Tensors as the arrays that compiled loops take."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def contiguous_arrays(*tensors: torch.Tensor) -> list[Any]:
    """Without their graphs, and contiguous, as a loop is compiled for every layout it meets."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def swapped(array: Any) -> Any:
    """With the first two axes exchanged, contiguous: components first, or atoms."""
    return np.ascontiguousarray(array.swapaxes(0, 1))
