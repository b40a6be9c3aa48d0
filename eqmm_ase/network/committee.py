"""Several models of one shape as one: their mean, and how far they differ.

The energy of a committee is the mean of its members' energies, so that its forces, the mean of
theirs, are the derivative of one energy. What has no weights is made once for all members
(`eqmm_ase.network.features`), and what follows for charges and their positions once for the mean
(`TracedModels.mean_and_spread`). Networks are evaluated one after the other: as traced programs
(`eqmm_ase.network.traced`), stacking the weights for `torch.func.vmap` saved a seventh of their
time for 6 atoms, and took half as long again for 22.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.features import Neighbourhood, PrecomputedFeatures
from eqmm_ase.network.model import Energies, ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import Prediction


class Spread(NamedTuple):
    """How far the members of a committee differ: root-mean-square deviations from their mean."""

    energy: torch.Tensor  # (F,) eV, float64
    qm_forces: torch.Tensor  # (N,) eV/Å, of the force vector of each atom


class Committee(torch.nn.Module):
    """Models of one configuration whose mean is the prediction.

    Parameters
    ----------
    members
        At least one model; they are held, not copied.

    Raises
    ------
    ValueError
        No members, or members of different configurations.
    """

    members: Sequence[MultiscaleModel]

    def __init__(self, members: Iterable[MultiscaleModel]) -> None:
        super().__init__()
        self.members = cast(Sequence[MultiscaleModel], torch.nn.ModuleList(members))
        if not self.members:
            raise ValueError("a committee needs at least one member")
        if any(member.config != self.config for member in self.members):
            raise ValueError("the members of a committee must have one and the same configuration")

    @property
    def config(self) -> ModelConfig:
        """The configuration that all members share."""
        return self.members[0].config

    @property
    def atomic_energies(self) -> torch.Tensor:
        """Mean of the members' constants, (n_elements,) float64, eV."""
        return torch.stack([member.atomic_energies for member in self.members]).mean(0)

    def features(self, frames: FrameBatch) -> PrecomputedFeatures:
        """Precomputed features of a batch, which all members share."""
        return self.members[0].features(frames)

    def in_potential(
        self, frames: FrameBatch, tensors: torch.Tensor, neighbourhood: Neighbourhood | None = None
    ) -> Energies:
        """Mean energies and charges in an MM potential that is expanded already, (N, (L+1)²)."""
        outs = [member.in_potential(frames, tensors, neighbourhood) for member in self.members]
        return Energies(*(torch.stack(values).mean(0) for values in zip(*outs, strict=True)))


def members_of(model: MultiscaleModel | Committee) -> list[MultiscaleModel]:
    """The members of a committee; of a single model, the model itself."""
    return list(model.members) if isinstance(model, Committee) else [model]


def mean_and_spread(each: Sequence[Prediction]) -> tuple[Prediction, Spread]:
    """Mean and root-mean-square deviation of the predictions of a committee's members.

    Energy: √⟨(E_k − Ē)²⟩_k. Force on atom i: √⟨|F_ik − F̄_i|²⟩_k.
    """
    mean = Prediction({n: torch.stack([own[n] for own in each]).mean(0) for n in each[0]})
    energies = [prediction.energy for prediction in each]
    return mean, spread_about(mean, energies, [prediction.qm_forces for prediction in each])


def spread_about(
    mean: Prediction, energies: Sequence[torch.Tensor], forces: Sequence[torch.Tensor]
) -> Spread:
    """`mean_and_spread` of members' energies, (F,) each, and QM forces, (N, 3) each."""
    return Spread(
        energy=(torch.stack(list(energies)) - mean.energy).square().mean(0).sqrt(),
        qm_forces=(torch.stack(list(forces)) - mean.qm_forces).square().sum(2).mean(0).sqrt(),
    )
