"""Models whose networks, asked often about regions of one size, run as traced programs.

At the size of a QM region two thirds of a network's time go to Python and to building the graph of
its derivatives, not to arithmetic. Here the operations of energy and derivatives are written down
once (`eqmm_ase.network.tracing`) and from then on run one after the other in torch's interpreter,
without either: the same numbers, to rounding, in a third of the time. A program holds for one
number of atoms and of edges; edges of no weight are added up to a multiple of some, so that few
programs serve a molecule that moves. It holds for all models of one configuration, whatever their
weights: the members of a committee, copies, and the calculators of all threads share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import torch

from eqmm_ase.concurrency import Lock
from eqmm_ase.network import tracing
from eqmm_ase.network.batch import Frames
from eqmm_ase.network.edges import Edges
from eqmm_ase.network.leaves import Geometry, Leaves
from eqmm_ase.network.model import (
    Energies,
    ModelConfig,
    MultiscaleModel,
    Prediction,
    predict_each,
    prediction,
)
from eqmm_ase.network.tracing import Program, Trace, UntraceableError

PATIENCE = 30
"""Calls of one size before it is traced, which takes as long as they do: single points never pay
for it, and nobody pays more than twice."""
_ROUND_EDGES = 16

Size = tuple[int, int]
"""Numbers of atoms and of edges, filled up."""


class _Traces:
    """What is known of the networks of one configuration and width."""

    def __init__(self) -> None:
        self.calls: Counter[Size] = Counter()
        self.of_size: dict[Size, Trace | None] = {}  # None: cannot be traced


# Weak: traces go with the last models that use them.
_TRACES: WeakValueDictionary[tuple[ModelConfig, torch.dtype], _Traces] = WeakValueDictionary()
_LOCK = Lock()


class RecordedModels:
    """Predictions of models of one configuration, as `predict_each` without a graph makes them.

    May be called from several threads at once.

    Parameters
    ----------
    models
        On one device, with weights that stay as they are.
    """

    def __init__(self, models: Sequence[MultiscaleModel]) -> None:
        self.models = list(models)
        # Of networks alone: what else depends on positions would be a constant of the program.
        self._traceable = all(
            type(model) is MultiscaleModel and model.long_range is None for model in models
        )
        self._traces = _traces_of(self.models[0])
        self._programs: dict[Size, list[Program]] = {}

    def __call__(self, frames: Frames) -> list[Prediction]:
        """Predictions of all models.

        Raises
        ------
        UnknownElementError: names the element.
        """
        on_cpu = frames.qm_positions.device.type == "cpu"
        if not (tracing.POSSIBLE and self._traceable and on_cpu and frames.n_frames == 1):
            return predict_each(self.models, frames)
        leaves = self.models[0].leaves(frames)
        inputs = _inputs(self.models[0], frames, leaves)
        n_edges = len(leaves.geometry.edges.receiver)
        found = []
        for program in self._programs_for(frames, inputs):
            energy, charges, tensors, radial, envelope, harmonics, *near = program(*inputs)
            carried = [tensors, radial[:n_edges], envelope[:n_edges], harmonics[:, :n_edges], *near]
            found.append(prediction(frames, leaves, Energies(energy, charges), carried))
        return found

    def _programs_for(self, frames: Frames, inputs: Sequence[torch.Tensor]) -> list[Program]:
        size = len(frames.atomic_numbers), len(inputs[3])
        if size not in self._programs:
            # The same operations on the same numbers.
            functions = [energy_and_derivatives(model, frames) for model in self.models]
            trace = self._trace(size, functions[0], inputs)
            if trace is None:
                return functions
            self._programs[size] = [trace.program(_weights(model)) for model in self.models]
        return self._programs[size]

    def _trace(self, size: Size, function: Program, inputs: Sequence[torch.Tensor]) -> Trace | None:
        """Of a size that has been asked for often enough."""
        traces = self._traces
        with _LOCK:
            if size not in traces.of_size:
                traces.calls[size] += 1
                if traces.calls[size] <= PATIENCE:
                    return None
                traces.of_size[size] = trace(function, inputs, _weights(self.models[0]))
            return traces.of_size[size]

    def __getstate__(self) -> dict[str, Any]:
        # Traces can be neither copied nor pickled.
        return {"models": self.models}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _traces_of(model: MultiscaleModel) -> _Traces:
    """Shared with all other models of this configuration and width."""
    with _LOCK:
        kind = model.config, next(model.parameters()).dtype
        traces = _TRACES.get(kind)
        if traces is None:
            traces = _TRACES[kind] = _Traces()
        return traces


def _weights(model: MultiscaleModel) -> list[torch.Tensor]:
    """All in which models of one configuration differ."""
    return list(model.state_dict(keep_vars=True).values())


def trace(
    function: Program, inputs: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> Trace | None:
    """The operations of a function of inputs of these sizes; None where they depend on values."""
    try:
        return Trace(function, inputs, weights)
    except UntraceableError:
        return None


def _inputs(model: MultiscaleModel, frames: Frames, leaves: Leaves) -> list[torch.Tensor]:
    """All that changes from call to call; edges are added that begin and end at the first atom."""
    edges, near = leaves.geometry
    missing = -len(edges.receiver) % _ROUND_EDGES
    pad = torch.nn.functional.pad
    with torch.no_grad():
        return [
            model.elements(frames.atomic_numbers),
            frames.total_charge,
            frames.spin_multiplicity,
            pad(edges.receiver, (0, missing)),
            pad(edges.sender, (0, missing)),
            leaves.tensors.detach(),
            pad(edges.radial, (0, 0, 0, missing)),
            pad(edges.envelope, (0, missing)),
            pad(edges.harmonics, (0, missing)),
            *([] if near is None else [near.detach()]),
        ]


def energy_and_derivatives(model: MultiscaleModel, frames: Frames) -> Program:
    """Inputs → energy, charges and the energy's derivatives with respect to the leaves.

    Of the frames, only the number of atoms is used.
    """

    def run(
        elements: torch.Tensor,
        total_charge: torch.Tensor,
        spin_multiplicity: torch.Tensor,
        receiver: torch.Tensor,
        sender: torch.Tensor,
        *values: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        leaves = [value.detach().requires_grad_() for value in values]
        tensors, radial, envelope, harmonics, *near = leaves
        edges = Edges(receiver, sender, radial, envelope, harmonics)
        geometry = Geometry(edges, near[0] if near else None)
        own = replace(frames, total_charge=total_charge, spin_multiplicity=spin_multiplicity)
        with torch.enable_grad():
            out = model.network(elements, own, tensors, geometry)
            grads = torch.autograd.grad(
                out.energy.sum(), leaves, allow_unused=True, materialize_grads=True
            )
        return (*(tensor.detach() for tensor in out), *grads)

    return run
