"""ML regions that are long for their box: right, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calculator_kit import SMALL, random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from system_kit import dipeptide_in_water, methanol_in_water  # noqa: E402

from eqmm_ase.engines.classical_system import ClassicalSystemError  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import box_of  # noqa: E402
from eqmm_ase.periodic.cell import BoxTooSmallError  # noqa: E402
from eqmm_ase.periodic.images import ImagesTooNearError  # noqa: E402
from eqmm_ase.periodic.region_in_box import RegionInBox  # noqa: E402

ONE, TWO = np.array([0, 0, 0]), np.array([0, 0, 1])
OCTAHEDRON = 20.0 * np.array([[1.0, 0, 0], [1 / 3, np.sqrt(8) / 3, 0], [-1 / 3, 2**0.5 / 3, 0]])
OCTAHEDRON[2, 2] = 20.0 * np.sqrt(6) / 3


def chain(length: float) -> np.ndarray:
    """Three atoms on a line."""
    return np.array([[0.0, 0, 0], [length / 2, 0, 0], [length, 0, 0]])


def test_molecules_stay_within_half_of_the_box_as_their_neighbours_are_else_a_guess() -> None:
    cell = np.diag([20.0, 30.0, 30.0])
    RegionInBox(TWO, None).check(chain(9.9), cell)
    RegionInBox(ONE, None).check(chain(15.0), cell)
    RegionInBox(TWO, None).check(chain(14.9)[:, [1, 0, 2]], cell)
    with pytest.raises(BoxTooSmallError, match=r"spans 10\.1 Å of a box that is 20\.0 Å wide"):
        RegionInBox(TWO, None).check(chain(10.1), cell)


@pytest.mark.parametrize("cell", [np.diag([20.0, 20.0, 20.0]), OCTAHEDRON])
def test_a_region_keeps_a_cutoff_from_its_images(cell) -> None:
    # Along a lattice vector of 20 Å, so that its ends are 20 Å less its length apart.
    RegionInBox(ONE, 8.0).check(chain(11.9), cell)
    with pytest.raises(ImagesTooNearError, match=r"within 7\.9 Å of its own .* cutoff is 8 Å"):
        RegionInBox(ONE, 8.0).check(chain(12.1), cell)


@pytest.mark.slow
@pytest.mark.parametrize("electrostatics", ["ewald", "cutoff"])
def test_one_molecule_longer_than_half_the_box_is_the_same_however_it_is_wrapped(
    electrostatics,
) -> None:
    topology, system, positions = dipeptide_in_water(17.0, nonbondedCutoff=0.8)
    mixed = mixed_system(
        topology,
        system,
        range(22),
        random_model(config=replace(SMALL, elements=(1, 6, 7, 8))),
        electrostatics=electrostatics,
        switch=(5.0, 6.5),
        dtype="float64",
    )
    cell = box_of(mixed.system)
    stretched = positions.copy()
    stretched[18:22] += np.array([0.0, 1.5, 0.0])
    assert np.ptp(stretched[:22], axis=0).max() > 0.5 * cell[0, 0]
    expected = mixed.potential(stretched, cell)
    shifts = np.random.default_rng(1).integers(-1, 2, stretched.shape)
    found = mixed.potential(stretched + shifts @ cell, cell)
    assert found.energy == pytest.approx(expected.energy, abs=1e-6)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-6)


def test_the_reach_of_charges_must_fit_the_system() -> None:
    topology, system, _, ml = methanol_in_water(20.0)
    with pytest.raises(ClassicalSystemError, match=r"periodic; take 'ewald' or 'cutoff'"):
        mixed_system(topology, system, ml, random_model(), electrostatics="all")
    topology, system, _, ml = methanol_in_water(20.0, method=app.NoCutoff)
    with pytest.raises(ClassicalSystemError, match=r"no box; take 'cutoff' or 'all'"):
        mixed_system(topology, system, ml, random_model(), electrostatics="ewald")
