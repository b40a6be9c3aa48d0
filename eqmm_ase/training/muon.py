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
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        by_shape: dict[tuple[int, ...], list[int]] = {}
        wide = [_wide(average) for average in self._averaged_gradients(weights)]
        for number, matrices in enumerate(wide):
            by_shape.setdefault(matrices.shape[1:], []).append(number)
        for shape, numbers in by_shape.items():
            size = group["lr"] * _ADAM_SIZE * max(shape) ** 0.5
            steps = size * orthogonalised(torch.cat([wide[number] for number in numbers]))
            parts = steps.split([len(wide[number]) for number in numbers])
            for number, part in zip(numbers, parts, strict=True):
                wide[number] = part
        torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        for weight, step in zip(weights, wide, strict=True):
            tall = weight.shape[-2] > weight.shape[-1]
            weight.sub_((step.mT if tall else step).reshape(weight.shape))
            weight.grad = None  # AdamW passes over weights without one

    def _averaged_gradients(self, weights: list[torch.Tensor]) -> list[torch.Tensor]:
        """Nesterov's averages: where the momenta will be after next gradients like these."""
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros(())  # AdamW expects one when a state is loaded
                state["momentum"] = torch.zeros_like(weight)
            state["step"] += 1
        gradients: Any = [weight.grad for weight in weights]
        momenta = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1.0 - _MOMENTUM)
        return list(torch._foreach_lerp(gradients, momenta, _MOMENTUM))


def _wide(weight: torch.Tensor) -> torch.Tensor:
    """A stack of matrices (n, rows, columns), turned where there are more rows than columns."""
    matrices = weight.reshape(-1, *weight.shape[-2:])
    return matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices


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
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
