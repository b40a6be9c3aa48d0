"""Energy and derivatives of a QM region in operations whose sizes do not depend on positions.

On a GPU an operation whose result has as many rows as there are close pairs makes the computer wait
until the device has counted them. Here lists of pairs have as many rows as they are given; a row
without a pair holds one beyond the cutoff, where weight and slope are exactly zero. Such a step may
be captured as a CUDA graph (`eqmm_ase.cuda.captured`). How many pairs there are is one of its
results: where that is more than there was room for, the others are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import EdgeGeometry, Edges
from eqmm_ase.network.environment import sum_of_kernels
from eqmm_ase.network.expansion import Expansion
from eqmm_ase.network.features import Neighbourhood
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import READOUTS, Derivatives, Prediction


class Room(NamedTuple):
    """How many rows lists of pairs have."""

    edges: int = 0
    """QM–QM edges, each direction for itself."""
    near: int = 0
    """Pairs of a QM atom and an MM charge within the near field."""


class Step(NamedTuple):
    """What one step gives."""

    each: list[Prediction]
    """Of every model; wrong where there was too little room."""
    pairs: torch.Tensor
    """How many edges and near pairs there are, (2,) int64."""


def predict_in_room(
    models: Sequence[MultiscaleModel], elements: torch.Tensor, frame: FrameBatch, room: Room
) -> Step:
    """Predictions of models of one configuration for one frame, by operations of fixed sizes.

    Parameters
    ----------
    models: without a long range.
    elements: `MultiscaleModel.elements` of the frame, (N,).
    frame: a batch of one frame, on the device of the models.
    room: rows for edges and near pairs.
    """
    config = models[0].config
    inputs = [
        tensor.detach().requires_grad_()
        for tensor in (frame.qm_positions, frame.mm_positions, frame.mm_charges)
    ]
    expansion = Expansion(frame, config.l_expansion)
    with torch.enable_grad():
        edges, n_edges = _edges(models[0].geometry, inputs[0], room.edges)
        near, n_near = None, torch.zeros_like(n_edges)
        if config.polarisable:
            pairs, n_near = _near_pairs(models[0].environment.near, inputs[0], inputs[1], room.near)
            near = sum_of_kernels(pairs, inputs[2], len(inputs[0]))
        neighbourhood = Neighbourhood(edges, near)
        each = [
            _predict(model, elements, frame, expansion, neighbourhood, inputs) for model in models
        ]
    return Step(each, torch.stack([n_edges, n_near]))


def _predict(
    model: MultiscaleModel,
    elements: torch.Tensor,
    frame: FrameBatch,
    expansion: Expansion,
    neighbourhood: Neighbourhood,
    inputs: Sequence[torch.Tensor],
) -> Prediction:
    energy, charges = model.network(elements, frame, expansion.tensors, neighbourhood)
    multipoles, *direct = torch.autograd.grad(
        energy.sum(),
        [expansion.tensors, *inputs],
        retain_graph=True,  # edges and near field are those of all models
        allow_unused=True,
        materialize_grads=True,
    )
    gradients = [a + b for a, b in zip(expansion.pull_back(multipoles), direct, strict=True)]
    found = Derivatives(frame, energy.detach(), charges.detach(), multipoles, *gradients)
    return Prediction({name: readout(found) for name, readout in READOUTS.items()})


def _edges(
    geometry: EdgeGeometry, positions: torch.Tensor, rows: int
) -> tuple[Edges, torch.Tensor]:
    close = _close(positions, positions, geometry.cutoff)
    close.fill_diagonal_(False)
    return _listed(geometry, close, positions, positions, rows)


def _near_pairs(
    geometry: EdgeGeometry, atoms: torch.Tensor, sites: torch.Tensor, rows: int
) -> tuple[Edges, torch.Tensor]:
    return _listed(geometry, _close(atoms, sites, geometry.cutoff), atoms, sites, rows)


def _close(first: torch.Tensor, second: torch.Tensor, cutoff: float) -> torch.Tensor:
    """Whether pairs are closer than the cutoff, (n, m); from differences, as in `edges`."""
    tables = first.detach(), second.detach()
    return torch.cdist(*tables, compute_mode="donot_use_mm_for_euclid_dist") < cutoff


def _listed(
    geometry: EdgeGeometry,
    close: torch.Tensor,
    at: torch.Tensor,
    of: torch.Tensor,
    rows: int,
) -> tuple[Edges, torch.Tensor]:
    """Pairs that are close, receivers (n) by senders (m), in so many rows; and their number, ()."""
    flat, n_senders = close.flatten(), max(1, len(of))
    rows = min(rows, len(flat))
    # The k-th pair belongs into row k; all others, and those without room, into one row more.
    row = torch.where(flat, flat.cumsum(0) - 1, rows).clamp(max=rows)
    places = torch.arange(len(flat), device=flat.device)
    pair = places.new_zeros(rows + 1).scatter(0, row, places)[:rows]
    receiver, sender = pair // n_senders, pair % n_senders
    number = flat.sum()

    vectors = of.index_select(0, sender) - at.index_select(0, receiver)
    filled = torch.arange(rows, device=flat.device) < number
    # Not zero weights for whatever stands there: an atom and itself have no direction.
    vectors = torch.where(filled.unsqueeze(1), vectors, 2.0 * geometry.cutoff)
    return geometry.of_vectors(receiver, sender, vectors), number
