"""The ASE calculator: right numbers whatever was asked before."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.test import gradient_test
from calculator_kit import (
    ROUNDING,
    assert_same_results,
    embedded,
    everything,
    fresh,
    methanol,
    numerical_mm_gradient,
    random_model,
    some_charges,
)

from eqmm_ase import EqMM, Frame, FrameBatch
from eqmm_ase.network.prediction import predict
from eqmm_ase.network.traced import TracedModels


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def atoms(model) -> Atoms:
    """Methanol in twelve charges, float64."""
    return embedded(model)


def test_results_are_those_of_the_model(atoms, model):
    handle = atoms.calc.point_charges
    frame = Frame(atoms.numbers, atoms.positions, handle.positions, handle.charges)
    expected = predict(copy.deepcopy(model).double(), FrameBatch.from_frames([frame]))
    found = everything(atoms)
    # 1e-9: the calculator moves the origin, and atomic energies are 10³ eV in float64.
    assert found["energy"] == pytest.approx(float(expected.energy[0]), abs=1e-9)
    for name, value in (
        ("forces", expected.qm_forces),
        ("charges", expected.charges),
        ("dipole", expected.dipole[0]),
        ("mm_forces", expected.mm_forces),
        ("mm_potential", expected.mm_potential),
    ):
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)


def test_dipole_of_an_ion_is_about_the_coordinate_origin(model):
    ion = methanol()
    ion.calc = EqMM(model, dtype="float64", total_charge=1, spin_multiplicity=2)
    before = ion.get_dipole_moment()
    ion.translate((1.0, -2.0, 3.0))
    np.testing.assert_allclose(ion.get_dipole_moment() - before, (1.0, -2.0, 3.0), atol=1e-9)


def test_forces_are_the_numerical_gradient(atoms):
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=0, atol=1e-6)


def test_gradient_test_of_ase(atoms, capsys):
    analytical, numerical = gradient_test(atoms, indices=[1])
    assert capsys.readouterr().out.startswith(" " * 13 + "eps")
    assert abs(analytical - numerical).max() < 1e-4  # its last step is 1e-8 Å: rounding


@pytest.mark.slow
def test_mm_forces_and_potential_are_numerical_gradients(atoms):
    handle = atoms.calc.point_charges
    numerical = numerical_mm_gradient(handle, handle.positions, atoms.get_potential_energy)
    np.testing.assert_allclose(atoms.calc.mm_forces, -numerical, rtol=0, atol=1e-6)

    charges, potential = handle.charges, atoms.calc.mm_potential
    for k in (0, 5):
        energies = []
        for sign in (1, -1):
            moved = charges.copy()
            moved[k] += sign * 1e-4
            handle.set_charges(moved)
            energies.append(atoms.get_potential_energy())
        assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(potential[k], abs=1e-6)


def test_float32_agrees_with_float64_far_from_the_origin(atoms):
    reference = everything(atoms)
    away = np.array([300.0, -200.0, 100.0])
    atoms.positions += away
    atoms.calc.point_charges.set_positions(atoms.calc.point_charges.positions + away)
    atoms.calc.set(dtype="float32")
    # float32 positions at 300 Å are wrong by 3e-5 Å, which alone would be 1e-3 eV/Å.
    assert_same_results({"forces": atoms.get_forces()}, {"forces": reference["forces"]}, tol=2e-4)
    assert atoms.get_potential_energy() == pytest.approx(reference["energy"], abs=1e-4)


def test_nothing_is_computed_twice(atoms, monkeypatch):
    calls = []
    real = TracedModels.__call__
    monkeypatch.setattr(TracedModels, "__call__", lambda *a: calls.append(1) or real(*a))
    everything(atoms)
    everything(atoms)
    assert len(calls) == 1


CHANGES = {
    "atoms moved": lambda a: a.positions.__iadd__(0.1 * np.eye(6, 3)),
    "charges moved": lambda a: a.calc.point_charges.set_positions(
        a.calc.point_charges.positions * 1.1
    ),
    "charges changed": lambda a: a.calc.point_charges.set_charges(
        a.calc.point_charges.charges * 0.5
    ),
    "embedded anew": lambda a: a.calc.embed(*some_charges(5, seed=9)),
    "charges removed": lambda a: a.calc.embed(None),
    "total charge and spin set": lambda a: a.calc.set(total_charge=1, spin_multiplicity=2),
    "total charge and spin in info": lambda a: a.info.update(total_charge=-1, spin_multiplicity=2),
    "element changed": lambda a: a.numbers.__setitem__(slice(4, 6), 8),
    "float32": lambda a: a.calc.set(dtype="float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("ask_first", [True, False])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_result_outlives_a_change(atoms, change, ask_first):
    if ask_first:
        everything(atoms)
    change(atoms)
    tol = ROUNDING[atoms.calc.parameters["dtype"]]
    assert_same_results(everything(atoms), everything(fresh(atoms)), tol)


@pytest.mark.parametrize("name", ["energy", "forces", "charges", "dipole"])
def test_moved_charges_are_noticed_without_naming_the_atoms(atoms, name):
    everything(atoms)
    handle = atoms.calc.point_charges
    handle.set_positions(handle.positions * 1.1)
    assert_same_results(
        {name: atoms.calc.get_property(name)}, {name: everything(fresh(atoms))[name]}
    )


def test_mm_forces_follow_atoms_moved_since_the_last_energy(atoms):
    atoms.get_potential_energy()
    atoms.positions[0] += 0.2
    found = atoms.calc.mm_forces
    assert_same_results({"mm_forces": found}, {"mm_forces": everything(fresh(atoms))["mm_forces"]})


def test_moved_charges_are_reported_by_check_state(atoms):
    atoms.get_potential_energy()
    assert atoms.calc.check_state(atoms) == []
    assert not atoms.calc.calculation_required(atoms, ["energy", "forces"])
    handle = atoms.calc.point_charges
    handle.set_positions(handle.positions + 1e-9)
    assert atoms.calc.check_state(atoms) == ["embedding"]
    assert atoms.calc.calculation_required(atoms, ["energy"])
    atoms.positions[0, 0] += 1e-9
    assert atoms.calc.check_state(atoms) == ["positions", "embedding"]


def test_the_order_of_questions_does_not_matter(atoms):
    expected = everything(fresh(atoms))
    other_way = fresh(atoms)
    other_way.get_dipole_moment()
    backwards = {
        "mm_potential": other_way.calc.mm_potential,
        "mm_forces": other_way.calc.mm_forces,
        "dipole": other_way.get_dipole_moment(),
        "charges": other_way.get_charges(),
        "forces": other_way.get_forces(),
        "energy": np.array(other_way.get_potential_energy()),
    }
    assert_same_results(backwards, expected)


def test_results_are_copies_that_may_be_written_to(atoms):
    expected = everything(fresh(atoms))
    for array in (
        atoms.get_forces(),
        atoms.get_charges(),
        atoms.get_dipole_moment(),
        atoms.calc.mm_forces,
        atoms.calc.mm_potential,
        atoms.calc.point_charges.get_forces(atoms.calc),
        atoms.calc.point_charges.positions,
        atoms.calc.point_charges.charges,
    ):
        array[...] = 7.0
    assert_same_results(everything(atoms), expected)
    atoms.calc.reset()
    assert_same_results(everything(atoms), expected)


def test_charges_given_are_copied(atoms):
    charges, positions = some_charges()
    atoms.calc.embed(charges, positions)
    expected = everything(atoms)
    charges *= 2
    positions += 1
    atoms.calc.reset()
    assert_same_results(everything(atoms), expected)


def test_a_failed_calculation_leaves_no_results(atoms):
    everything(atoms)
    atoms.positions[0, 0] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match="NaN"):
            atoms.get_forces()
    assert atoms.calc.results == {}
    atoms.positions[0, 0] = 0.0
    assert_same_results(everything(atoms), everything(fresh(atoms)))


def test_a_failed_direct_calculation_is_not_taken_for_an_answer(atoms):
    everything(atoms)
    broken = atoms.copy()
    broken.positions[0] = broken.positions[1]
    with pytest.raises(ValueError, match="0 Å apart"):
        atoms.calc.calculate(broken)
    with pytest.raises(ValueError, match="0 Å apart"):
        atoms.calc.get_forces(broken)


def test_two_molecules_can_share_a_calculator(model):
    calc = EqMM(model, dtype="float64")
    pair = [methanol(), molecule("H2O")]
    for one in pair:
        one.calc = calc
    energies = [one.get_potential_energy() for one in pair]
    assert [one.get_potential_energy() for one in pair] == energies
    assert calc.get_charges().shape == (3,)
