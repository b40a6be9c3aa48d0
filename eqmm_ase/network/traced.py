"""Models whose networks, asked often about regions of one size, run as traced programs.

At the size of a QM region two thirds of a network's time go to Python and to building the graph of
its derivatives, not to arithmetic. Here the operations of energy and derivatives are written down
once (`eqmm_ase.tracing`) and from then on run one after the other in torch's interpreter,
without either: the same numbers, to rounding, in a third of the time. A program holds for one
number of atoms and of edges; edges of no weight are added up to a multiple of some, so that few
programs serve a molecule that moves. It holds for all models of one configuration, whatever their
weights: the members of a committee, copies, and the calculators of all threads share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import torch

from eqmm_ase import tracing
from eqmm_ase.concurrency import Lock
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Spread, mean_and_spread, spread_about
from eqmm_ase.network.edges import Edges
from eqmm_ase.network.features import Neighbourhood, PrecomputedFeatures
from eqmm_ase.network.model import Energies, ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import Prediction, predict_each
from eqmm_ase.tracing import Program, Trace, UntraceableError

PATIENCE = 30
"""Calls of one size before it is traced, which takes as long as they do: single points never pay
for it, and nobody pays more than twice."""
_ROUND_EDGES = 16

Kind = tuple[str | torch.Size, ...]
"""What a program computes, and the shapes of its inputs: of edges filled up, above all."""
Make = Callable[[MultiscaleModel, FrameBatch], Program]


class _Traces:
    """What is known of the networks of one configuration and width."""

    def __init__(self) -> None:
        self.calls: Counter[Kind] = Counter()
        self.of_kind: dict[Kind, Trace | None] = {}  # None: cannot be traced


# Weak: traces go with the last models that use them.
_TRACES: WeakValueDictionary[tuple[ModelConfig, torch.dtype], _Traces] = WeakValueDictionary()
_LOCK = Lock()


class TracedModels:
    """Predictions of models of one configuration by traced programs, else by `predict_each`.

    May be called from several threads at once.

    Parameters
    ----------
    models
        On one device, with weights that stay as they are.
    """

    def __init__(self, models: Sequence[MultiscaleModel]) -> None:
        self.models = list(models)
        self._traceable = all(map(is_network_alone, models))
        self._traces = _traces_of(self.models[0])
        self._programs: dict[Kind, list[Program]] = {}

    def __call__(self, frames: FrameBatch) -> list[Prediction]:
        """Predictions of all models.

        Raises
        ------
        UnknownElementError: names the element.
        """
        if not self.can_trace(frames):
            return predict_each(self.models, frames)
        features = self.models[0].features(frames)
        return [
            Prediction.of(frames, features, out, by_feature)
            for out, by_feature in self.derivatives(frames, features)
        ]

    def mean_and_spread(self, frames: FrameBatch) -> tuple[Prediction, Spread]:
        """As `eqmm_ase.network.committee.mean_and_spread`.

        What follows for the charges is made for the mean only, as it is linear in the derivatives.
        """
        if len(self.models) == 1 or not self.can_trace(frames):
            return mean_and_spread(self(frames))
        features = self.models[0].features(frames)
        outs, derivatives = zip(*self.derivatives(frames, features), strict=True)
        energy, charges = (torch.stack(own).mean(0) for own in zip(*outs, strict=True))
        by_feature = [torch.stack(own).mean(0) for own in zip(*derivatives, strict=True)]
        mean = Prediction.of(frames, features, Energies(energy, charges), by_feature)
        forces = [-features.atom_gradient(own) for own in derivatives]
        return mean, spread_about(mean, [out.energy for out in outs], forces)

    def can_trace(self, frames: FrameBatch) -> bool:
        """Whether `derivatives` are all there is of the energy of such frames."""
        on_cpu = frames.qm_positions.device.type == "cpu"
        return tracing.POSSIBLE and self._traceable and on_cpu and frames.n_frames == 1

    def derivatives(
        self, frames: FrameBatch, features: PrecomputedFeatures
    ) -> list[tuple[Energies, list[torch.Tensor]]]:
        """Energies and charges by each model, and dE/d(feature) of `PrecomputedFeatures.all`."""
        each = self.run(energy_and_derivatives, frames, features)
        return [(out, by_feature) for out, by_feature, _ in each]

    def run(
        self,
        make: Make,
        frames: FrameBatch,
        features: PrecomputedFeatures,
        others: Sequence[torch.Tensor] = (),
    ) -> list[tuple[Energies, list[torch.Tensor], list[torch.Tensor]]]:
        """Energies and charges, derivatives by the features, and what a function gives beside them.

        Parameters
        ----------
        make: makes a function of the inputs of `energy_and_derivatives` and the others, whose
            operations depend on their shapes alone; it returns energy, charges, derivatives by the
            features, and the rest.
        others: inputs beside those of the network.
        """
        inputs, found = [*network_inputs(self.models[0], frames, features), *others], []
        for program in self._programs_for(make, frames, inputs):
            energy, charges, *rest = program(*inputs)
            grads, more = rest[: len(features.all)], rest[len(features.all) :]
            found.append((Energies(energy, charges), without_padding(grads, features), more))
        return found

    def _programs_for(
        self, make: Make, frames: FrameBatch, inputs: Sequence[torch.Tensor]
    ) -> list[Program]:
        kind: Kind = (make.__name__, *(tensor.shape for tensor in inputs))
        if kind not in self._programs:
            # The same operations on the same numbers.
            functions = [make(model, frames) for model in self.models]
            trace = self._trace(kind, functions[0], inputs)
            if trace is None:
                return functions
            self._programs[kind] = [trace.program(_weights(model)) for model in self.models]
        return self._programs[kind]

    def _trace(self, kind: Kind, function: Program, inputs: Sequence[torch.Tensor]) -> Trace | None:
        """Of a size that has been asked for often enough."""
        traces = self._traces
        with _LOCK:
            if kind not in traces.of_kind:
                traces.calls[kind] += 1
                if traces.calls[kind] <= PATIENCE:
                    return None
                traces.of_kind[kind] = trace(function, inputs, _weights(self.models[0]))
            return traces.of_kind[kind]

    def __getstate__(self) -> dict[str, Any]:
        # Traces can be neither copied nor pickled.
        return {"models": self.models}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def is_network_alone(model: MultiscaleModel) -> bool:
    """Whether nothing beside the network depends on positions: it would become a constant."""
    own = type(model).in_potential is not MultiscaleModel.in_potential
    return model.long_range is None and not own


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
    """Trace of a function of inputs of these sizes; None where operations depend on values."""
    try:
        return Trace(function, inputs, weights)
    except UntraceableError:
        return None


def _rounded(n_edges: int) -> int:
    return n_edges + -n_edges % _ROUND_EDGES


def network_inputs(
    model: MultiscaleModel,
    frames: FrameBatch,
    features: PrecomputedFeatures,
    edges_to: Callable[[int], int] = _rounded,
) -> list[torch.Tensor]:
    """All that changes from call to call; edges are added that begin and end at the first atom.

    `edges_to` says from their number how many there shall be.
    """
    edges, near = features.neighbourhood
    missing = edges_to(len(edges.receiver)) - len(edges.receiver)
    pad = torch.nn.functional.pad
    with torch.no_grad():
        return [
            model.elements(frames.atomic_numbers),
            frames.total_charge,
            frames.spin_multiplicity,
            pad(edges.receiver, (0, missing)),
            pad(edges.sender, (0, missing)),
            features.tensors.detach(),
            pad(edges.radial, (0, 0, 0, missing)),
            pad(edges.envelope, (0, missing)),
            pad(edges.harmonics, (0, missing)),
            *([] if near is None else [near.detach()]),
        ]


def without_padding(grads: list[torch.Tensor], features: PrecomputedFeatures) -> list[torch.Tensor]:
    """Derivatives by the features, without those of edges that `network_inputs` added."""
    n_edges = len(features.neighbourhood.edges.receiver)
    tensors, radial, envelope, harmonics, *near = grads
    return [tensors, radial[:n_edges], envelope[:n_edges], harmonics[:, :n_edges], *near]


def energy_and_derivatives(model: MultiscaleModel, frames: FrameBatch) -> Program:
    """Energy, charges and the energy's derivatives by the features, as a function to be traced.

    Of the frames, only the number of atoms is used.
    """

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            features, out = evaluated(model, frames, *inputs)
            grads = gradients(out.energy.sum(), features)
        return (*(tensor.detach() for tensor in out), *grads)

    return run


def evaluated(
    model: MultiscaleModel,
    frames: FrameBatch,
    elements: torch.Tensor,
    total_charge: torch.Tensor,
    spin_multiplicity: torch.Tensor,
    receiver: torch.Tensor,
    sender: torch.Tensor,
    *values: torch.Tensor,
) -> tuple[list[torch.Tensor], Energies]:
    """Features that require gradients, of `network_inputs`, and what the network says of them."""
    features = [value.detach().requires_grad_() for value in values]
    tensors, radial, envelope, harmonics, *near = features
    edges = Edges(receiver, sender, radial, envelope, harmonics)
    neighbourhood = Neighbourhood(edges, near[0] if near else None)
    own = replace(frames, total_charge=total_charge, spin_multiplicity=spin_multiplicity)
    return features, model.network(elements, own, tensors, neighbourhood)


def gradients(value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Derivatives of a value by its inputs; zeros where it does not depend on one."""
    return torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
