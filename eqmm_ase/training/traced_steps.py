"""Predictions to train on, by traced programs where batches of one form come again and again.

A step of training is some two thousand small operations, of which a third of the time goes to the
graph that leads from the loss to the weights. The network's part of it is traced
(`eqmm_ase.tracing`): energies and their derivatives by the features as a first stage, and
as a second what the loss says of the weights. The numbers are the same. A program holds for one
number of atoms in each frame, and of edges; edges of no weight are added so that few serve all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from eqmm_ase import tracing
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import Energies, MultiscaleModel
from eqmm_ase.network.prediction import Prediction, predict, predict_from_features
from eqmm_ase.network.traced import evaluated, is_network_alone, network_inputs, without_padding
from eqmm_ase.tracing import Program, StagedTrace, UntraceableError

PATIENCE = 50
"""Batches of one form before it is traced, which takes as long as these save."""
_MOST = 40
"""Programs to keep: where batches differ more, most of them would never be used again."""

_Form = tuple[Any, ...]


class TracedSteps:
    """Predictions of a model with a graph that ends at its weights.

    Parameters
    ----------
    model
        Its weights may change in place.
    """

    def __init__(self, model: MultiscaleModel) -> None:
        self._model = model
        self._weights = list(model.parameters())
        self._traceable = tracing.POSSIBLE and is_network_alone(model)
        self._calls: Counter[_Form] = Counter()
        self._traces: dict[_Form, StagedTrace | None] = {}  # None: cannot be traced

    def __call__(self, frames: FrameBatch) -> Prediction:
        """As `predict` with ``create_graph=True``."""
        if not (self._traceable and frames.qm_positions.is_cpu):
            return predict(self._model, frames, create_graph=True)
        features = self._model.features(frames)
        inputs = network_inputs(self._model, frames, features, edges_to=_rounded)
        trace = self._trace(frames, inputs)
        if trace is None:
            return predict_from_features(self._model, frames, features, create_graph=True)
        energy, charges, *grads = _Traced.apply(trace, len(inputs), *inputs, *self._weights)
        by_feature = without_padding(grads, features)
        return Prediction.of(frames, features, Energies(energy, charges), by_feature)

    def _trace(self, frames: FrameBatch, inputs: Sequence[torch.Tensor]) -> StagedTrace | None:
        form = tuple(frames.qm_ptr.tolist()), *(tensor.shape for tensor in inputs)
        if form not in self._traces:
            self._calls[form] += 1
            if self._calls[form] <= PATIENCE or len(self._traces) >= _MOST:
                return None
            try:
                stages = _stages(self._model, frames, self._weights, len(inputs))
                self._traces[form] = StagedTrace(stages, [*inputs, *self._weights])
            except UntraceableError:
                self._traces[form] = None
        return self._traces[form]


class _Traced(torch.autograd.Function):
    """Inputs and weights → energies, charges, derivatives by the features; graph of the weights."""

    @staticmethod
    def forward(
        ctx: Any, trace: StagedTrace, n_inputs: int, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.trace, ctx.n_inputs = trace, n_inputs
        outputs, ctx.carried = trace.first(*tensors)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_weight = ctx.trace.second(ctx.carried, grads)
        return None, None, *(None for _ in range(ctx.n_inputs)), *by_weight


def _stages(
    model: MultiscaleModel, frames: FrameBatch, weights: Sequence[torch.Tensor], n_inputs: int
) -> Any:
    """The network's part of a step, as `StagedTrace` takes it; the model holds the weights."""

    def run(*tensors: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], Program]:
        with torch.enable_grad():
            features, out = evaluated(model, frames, *tensors[:n_inputs])
            grads = torch.autograd.grad(
                out.energy.sum(),
                features,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        values = (*out, *grads)

        def back(*cotangents: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(
                values, weights, cotangents, allow_unused=True, materialize_grads=True
            )

        return tuple(value.detach() for value in values), back

    return run


def _rounded(n_edges: int) -> int:
    """Number of edges to fill up to: in steps of an eighth to a sixteenth, of 16 at least."""
    step = max(16, 1 << max(n_edges.bit_length() - 4, 0))
    return -(-n_edges // step) * step
