"""Buffers that are exact at every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class ExactModule(torch.nn.Module):
    """A module whose constants are kept in float64 and rounded to the module's dtype, never back.

    `module.float().double()` casts a buffer down and up and leaves it wrong by 1e-8: a
    Clebsch–Gordan table like that breaks rotational symmetry at the same size.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, torch.Tensor] = {}

    def register_constant(self, name: str, value: torch.Tensor) -> None:
        """Register a float64 tensor that is not part of the state dict."""
        self._exact[name] = value.double()
        self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        for name, value in self._exact.items():
            setattr(self, name, value.to(getattr(self, name)))
        return self
