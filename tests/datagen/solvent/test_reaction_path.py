"""Reaction coordinates, and the biased dynamics that makes geometries along them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces

from datagen.solvent.reaction_path import CoordinateBias, PathError, PathSettings, sweep_path
from eqmm_ase.simulation.coordinate import Coordinate, CoordinateError

SYMMETRIC_STRETCH = Coordinate.parse("d(0,1)-d(0,2)")


@pytest.fixture
def water() -> Atoms:
    return Atoms("OH2", [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def test_a_coordinate_is_a_signed_sum_of_distances(water):
    coordinate = Coordinate.parse(" d(0, 1) - d(0,2)+d(1,2) ")
    expected = water.get_distance(0, 1) - water.get_distance(0, 2) + water.get_distance(1, 2)
    assert coordinate.value(water.positions) == pytest.approx(expected, abs=1e-12)


def test_the_gradient_is_that_of_the_value(water):
    gradient, step = SYMMETRIC_STRETCH.gradient(water.positions), 1e-5
    for atom, axis in np.ndindex(3, 3):
        shift = np.zeros((3, 3))
        shift[atom, axis] = step
        up = SYMMETRIC_STRETCH.value(water.positions + shift)
        down = SYMMETRIC_STRETCH.value(water.positions - shift)
        assert gradient[atom, axis] == pytest.approx((up - down) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("text", ["", "d(0,1)d(0,2)", "2*d(0,1)", "d(0)", "d(1,1)", "angle(0,1,2)"])
def test_a_text_that_is_no_coordinate_is_refused(text):
    with pytest.raises(CoordinateError):
        Coordinate.parse(text)


def test_an_atom_that_is_not_there_is_named(water):
    with pytest.raises(CoordinateError, match="atom 7"):
        Coordinate.parse("d(0,7)").check_atoms(len(water))


def test_bias_forces_are_derivatives_of_its_energy_also_after_its_centre_moved(water):
    water.calc = CoordinateBias(SYMMETRIC_STRETCH, 0.5)
    water.get_forces()
    water.calc.centre = -0.3
    numerical = calculate_numerical_forces(water, eps=1e-4)
    np.testing.assert_allclose(water.get_forces(), numerical, atol=1e-6)


@pytest.fixture(scope="module")
def sweeps() -> list[Atoms]:
    pytest.importorskip("tblite")
    water = Atoms("OH2", [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    settings = PathSettings(-0.3, 0.3, sweeps=2, frames=5, interval=0.02, temperatures=(300.0,))
    return sweep_path(water, SYMMETRIC_STRETCH, settings)


@pytest.mark.slow
def test_sweeps_go_there_and_back(sweeps):
    values = np.array([atoms.info["coordinate"] for atoms in sweeps])
    assert [atoms.info["source"] for atoms in sweeps] == ["sweep-0"] * 5 + ["sweep-1"] * 5
    # 0.07 Å is the thermal width of the bias alone; four of it is an outlier in 16 000.
    np.testing.assert_allclose(values[:5], np.linspace(values[0], -values[0], 5), atol=0.3)
    assert np.sign(values[0]) == -np.sign(values[4]) == -np.sign(values[5]) == np.sign(values[9])


@pytest.mark.slow
def test_charges_of_geometries_sum_to_the_total_charge(sweeps):
    for atoms in sweeps:
        assert atoms.get_initial_charges().sum() == pytest.approx(0.0, abs=1e-6)
        assert atoms.get_initial_charges()[0] < -0.3


@pytest.mark.slow
def test_equal_seeds_give_equal_geometries(sweeps, water):
    settings = PathSettings(-0.3, 0.3, sweeps=1, frames=2, interval=0.075, temperatures=(300.0,))
    pytest.importorskip("tblite")
    first, again = (sweep_path(water, SYMMETRIC_STRETCH, settings) for _ in range(2))
    # With several threads GFN2-xTB adds in another order each time: 2e-13 Å after these steps.
    # Another seed makes 0.1 Å.
    np.testing.assert_allclose(first[-1].positions, again[-1].positions, rtol=0.0, atol=1e-8)
    (other,) = sweep_path(water, SYMMETRIC_STRETCH, replace(settings, seed=settings.seed + 1))[-1:]
    assert np.abs(other.positions - first[-1].positions).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stop": -1.0}, "begins and ends"),
        ({"sweeps": 0}, "sweeps is 0"),
        ({"interval": 0.0}, "interval is 0"),
        ({"temperatures": ()}, "temperatures"),
    ],
)
def test_settings_without_sense_are_refused(changes, sentence):
    with pytest.raises(PathError, match=sentence):
        PathSettings(**{"start": -1.0, "stop": 1.0, **changes})
