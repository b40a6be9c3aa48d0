"""The benchmark of periodic tensors: its water, its figures, its errors."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.benchmarks import benchmark_periodic
from scripts.benchmarks.benchmark_inference import small


def test_its_water_has_the_density_and_the_shape_that_it_says() -> None:
    places = small().positions
    sites, cell = benchmark_periodic.water(places, 1500)
    assert len(sites) == 1500
    assert abs(len(sites) / np.linalg.det(cell) - benchmark_periodic.DENSITY) < 1e-9
    molecules = sites.reshape(-1, 3, 3)
    bonds = np.linalg.norm(molecules[:, 1:] - molecules[:, :1], axis=2)
    np.testing.assert_allclose(bonds, 0.9572, atol=1e-9)
    distances = np.linalg.norm(sites[:, None] - places, axis=2)
    assert distances.min() > benchmark_periodic.NEAREST


@pytest.mark.slow
def test_it_measures_every_part_and_the_errors() -> None:
    result = benchmark_periodic.benchmark(counts=[1500], tolerance=1e-4, repetitions=1)
    assert [row["n_qm"] for row in result["systems"]] == [6, 22]
    for row in result["systems"]:
        times = {**row["tensors"], **row["parts"], **row["beside"]}
        assert len(times) == 13
        assert all(one["fastest_ms"] > 0.0 for one in times.values())
        assert max(row["errors"]["tensors"]) < 1e-3
        assert row["errors"]["mm_gradient"] < 1e-3
