"""Energy, forces and all other quantities that a network predicts, from one energy.

Every quantity but the charges is a derivative of the energy. A readout says what of the energy's
derivatives it is, and `READOUTS` holds one for each of `eqmm_ase.data.quantities.QUANTITIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch

from eqmm_ase.network.batch import ByQuantity, FrameBatch
from eqmm_ase.network.features import Neighbourhood, PrecomputedFeatures
from eqmm_ase.network.model import Energies


class Potential(Protocol):
    """Potential energy surface: a model, or a committee as one."""

    def features(self, frames: FrameBatch) -> PrecomputedFeatures:
        """Precomputed features of a batch."""
        ...

    def in_potential(
        self, frames: FrameBatch, tensors: torch.Tensor, neighbourhood: Neighbourhood | None = None
    ) -> Energies:
        """Energies and charges in an MM potential that is expanded already."""
        ...


class Derivatives(NamedTuple):
    """Energies and charges of a batch, with the derivatives of the summed energy."""

    frames: FrameBatch
    energy: torch.Tensor  # (F,) eV, float64
    charges: torch.Tensor  # (N,) e
    multipoles: torch.Tensor  # (N, (L+1)²) dE/dC, e·Å^l: of each QM atom, induced ones included
    qm_gradient: torch.Tensor  # (N, 3) eV/Å
    mm_gradient: torch.Tensor  # (K, 3) eV/Å
    mm_potential: torch.Tensor  # (K,) V


def _dipole(found: Derivatives) -> torch.Tensor:
    """Derivative with respect to a uniform potential gradient, Σ_i (dE/dC^i_00 R_i + dE/dC^i_1)."""
    frames, multipoles = found.frames, found.multipoles
    local = multipoles[:, :1] * frames.qm_positions.detach()
    if multipoles.shape[1] > 1:
        local = local + multipoles[:, 1:4]
    return local.new_zeros(frames.n_frames, 3).index_add(0, frames.qm_frame_index(), local)


READOUTS: dict[str, Callable[[Derivatives], torch.Tensor]] = {
    "energy": lambda found: found.energy,
    "qm_forces": lambda found: -found.qm_gradient,
    "mm_forces": lambda found: -found.mm_gradient,
    "mm_potential": lambda found: found.mm_potential,
    "charges": lambda found: found.charges,
    "dipole": _dipole,
}
"""Quantity → what it is of the energy and its derivatives; dipoles are about the origin."""


class Prediction(ByQuantity):
    """Predictions of all `QUANTITIES` for a batch."""

    @classmethod
    def of(
        cls,
        frames: FrameBatch,
        features: PrecomputedFeatures,
        out: Energies,
        by_feature: Sequence[torch.Tensor],
        direct: Sequence[torch.Tensor | None] = (None, None, None),
    ) -> Prediction:
        """All that follows once the energy's derivatives by the precomputed features are known.

        Parameters
        ----------
        by_feature: dE/d(feature) of `PrecomputedFeatures.all`.
        direct: dE/dR, dE/dr and dE/dq on other ways than the features.
        """
        qm_gradient, mm_gradient, mm_potential = (
            total if part is None else total + part
            for total, part in zip(features.pull_back(by_feature), direct, strict=True)
        )
        found = Derivatives(
            frames, out.energy, out.charges, by_feature[0], qm_gradient, mm_gradient, mm_potential
        )
        return cls({name: readout(found) for name, readout in READOUTS.items()})


def predict(model: Potential, frames: FrameBatch, *, create_graph: bool = False) -> Prediction:
    """Energy, forces on QM and MM, potential at the MM sites, charges and dipole of a batch.

    Parameters
    ----------
    model: a model, or a committee, whose members' mean is the energy.
    create_graph: keep the graph, to train on all these; it ends at the weights, not at positions.
    """
    return predict_each([model], frames, create_graph=create_graph)[0]


def predict_each(
    models: Sequence[Potential], frames: FrameBatch, *, create_graph: bool = False
) -> list[Prediction]:
    """Predictions of several models of one configuration, from shared precomputed features."""
    names = ("qm_positions", "mm_positions", "mm_charges")
    inputs = [getattr(frames, name).detach().requires_grad_() for name in names]
    frames = replace(frames, **dict(zip(names, inputs, strict=True)))
    features = models[0].features(frames)
    return [_predict(model, frames, inputs, features, create_graph) for model in models]


def predict_from_features(
    model: Potential, frames: FrameBatch, features: PrecomputedFeatures, *, create_graph: bool
) -> Prediction:
    """As `predict`, for a model that takes positions and charges through its features only."""
    return _predict(model, frames, [], features, create_graph)


def _predict(
    model: Potential,
    frames: FrameBatch,
    inputs: list[torch.Tensor],
    features: PrecomputedFeatures,
    create_graph: bool,
) -> Prediction:
    out = model.in_potential(frames, features.tensors, features.neighbourhood)
    own = features.all
    grads = torch.autograd.grad(
        out.energy.sum(), [*own, *inputs], create_graph=create_graph, allow_unused=True
    )
    by_feature = [torch.zeros_like(x) if g is None else g for x, g in zip(own, grads, strict=False)]
    if not create_graph:
        out = Energies(*(tensor.detach() for tensor in out))
    # Some of a model may take positions and charges directly: the long range does.
    direct = grads[len(own) :] or (None, None, None)
    return Prediction.of(frames, features, out, by_feature, direct)
