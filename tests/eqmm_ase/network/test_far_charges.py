"""Distant charges against sums over all pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eqmm_ase.network import far_charges
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import Expansion
from eqmm_ase.network.far_charges import DISTANCE, ORDER, DistantCharges, distant
from eqmm_ase.units import COULOMB_CONSTANT
from tests.eqmm_ase.network.test_features import make_frames

L_MAX = 4
ATOMS = 2.5 * make_frames([8], [0]).qm_positions
MIDDLE = 0.5 * (ATOMS.amin(0) + ATOMS.amax(0))
RADIUS = float(torch.linalg.vector_norm(ATOMS - MIDDLE, dim=1).max())


def surrounded(n_sites: int, nearest: float, dtype: torch.dtype = torch.float64) -> FrameBatch:
    """The atoms, and charges at one to two times a distance from their middle."""
    directions = torch.nn.functional.normalize(torch.randn(n_sites, 3, dtype=torch.float64))
    distances = nearest * (1.0 + torch.rand(n_sites, 1, dtype=torch.float64))
    frames = make_frames([8], [n_sites])
    return replace(
        frames,
        qm_positions=ATOMS.to(dtype),
        mm_positions=(MIDDLE + directions * distances).to(dtype),
        mm_charges=torch.randn(n_sites, dtype=torch.float64).to(dtype),
    )


def taken_apart(frames: FrameBatch) -> DistantCharges:
    return DistantCharges(frames.qm_positions, frames.mm_positions, frames.mm_charges, L_MAX)


def test_potential_of_the_nearest_is_as_exact_as_it_says() -> None:
    frames = surrounded(50, DISTANCE * RADIUS)
    exact = Expansion(frames, L_MAX - 1).raised
    error = (taken_apart(frames).tensors - exact)[0].abs().max()
    bound = COULOMB_CONSTANT * frames.mm_charges.abs().sum() / (DISTANCE * RADIUS)
    assert 0.0 < float(error) < float(bound) * DISTANCE ** -(ORDER + 1)


def test_errors_fall_with_the_power_of_the_order() -> None:
    def errors(distance: float) -> list[float]:
        torch.manual_seed(1)
        frames = surrounded(1, distance)
        error = taken_apart(frames).tensors - Expansion(frames, L_MAX - 1).raised
        return [float(part.abs().max()) for part in error.split([2 * l + 1 for l in range(5)])]

    near, far = errors(25.0), errors(50.0)
    for l, (one, two) in enumerate(zip(near, far, strict=True)):
        # What is left out begins with I_12, of which all orders take a derivative or more.
        assert one / two == pytest.approx(2.0 ** (ORDER + 2), rel=0.2), l


def test_gradients_are_those_of_all_pairs() -> None:
    frames = surrounded(60, 200.0)
    exact, found = Expansion(frames, L_MAX - 1), taken_apart(frames)
    grad = torch.randn_like(exact.tensors)
    _, sites, charges = exact.pull_back(grad)
    expected = torch.cat([sites, charges.unsqueeze(1)], dim=1)
    torch.testing.assert_close(found.pull_back(grad.T), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("share", [0.6, 0.9, 1.1])  # few, most and all are distant
def test_near_and_distant_charges_make_up_all(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = surrounded(300, share * DISTANCE * RADIUS, torch.float32)
    exact = Expansion(frames, L_MAX - 1)
    grad = torch.randn_like(exact.tensors)
    expected = [exact.raised, *exact.pull_back(grad)]
    monkeypatch.setattr(far_charges, "WORTH_WHILE", 1)
    split = Expansion(frames, L_MAX - 1)
    assert distant(ATOMS.float(), frames.mm_positions) is not None
    for found, value in zip([split.raised, *split.pull_back(grad)], expected, strict=True):
        assert float((found - value).abs().max()) < 2e-5 * float(value.abs().max())


@pytest.mark.parametrize(("dtype", "n_sites"), [(torch.float64, 100_000), (torch.float32, 1000)])
def test_all_pairs_are_summed_where_that_is_exact_or_no_slower(
    dtype: torch.dtype, n_sites: int
) -> None:
    frames = surrounded(n_sites, 30.0, dtype)
    assert distant(frames.qm_positions, frames.mm_positions) is None
