"""The expansion of the MM potential against the potential itself, and its derivatives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from e3nn import o3

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.edges import qm_mm_pairs, qm_pairs
from eqmm_ase.network.expansion import Expansion, expand
from eqmm_ase.network.harmonics import (
    irregular_harmonics,
    n_components,
    regular_harmonics,
    translation_tensor,
)
from eqmm_ase.units import COULOMB_CONSTANT


def make_frames(n_qm: list[int], n_mm: list[int]) -> FrameBatch:
    """Random atoms near the origin in random charges at 4–10 Å."""
    directions = torch.nn.functional.normalize(torch.randn(sum(n_mm), 3, dtype=torch.float64))
    distances = 4.0 + 6.0 * torch.rand(sum(n_mm), 1, dtype=torch.float64)
    return FrameBatch(
        atomic_numbers=torch.ones(sum(n_qm), dtype=torch.int64),
        qm_positions=torch.randn(sum(n_qm), 3, dtype=torch.float64),
        mm_positions=directions * distances,
        mm_charges=torch.randn(sum(n_mm), dtype=torch.float64),
        qm_ptr=torch.tensor([0, *n_qm]).cumsum(0),
        mm_ptr=torch.tensor([0, *n_mm]).cumsum(0),
        total_charge=torch.zeros(len(n_qm), dtype=torch.float64),
        spin_multiplicity=torch.ones(len(n_qm), dtype=torch.float64),
    )


def coulomb(points: torch.Tensor, frames: FrameBatch) -> torch.Tensor:
    """The potential by Coulomb's law, written out."""
    distances = torch.cdist(points, frames.mm_positions)
    return COULOMB_CONSTANT * (frames.mm_charges / distances).sum(1)


@pytest.mark.parametrize("l_max", [0, 1, 3, 5])
def test_harmonics_are_those_of_e3nn(l_max: int) -> None:
    vectors = torch.randn(11, 3, dtype=torch.float64)
    expected = o3.spherical_harmonics(list(range(l_max + 1)), vectors, False, "norm")
    torch.testing.assert_close(regular_harmonics(vectors.T, l_max).T, expected)


def test_harmonics_fulfil_the_laplace_expansion() -> None:
    near, far = torch.tensor([[0.3, -0.2, 0.1]]).double(), torch.tensor([[-1.0, 2.5, 3.0]]).double()
    terms = regular_harmonics(near.T, 12) * irregular_harmonics(far.T, 12)
    expected = 1.0 / torch.linalg.vector_norm(far - near)
    torch.testing.assert_close(terms.sum(), expected, rtol=1e-11, atol=0.0)


def test_irregular_harmonics_are_moved_by_the_translation_tensor() -> None:
    here = torch.tensor([[-1.0, 2.5, 3.0]]).double()
    shift = torch.tensor([[0.03, -0.02, 0.01]]).double()
    regular, irregular = regular_harmonics(shift.T, 9), irregular_harmonics(here.T, 9)
    moved = torch.einsum("bn,abc,cn->an", regular, translation_tensor(9), irregular)
    expected = irregular_harmonics((here + shift).T, 3)
    # What is left out is of order 7 in |shift| / |here| = 0.01 for the highest of these.
    torch.testing.assert_close(moved[: n_components(3)], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_expansion_converges_to_the_potential_with_the_power_of_its_order(order: int) -> None:
    frames = make_frames([1], [40])
    direction = torch.nn.functional.normalize(torch.randn(1, 3, dtype=torch.float64))
    tensors = expand(frames, order)

    def error(distance: float) -> torch.Tensor:
        local = regular_harmonics((distance * direction).T, order)
        point = frames.qm_positions + distance * direction
        return ((tensors @ local)[0] - coulomb(point, frames)).abs()

    # The first term left out is of order L+1: halving the distance divides it by 2^(L+1).
    ratio = (error(0.02) / error(0.01)).item()
    assert ratio == pytest.approx(2.0 ** (order + 1), rel=0.15)


def test_l1_components_are_the_potential_gradient() -> None:
    frames = make_frames([3], [40])
    points = frames.qm_positions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(coulomb(points, frames).sum(), points)
    torch.testing.assert_close(expand(frames, 1)[:, 1:4], gradient)


@pytest.mark.slow
@pytest.mark.parametrize("l_max", [0, 2, 3])
def test_expansion_has_correct_first_and_second_derivatives(l_max: int) -> None:
    frames = make_frames([2, 1], [4, 3])

    def function(atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor) -> torch.Tensor:
        moved = replace(frames, qm_positions=atoms, mm_positions=sites, mm_charges=charges)
        return expand(moved, l_max)

    inputs = (frames.qm_positions, frames.mm_positions, frames.mm_charges)
    inputs = tuple(tensor.clone().requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_chain_rule_by_hand_equals_autograd() -> None:
    frames = make_frames([3, 2], [30, 50])
    names = ("qm_positions", "mm_positions", "mm_charges")
    leaves = [getattr(frames, name).clone().requires_grad_() for name in names]
    tensors = expand(replace(frames, **dict(zip(names, leaves, strict=True))), 3)
    weights = torch.randn_like(tensors)
    expected = torch.autograd.grad((tensors * weights).sum(), leaves)

    expansion = Expansion(frames, 3)
    torch.testing.assert_close(expansion.tensors.detach(), tensors.detach())
    for found, wanted in zip(expansion.pull_back(weights), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_large_environments_are_summed_in_blocks_without_loss() -> None:
    frames = make_frames([9], [3001])  # four blocks, the last one short
    expected = coulomb(frames.qm_positions, frames)
    torch.testing.assert_close(expand(frames, 3)[:, 0], expected)
    halves = [
        expand(
            replace(
                frames,
                mm_positions=frames.mm_positions[part],
                mm_charges=frames.mm_charges[part],
                mm_ptr=torch.tensor([0, len(frames.mm_charges[part])]),
            ),
            3,
        )
        for part in (slice(0, 1500), slice(1500, None))
    ]
    torch.testing.assert_close(expand(frames, 3), halves[0] + halves[1])


def test_no_charges_give_zeros() -> None:
    frames = make_frames([2, 2], [0, 5])
    tensors = expand(frames, 3)
    assert torch.all(tensors[:2] == 0.0)
    assert torch.all(tensors[2:] != 0.0)


def test_neighbour_lists_find_what_a_double_loop_finds() -> None:
    frames = make_frames([5, 4], [60, 30])
    qm_frame, mm_frame = frames.qm_frame_index(), frames.mm_frame_index()
    for finder, others, owners, cutoff in (
        (qm_pairs, frames.qm_positions, qm_frame, 1.8),
        (qm_mm_pairs, frames.mm_positions, mm_frame, 5.0),
    ):
        expected = {
            (i, j)
            for i in range(9)
            for j in range(len(others))
            if qm_frame[i] == owners[j]
            and 0.0 < torch.linalg.vector_norm(frames.qm_positions[i] - others[j]) < cutoff
        }
        found = list(zip(*(index.tolist() for index in finder(frames, cutoff)), strict=True))
        assert len(found) == len(expected) > 5
        assert set(found) == expected
