"""Models whose networks, asked often about regions of one size, run as recorded programs.

At the size of a QM region two thirds of a network's time go to Python and to building the graph of
its derivatives, not to arithmetic. Here the operations of energy and derivatives are written down
once and from then on run one after the other in torch's interpreter, without either: the same
numbers in a third of the time. A program holds for one number of atoms and of edges; edges of no
weight are added up to a multiple of some, so that few programs serve a molecule that moves.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from eqmm_ase.graph import Edges
from eqmm_ase.leaves import Geometry, Leaves
from eqmm_ase.model import Energies, MultiscaleModel, Prediction, predict_each, prediction
from eqmm_ase.system import Frames

PATIENCE = 200
"""Calls of one size before it is recorded, which takes as long as they do: single points never pay
for it, and nobody pays more than twice."""
_ROUND_EDGES = 16
# torch.jit.trace is deprecated, though what shall follow it needs a C++ compiler on every machine.
_POSSIBLE = sys.version_info < (3, 14)

Program = Callable[..., tuple[torch.Tensor, ...]]


class RecordedModels:
    """Predictions of models of one configuration, as `predict_each` without a graph makes them.

    Parameters
    ----------
    models
        On one device, with weights that stay as they are.
    """

    def __init__(self, models: Sequence[MultiscaleModel]) -> None:
        self.models = list(models)
        # Of networks alone: what else depends on positions would be a constant of the program.
        self._recordable = _POSSIBLE and all(
            type(model) is MultiscaleModel and model.long_range is None for model in models
        )
        self._calls: Counter[tuple[int, int]] = Counter()
        self._programs: dict[tuple[int, int], list[Program]] = {}

    def __call__(self, frames: Frames) -> list[Prediction]:
        """Predictions of all models.

        Raises
        ------
        UnknownElementError: names the element.
        """
        on_cpu = frames.qm_positions.device.type == "cpu"
        if not (self._recordable and on_cpu and frames.n_frames == 1):
            return predict_each(self.models, frames)
        leaves = self.models[0].leaves(frames)
        inputs = _inputs(self.models[0], frames, leaves)
        n_edges = len(leaves.geometry.edges.receiver)
        found = []
        for program in self._programs_for(frames, inputs):
            with torch.no_grad():
                energy, charges, tensors, radial, envelope, harmonics, *near = program(*inputs)
            carried = [tensors, radial[:n_edges], envelope[:n_edges], harmonics[:, :n_edges], *near]
            found.append(prediction(frames, leaves, Energies(energy, charges), carried))
        return found

    def _programs_for(self, frames: Frames, inputs: Sequence[torch.Tensor]) -> list[Program]:
        size = len(frames.atomic_numbers), len(inputs[3])
        if size not in self._programs:
            # The same operations on the same numbers: the answer does not tell which were recorded.
            programs = [energy_and_derivatives(model, frames) for model in self.models]
            self._calls[size] += 1
            if self._calls[size] <= PATIENCE:
                return programs
            self._programs[size] = [record(program, inputs) for program in programs]
        return self._programs[size]

    def __getstate__(self) -> dict[str, Any]:
        # Programs can be neither copied nor pickled.
        return {**self.__dict__, "_calls": Counter(), "_programs": {}}


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


def record(function: Program, inputs: Sequence[torch.Tensor]) -> Program:
    """The operations of a function on inputs of these sizes, as a program."""
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second

    graph = make_fx(function)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program: Program = torch.jit.trace(graph, tuple(inputs), check_trace=False)
    return program
