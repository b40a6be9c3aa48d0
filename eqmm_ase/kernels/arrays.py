"""Tensors as the arrays that compiled loops take."""

from __future__ import annotations

from typing import Any

import torch


def contiguous_arrays(*tensors: torch.Tensor) -> list[Any]:
    """Without their graphs, and contiguous, as a loop is compiled for every layout it meets."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
