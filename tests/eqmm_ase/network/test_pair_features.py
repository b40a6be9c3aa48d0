"""Edges and near field by compiled loops against the same by torch's own operations."""

from __future__ import annotations

import pytest
import torch

from eqmm_ase.kernels.neighbours import pairs_within
from eqmm_ase.network.edges import EdgeGeometry, qm_mm_pairs, qm_pairs
from eqmm_ase.network.pair_features import (
    CompiledEdges,
    CompiledNearField,
    EdgeFeatures,
    NearField,
)
from tests.eqmm_ase.network.test_features import BATCHES, make_frames, pairs_at

CUTOFF = 4.5
FRAMES = {**BATCHES, "at the cutoff": pairs_at(CUTOFF)}


def normal(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Random numbers of the same shapes."""
    return [torch.randn_like(tensor) for tensor in tensors]


def assert_same(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", FRAMES)
@pytest.mark.parametrize("l_max", [0, 2, 4])
def test_edges_are_those_of_torch(l_max: int, batch: str) -> None:
    frames, geometry = FRAMES[batch], EdgeGeometry(CUTOFF, 5, l_max).double()
    compiled, plain = CompiledEdges(frames, geometry), EdgeFeatures(frames, geometry)
    edges, expected = compiled.edges, plain.edges
    assert_same((edges.receiver, edges.sender), (expected.receiver, expected.sender))
    functions = expected.radial, expected.envelope, expected.harmonics
    assert_same((edges.radial, edges.envelope, edges.harmonics), functions)
    grads, (move,) = normal(*functions), normal(frames.qm_positions)
    assert_same(compiled.pull_back(*grads), plain.pull_back(*grads))
    assert_same(compiled.moved(move), plain.moved(move))


@pytest.mark.parametrize("batch", FRAMES)
@pytest.mark.parametrize("l_max", [0, 3])
def test_near_fields_are_those_of_torch(l_max: int, batch: str) -> None:
    frames, geometry = FRAMES[batch], EdgeGeometry(CUTOFF, 3, l_max).double()
    compiled, plain = CompiledNearField(frames, geometry), NearField(frames, geometry)
    assert_same(compiled.near, plain.near)
    (grad,) = normal(plain.near)
    moves = normal(frames.qm_positions, frames.mm_positions, frames.mm_charges)
    assert_same(compiled.pull_back(grad), plain.pull_back(grad))
    assert_same(compiled.moved(*moves), plain.moved(*moves))


@pytest.mark.parametrize("cutoff", [3.0, 6.0, 30.0])
def test_lists_that_outgrow_their_first_length_are_whole(cutoff: float) -> None:
    frames = make_frames([2, 40], [300, 90])
    positions = frames.qm_positions.numpy(), frames.mm_positions.numpy()
    ptrs = frames.qm_ptr.numpy(), frames.mm_ptr.numpy()
    for number, expected in ((0, qm_pairs(frames, cutoff)), (1, qm_mm_pairs(frames, cutoff))):
        others = positions[number], ptrs[number]
        found = pairs_within(positions[0], ptrs[0], *others, cutoff, same=number == 0)
        assert_same([torch.from_numpy(rows) for rows in found], list(expected))
    assert cutoff < 30.0 or len(found[0]) == 2 * 300 + 40 * 90
