"""The optimizer: Muon for the matrices, AdamW for the rest, one state."""

from __future__ import annotations

import copy

import pytest
import torch

from eqmm_ase.network.layers import PackedLinear
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.training.muon import MatrixAdamW, matrices_of, orthogonalised


@pytest.fixture
def network() -> torch.nn.Module:
    """A packed and a plain matrix, and what is none: a bias, an embedding, a single row."""
    torch.manual_seed(0)
    layers = [torch.nn.Embedding(9, 16), PackedLinear(2, 16, 12), torch.nn.Linear(16, 12)]
    return torch.nn.ModuleList([*layers, torch.nn.Linear(16, 1)])


def give_gradients(network: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


def take_steps(network: torch.nn.Module, optimizer: MatrixAdamW, seeds: range) -> None:
    for seed in seeds:
        give_gradients(network, seed)
        optimizer.step()


@pytest.mark.parametrize("shape", [(3, 24, 24), (1, 64, 9), (2, 8, 264)])
def test_singular_values_become_one_and_the_singular_vectors_stay(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    middle = u.mT @ orthogonalised(u @ torch.diag_embed(s) @ v) @ v.mT
    values = middle.diagonal(dim1=-2, dim2=-1)
    assert (middle - torch.diag_embed(values)).abs().max() < 1e-9
    large = s > 0.02 * s.amax(1, keepdim=True)  # what is nearly zero is left for later steps
    assert 0.6 < values[large].min() < values[large].max() < 1.3


def test_a_stack_of_matrices_is_orthogonalised_one_by_one() -> None:
    stack = torch.randn(4, 12, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    stack[1] *= 1e6
    one_by_one = torch.cat([orthogonalised(matrix.unsqueeze(0)) for matrix in stack])
    torch.testing.assert_close(orthogonalised(stack), one_by_one)


def test_a_matrix_without_gradient_stays() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 8, 8)), torch.zeros(1, 8, 8))


def test_matrices_are_the_weights_between_features(network: torch.nn.Module) -> None:
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert [names[id(weight)] for weight in matrices_of(network)] == ["1.weight", "2.weight"]
    model = MultiscaleModel(ModelConfig((1, 6)))
    in_matrices = sum(weight.numel() for weight in matrices_of(model))
    assert in_matrices > 0.9 * sum(weight.numel() for weight in model.parameters())


def test_steps_of_matrices_are_as_large_as_those_of_adam(network: torch.nn.Module) -> None:
    before = copy.deepcopy(network)
    optimizer = MatrixAdamW(network, 1e-3, 0.0)
    take_steps(network, optimizer, range(1))
    for old, new in zip(matrices_of(before), matrices_of(network), strict=True):
        assert 0.1e-3 < float((new - old).detach().square().mean().sqrt()) < 0.25e-3
    # The first step of Adam is the learning rate, the later ones a fifth of it.
    embedding, old = network.get_submodule("0").weight, before.get_submodule("0").weight
    assert float((embedding - old).detach().abs().mean()) == pytest.approx(1e-3, rel=0.01)


def test_matrices_move_on_where_a_gradient_vanishes(network: torch.nn.Module) -> None:
    optimizer = MatrixAdamW(network, 1e-3, 0.0)
    take_steps(network, optimizer, range(1))
    before = copy.deepcopy(network)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for old, new in zip(matrices_of(before), matrices_of(network), strict=True):
        assert float((new - old).detach().abs().max()) > 1e-4


@pytest.mark.slow
def test_a_quadratic_is_minimised(network: torch.nn.Module) -> None:
    optimizer = MatrixAdamW(network, 0.1, 0.0)
    losses = []
    for step in range(300):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.1 * (1 - step / 300)
        loss = torch.stack([(w - 0.3).square().sum() for w in network.parameters()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-3 * losses[0]


def test_weights_decay_by_the_learning_rate_times_the_decay(network: torch.nn.Module) -> None:
    before = copy.deepcopy(network)
    optimizer = MatrixAdamW(network, 1e-2, 0.5)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for old, new in zip(before.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(new, old * (1 - 5e-3))


def test_training_goes_on_from_a_saved_state(network: torch.nn.Module) -> None:
    optimizer = MatrixAdamW(network, 1e-2, 0.0)
    take_steps(network, optimizer, range(3))
    other = copy.deepcopy(network)
    resumed = MatrixAdamW(other, 1e-2, 0.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps(network, optimizer, range(3, 5))
    take_steps(other, resumed, range(3, 5))
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        # To rounding; what had forgotten its past would be off by some of the learning rate, 1e-2.
        torch.testing.assert_close(one, two, rtol=0.0, atol=1e-5)
