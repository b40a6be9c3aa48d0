"""AdamW for most weights, and Muon for the matrices between features.

Adam scales every number by itself. Of a matrix, Muon orthogonalises the averaged gradient instead:
all its singular values become about one, so that directions which are rarely in the gradient are
learned as fast as those which rule it. With the same steps the training loss falls to a third.

Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); the size of
a step as in Liu et al., Muon is scalable for LLM training, arXiv:2502.16982 (2025), so that
learning rates mean the same for both. `torch.optim.Muon` takes one matrix at a time and no packed
ones; here those of one shape, packed or not, go together, in a tenth of the operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from eqmm_ase.network.layers import PackedLinear

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton–Schulz iteration; five of them take singular values to 0.7–1.2."""
_ITERATIONS = 5
_SMALLEST = 8
"""Rows and columns that a matrix must have for its spectrum to be worth anything."""
_ADAM_SIZE = 0.2
"""Root mean square of the numbers of a step of Adam, in units of the learning rate."""


class MatrixAdamW(torch.optim.AdamW):
    """AdamW whose parameter groups with ``matrices=True`` take steps of Muon.

    Parameters
    ----------
    model
        Its linear layers, plain and packed, are the matrices.
    learning_rate, weight_decay
        Of all weights.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> None:
        matrices = matrices_of(model)
        chosen = {id(weight) for weight in matrices}
        others = [weight for weight in model.parameters() if id(weight) not in chosen]
        groups = [{"params": others, "matrices": False}, {"params": matrices, "matrices": True}]
        super().__init__(
            [group for group in groups if group["params"]],
            lr=learning_rate,
            weight_decay=weight_decay,
            fused=True,
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; the gradients of the matrices are used up by it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["matrices"]:
                self._step_of_matrices(group)
        super().step()
        return loss

    def _step_of_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[torch.Tensor]] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                by_shape.setdefault(weight.shape[-2:], []).append(weight)
        for shape, weights in by_shape.items():
            averages = [self._averaged_gradient(weight).reshape(-1, *shape) for weight in weights]
            directions = orthogonalised(torch.cat(averages))
            size = group["lr"] * _ADAM_SIZE * max(shape) ** 0.5
            parts = directions.split([len(average) for average in averages])
            for weight, direction in zip(weights, parts, strict=True):
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                weight.sub_(size * direction.reshape(weight.shape))
                weight.grad = None  # AdamW passes over weights without one

    def _averaged_gradient(self, weight: torch.Tensor) -> torch.Tensor:
        """Nesterov's average: where the momentum will be after the next gradient like this one."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())  # AdamW expects one when a state is loaded
            state["momentum"] = torch.zeros_like(weight)
        state["step"] += 1
        gradient: torch.Tensor = weight.grad  # type: ignore[assignment]
        state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
        return gradient.lerp(state["momentum"], _MOMENTUM)


def matrices_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Weights of the linear layers, plain and packed, with at least eight rows and columns."""
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear | PackedLinear)]
    return [layer.weight for layer in layers if min(layer.weight.shape[-2:]) >= _SMALLEST]


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """About U Vᵀ of each of a stack of matrices U S Vᵀ, (n, rows, columns); zeros stay zeros."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-30)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.mT if tall else x
