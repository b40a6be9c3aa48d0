"""Compiled sums of harmonics over pairs against torch's, whose harmonics have another recursion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eqmm_ase.kernels import pair_sums
from eqmm_ase.kernels.pair_sums import _BLOCK, sum_over_atoms, sum_over_sites
from eqmm_ase.network.expansion import sum_over_atoms_in_blocks, sum_over_sites_in_blocks

N_ATOMS, N_COLUMNS = 3, 2


def configuration(n_sites: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Atoms near the origin, and sites 4 to 10 Å away from it."""
    directions = torch.nn.functional.normalize(torch.randn(n_sites, 3, dtype=torch.float64))
    distances = 4.0 + 6.0 * torch.rand(n_sites, 1, dtype=torch.float64)
    return torch.randn(N_ATOMS, 3, dtype=torch.float64), directions * distances


@pytest.mark.parametrize("n_sites", [0, 1, _BLOCK, 2 * _BLOCK + 1])
@pytest.mark.parametrize("l_max", [0, 1, 4, 6])
def test_sums_over_sites_are_those_of_torch(l_max: int, n_sites: int) -> None:
    atoms, sites = configuration(n_sites)
    weights = torch.randn(N_COLUMNS, n_sites, dtype=torch.float64)
    found = sum_over_sites(atoms.numpy(), sites.T.contiguous().numpy(), weights.numpy(), l_max)
    expected = sum_over_sites_in_blocks(atoms, sites, weights, l_max)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_sites", [0, 1, _BLOCK, 2 * _BLOCK + 1])
@pytest.mark.parametrize("l_max", [0, 1, 4, 6])
def test_sums_over_atoms_are_those_of_torch(l_max: int, n_sites: int) -> None:
    atoms, sites = configuration(n_sites)
    columns = torch.randn(N_COLUMNS, (l_max + 1) ** 2, N_ATOMS, dtype=torch.float64)
    found = sum_over_atoms(atoms.numpy(), sites.T.contiguous().numpy(), columns.numpy(), l_max)
    expected = sum_over_atoms_in_blocks(atoms, sites, columns, l_max)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-12, atol=1e-12)


def test_sums_of_many_sites_in_single_precision_keep_its_digits() -> None:
    atoms, sites = configuration(200_000)
    weights = torch.rand(1, 200_000, dtype=torch.float64)  # of one sign: a long sum of equals
    arrays = atoms.numpy(), sites.T.contiguous().numpy(), weights.numpy()
    exact = sum_over_sites(*arrays, 0)
    rounded = sum_over_sites(*(x.astype(np.float32) for x in arrays), 0)
    np.testing.assert_allclose(rounded, exact, rtol=1e-7)


def test_a_site_that_is_not_a_number_is_not_hidden() -> None:
    atoms, sites = configuration(5)
    sites[2, 1] = np.nan
    arrays = atoms.numpy(), sites.T.contiguous().numpy(), np.ones((1, 5))
    assert np.isnan(sum_over_sites(*arrays, 2)[1:]).all()


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(*, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(pair_sums.compiled.__globals__["numba"], "njit", njit)
    assert pair_sums.compiled(len) is len
