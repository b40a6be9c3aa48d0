"""Plugin of pytest: torch's matrix products add up forwards or backwards, at random.

So they do on some processors, where the order depends on the addresses of the factors: a test that
holds with this plugin does not ask for bits. ``pytest -p reordered_sums`` with tests/ on the path.
"""

from __future__ import annotations

import random
import warnings

import torch

_coin = random.Random(0)
_product = torch.ops.aten.baddbmm.default


def _bmm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, i, k), (n, k, j) → (n, i, j)."""
    if _coin.random() < 0.5:
        a, b = a.flip(2), b.flip(1)
    return _product(a.new_zeros(len(a), a.shape[1], b.shape[2]), a, b, beta=0, alpha=1)


def _mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return _bmm(a.unsqueeze(0), b.unsqueeze(0))[0]


def _addmm(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, beta=1, alpha=1) -> torch.Tensor:
    return beta * c + alpha * _mm(a, b)


_library = torch.library.Library("aten", "IMPL")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that there was another kernel
    for _name, _kernel in (("mm", _mm), ("bmm", _bmm), ("addmm", _addmm)):
        _library.impl(_name, _kernel, "CPU")
