"""The reference method as an ASE calculator."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from datagen.labels.calculator import ReferenceCalculator
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame

CHARGES = np.array([-0.8, 0.4, 0.4])
SITES = np.array([[0.0, 0.0, 3.0], [0.8, 0.0, 3.6], [-0.8, 0.0, 3.6]])


@pytest.fixture(scope="module")
def method() -> Method:
    return Method(functional="hf", basis="sto-3g")


@pytest.fixture
def water(method: Method) -> Atoms:
    atoms = molecule("H2O")
    atoms.calc = ReferenceCalculator(method, CHARGES, SITES)
    return atoms


def test_results_are_the_labels_of_the_same_frame(water: Atoms, method: Method) -> None:
    frame = Frame(water.numbers, water.positions, SITES, CHARGES)
    label = label_frame(frame, method).frame
    assert water.get_potential_energy() == pytest.approx(label.energy, abs=1e-9)
    np.testing.assert_allclose(water.get_forces(), label.qm_forces, atol=1e-6)
    np.testing.assert_allclose(water.get_charges(), label.charges["mulliken"], atol=1e-6)
    np.testing.assert_allclose(water.get_dipole_moment(), label.dipole, atol=1e-6)


def test_a_second_geometry_does_not_remember_the_first(water: Atoms, method: Method) -> None:
    water.get_potential_energy()
    water.rattle(0.1, seed=1)
    fresh = label_frame(Frame(water.numbers, water.positions, SITES, CHARGES), method).frame
    assert water.get_potential_energy() == pytest.approx(fresh.energy, abs=1e-8)


def test_no_charges_mean_gas_phase(method: Method) -> None:
    atoms = molecule("H2O")
    atoms.calc = ReferenceCalculator(method)
    label = label_frame(Frame(atoms.numbers, atoms.positions), method).frame
    assert atoms.get_potential_energy() == pytest.approx(label.energy, abs=1e-9)


def test_charge_and_spin_reach_the_calculation(method: Method) -> None:
    atoms = molecule("H2O")
    atoms.calc = ReferenceCalculator(
        method, total_charge=1, spin_multiplicity=2, charge_scheme="lowdin"
    )
    assert atoms.get_charges().sum() == pytest.approx(1.0, abs=1e-6)


def test_charge_and_spin_of_the_atoms_are_taken_and_their_change_is_noticed(method: Method) -> None:
    atoms = molecule("OH")
    atoms.set_initial_magnetic_moments(None)
    atoms.calc = ReferenceCalculator(method)
    atoms.info.update(charge=-1, spin=1)
    anion = atoms.get_potential_energy()
    assert atoms.get_charges().sum() == pytest.approx(-1.0, abs=1e-6)
    atoms.info.update(charge=0, spin=2)
    assert atoms.get_potential_energy() != pytest.approx(anion, abs=0.1)
    assert atoms.get_charges().sum() == pytest.approx(0.0, abs=1e-6)
