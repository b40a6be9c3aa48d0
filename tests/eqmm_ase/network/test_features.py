"""The chain rule by hand against autograd through `forward`, and through that for the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import predict

DEFAULT = ModelConfig((1, 6, 8), channels=6, hidden=8)
CONFIGS = {
    "default": DEFAULT,
    "long range": replace(DEFAULT, long_range=True),
    "other cutoffs": replace(DEFAULT, cutoff=6.0, near_cutoff=4.0, n_radial=5, n_near=3),
    "high order": replace(DEFAULT, l_expansion=4, l_hidden=3, n_layers=3),
    "potential only": replace(DEFAULT, l_expansion=0, l_hidden=1, n_near=0),
    "not polarisable": replace(DEFAULT, polarisable=False, multipoles=False),
}
# Rounding, accumulated over a few hundred terms of values up to about 10.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> MultiscaleModel:
    return random_model(CONFIGS[request.param])


def random_model(config: ModelConfig, scale: float = 0.5) -> MultiscaleModel:
    model = MultiscaleModel(config).double()
    orders = config.l_expansion + 1
    model.set_statistics(
        torch.zeros(3), 1.0, torch.linspace(scale, 0.2, orders), torch.tensor([0.0, 0.0, -0.9])
    )
    with torch.no_grad():  # untrained outputs are small by intention; here they must matter
        model.charge_flow.flow.out.weight *= 20.0
        model.atomic_energy.mlp[2].weight *= 20.0
    return model


def make_frames(n_qm: list[int], n_mm: list[int]) -> FrameBatch:
    """Atoms on a jittered grid of 1.6 Å, charges in a shell around them; the same every time."""
    generator = torch.Generator().manual_seed(3)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    atoms = [
        1.6 * torch.stack([k % 2, k // 2 % 2, k // 4], dim=1) + 0.3 * uniform(len(k), 3)
        for k in map(torch.arange, n_qm)
    ]
    directions = torch.nn.functional.normalize(uniform(sum(n_mm), 3) - 0.5)
    return FrameBatch(
        atomic_numbers=torch.tensor([8, 1, 6])[torch.arange(sum(n_qm)) % 3],
        qm_positions=torch.cat(atoms),
        mm_positions=directions * (4.0 + 5.0 * uniform(sum(n_mm), 1)),
        mm_charges=uniform(sum(n_mm)) - 0.5,
        qm_ptr=torch.tensor([0, *n_qm]).cumsum(0),
        mm_ptr=torch.tensor([0, *n_mm]).cumsum(0),
        total_charge=torch.arange(len(n_qm)).double() - 1.0,
        spin_multiplicity=1.0 + torch.arange(len(n_qm)).double() % 2,
    )


def pairs_at(cutoff: float) -> FrameBatch:
    """Two atoms and a charge beside the first, all pairs just within, at or beyond the cutoff."""
    distances = cutoff + torch.tensor([-1e-2, -1e-7, 0.0, 1e-7]).double()
    frames = make_frames([2] * 4, [1] * 4)
    frames.qm_positions[::2] = 0.0
    frames.qm_positions[1::2] = distances[:, None] * torch.tensor([0.6, 0.8, 0.0]).double()
    frames.mm_positions[:] = distances[:, None] * torch.tensor([0.0, -0.6, 0.8]).double()
    return frames


BATCHES = {
    "different sizes": make_frames([6, 3, 9], [40, 25, 60]),
    "some without charges": make_frames([4, 2, 5], [0, 30, 0]),
    "no charges at all": make_frames([4, 3], [0, 0]),
    "single atoms": make_frames([1, 1], [8, 0]),
    "a single atom beside a molecule": make_frames([1, 5], [8, 9]),
    "stretched": replace(
        make_frames([6, 2], [20, 10]), qm_positions=3.1 * make_frames([6, 2], [0, 0]).qm_positions
    ),
}


def by_autograd(
    model: MultiscaleModel, frames: FrameBatch, create_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """Energy, charges, dE/dR, dE/dr and dE/dq through `forward`."""
    names = ("qm_positions", "mm_positions", "mm_charges")
    leaves = [getattr(frames, name).clone().requires_grad_() for name in names]
    out = model(replace(frames, **dict(zip(names, leaves, strict=True))))
    gradients = torch.autograd.grad(
        out.energy.sum(), leaves, create_graph=create_graph, materialize_grads=True
    )
    return *out, *gradients


def by_hand(
    model: MultiscaleModel, frames: FrameBatch, create_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """The same through `predict`."""
    out = predict(model, frames, create_graph=create_graph)
    return out.energy, out.charges, -out.qm_forces, -out.mm_forces, out.mm_potential


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
def test_forces_and_potential_are_those_of_autograd(model: MultiscaleModel, batch: str) -> None:
    found, expected = by_hand(model, BATCHES[batch]), by_autograd(model, BATCHES[batch])
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("name", ["cutoff", "near_cutoff"])
def test_forces_of_pairs_at_a_cutoff_are_those_of_autograd(
    model: MultiscaleModel, name: str
) -> None:
    frames = pairs_at(getattr(model.config, name))
    found, expected = by_hand(model, frames), by_autograd(model, frames)
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
def test_gradients_of_the_weights_are_those_of_autograd(model: MultiscaleModel, batch: str) -> None:
    frames, weights = BATCHES[batch], list(model.parameters())

    def gradients(values: tuple[torch.Tensor, ...]) -> torch.Tensor:
        # A direction of its own for every number, so that none stands in for another.
        generator = torch.Generator().manual_seed(5)
        loss = sum(
            (value * torch.randn(value.shape, generator=generator)).sum() + value.square().sum()
            for value in values
        )
        parts = torch.autograd.grad(loss, weights, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    expected = gradients(by_autograd(model, frames, create_graph=True))
    found = gradients(by_hand(model, frames, create_graph=True))
    assert float((found - expected).abs().max()) < 1e-10 * float(expected.abs().max())


def test_members_with_scales_of_their_own_share_features() -> None:
    members = [random_model(DEFAULT, scale) for scale in (0.3, 2.0)]
    frames = BATCHES["different sizes"]
    each = zip(*(by_hand(member, frames) for member in members), strict=True)
    expected = [torch.stack(parts).mean(0) for parts in each]
    found = by_hand(Committee(members), frames)
    torch.testing.assert_close(list(found), expected, **TOLERANCE)
