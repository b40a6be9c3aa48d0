"""The whole periodic box: forces of an energy that repeats, and the cluster as its limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import water_in_charges

from datagen.errors import InvalidFrameError
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from scripts.benchmarks.periodic_embedding import label_in_periodic_box

CHEAP = Method(functional="hf", basis="sto-3g", density_fit=False, conv_tol=1e-12)
CELL = np.diag([14.0, 15.0, 16.0])


@pytest.fixture(scope="module")
def frame() -> Frame:
    """A water among twelve charges that add up to nothing."""
    frame = water_in_charges(n_charges=12)
    return replace(frame, mm_charges=frame.mm_charges - frame.mm_charges.mean(), cell=CELL)


@pytest.mark.parametrize("dispersion", [None, "d3bj"])
def test_forces_are_derivatives_of_the_periodic_energy(frame, dispersion):
    method = replace(CHEAP, dispersion=dispersion)
    direction = np.random.default_rng(2).normal(size=(3, 3))
    forces = label_in_periodic_box(frame, method).qm_forces
    energies = [
        label_in_periodic_box(
            replace(frame, qm_positions=frame.qm_positions + step * direction), method
        ).energy
        for step in (2e-4, -2e-4)
    ]
    slope = (energies[0] - energies[1]) / 4e-4
    assert -(forces * direction).sum() == pytest.approx(slope, abs=1e-4)


def test_it_does_not_matter_which_image_of_a_charge_is_given(frame):
    shifts = np.random.default_rng(1).integers(-1, 2, (frame.n_mm, 3)) @ CELL
    here = label_in_periodic_box(frame, CHEAP)
    there = label_in_periodic_box(replace(frame, mm_positions=frame.mm_positions + shifts), CHEAP)
    # The direct radius lets different images act on the density itself: not the same to rounding.
    np.testing.assert_allclose(there.qm_forces, here.qm_forces, atol=2e-3)
    assert there.energy == pytest.approx(here.energy, abs=2e-3)


def test_a_large_box_is_a_cluster_and_a_small_one_is_not(frame):
    alone = label_frame(frame, CHEAP).frame.qm_forces
    large = label_in_periodic_box(replace(frame, cell=np.diag([60.0, 60.0, 60.0])), CHEAP)
    small = label_in_periodic_box(frame, CHEAP)
    assert np.abs(large.qm_forces - alone).max() < 3e-3
    assert np.abs(small.qm_forces - alone).max() > 3e-2


def test_density_fitting_is_left_out(frame):
    fitted = label_in_periodic_box(frame, replace(CHEAP, density_fit=True))
    exact = label_in_periodic_box(frame, CHEAP).qm_forces
    np.testing.assert_allclose(fitted.qm_forces, exact, rtol=0, atol=1e-7)  # fitting: 1e-3


def test_boxes_that_do_not_fit_are_sentences(frame):
    skewed = CELL + np.diag([3.0, 0.0], 1)
    for cell in (None, skewed):
        with pytest.raises(InvalidFrameError, match="expected a rectangular box"):
            label_in_periodic_box(replace(frame, cell=cell), CHEAP)
    with pytest.raises(InvalidFrameError, match=r"too far for a box with an edge of 2.0 Å"):
        label_in_periodic_box(replace(frame, cell=np.eye(3) * 2.0), CHEAP)
