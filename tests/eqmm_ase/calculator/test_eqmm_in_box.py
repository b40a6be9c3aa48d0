"""The ASE calculator in a periodic box: one energy, its derivatives, and what cannot be meant."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from calculator_kit import (
    BOX,
    ROUNDING,
    SMALL,
    assert_same_results,
    boxed,
    charges_in_box,
    embedded,
    everything,
    fresh,
    methanol,
    random_model,
    some_charges,
)

from eqmm_ase import EqMM
from eqmm_ase.calculator import boxed_models
from eqmm_ase.network.committee import Committee
from eqmm_ase.periodic.ewald import Ewald
from eqmm_ase.periodic.prediction import SurroundedModels

pytest.importorskip("finufft")

SPLITTING = 2e-5
"""eV, eV/Å, V: how far Ewald's sum may depend on where it is split; its tolerance is 1e-4 of the
potential in water."""
CUBE = 16.0 * np.eye(3)
MODELS = {
    "model": random_model,
    "long range": lambda: random_model(0, replace(SMALL, long_range=True, cutoff=2.5)),
    "committee": lambda: Committee([random_model(seed) for seed in (0, 1, 2)]),
}


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def atoms(model) -> Atoms:
    """Methanol in a triclinic box of charges, float64."""
    return boxed(model)


# --- one energy ---


def along(energy, step: float = 1e-3) -> float:
    """Derivative at 0 by central differences of fourth order."""
    at = [energy(n * step) for n in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


@pytest.fixture
def converged(monkeypatch):
    """Ewald's sum without the steps of 1e-5 eV that charges make which cross its cutoff."""
    monkeypatch.setattr(boxed_models, "Ewald", partial(Ewald, tolerance=1e-9))


@pytest.mark.slow
@pytest.mark.parametrize("cell", [CUBE, BOX], ids=["cube", "triclinic"])
@pytest.mark.parametrize("kind", MODELS)
def test_forces_potentials_and_stress_are_numerical_derivatives(kind, cell, converged):
    atoms = boxed(MODELS[kind](), cell)
    found = everything(atoms)
    handle, energy = atoms.calc.point_charges, atoms.get_potential_energy
    places, sites, charges = atoms.get_positions(), handle.positions, handle.charges
    rng = np.random.default_rng(3)
    by_atom, by_site, by_charge = (rng.normal(size=x.shape) for x in (places, sites, charges))

    def atoms_moved(t: float) -> float:
        atoms.positions = places + t * by_atom
        return energy()

    def sites_moved(t: float) -> float:
        handle.set_positions(sites + t * by_site)
        return energy()

    def charges_changed(t: float) -> float:
        handle.set_charges(charges + t * by_charge)
        return energy()

    slope = -(found["forces"] * by_atom).sum()
    assert along(atoms_moved) == pytest.approx(slope, rel=1e-4)
    atoms.positions = places
    slope = -(found["mm_forces"] * by_site).sum()
    assert along(sites_moved) == pytest.approx(slope, rel=1e-4)
    handle.set_positions(sites)
    slope = (found["mm_potential"] * by_charge).sum()
    assert along(charges_changed) == pytest.approx(slope, rel=1e-4)
    handle.set_charges(charges)

    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # Voigt's order
    volume, largest = abs(np.linalg.det(cell)), np.abs(found["stress"]).max()
    for (row, column), stress in zip(pairs, found["stress"], strict=True):
        shear = np.zeros((3, 3))
        shear[row, column] += 0.5
        shear[column, row] += 0.5

        def strained(t: float, shear: np.ndarray = shear) -> float:
            scale = np.eye(3) + t * shear
            atoms.positions = places @ scale
            handle.set_positions(sites @ scale)
            handle.set_cell(cell @ scale)
            return energy()

        assert along(strained) / volume == pytest.approx(stress, rel=1e-4, abs=1e-4 * largest)


@pytest.mark.parametrize("cell", [CUBE, BOX], ids=["cube", "triclinic"])
def test_results_are_near_those_of_the_whole_sum(model, cell, request):
    found = everything(boxed(model, cell))
    request.getfixturevalue("converged")
    exact = everything(boxed(model, cell))
    assert_same_results(found, exact, SPLITTING)
    largest = np.abs(exact["stress"]).max()
    np.testing.assert_allclose(found["stress"], exact["stress"], rtol=0, atol=1e-4 * largest)


def test_net_forces_vanish_and_periodic_atoms_repeat_the_same(atoms):
    found = everything(atoms)
    assert found["stress"].shape == (6,)
    assert_same_results(
        {"net": found["forces"].sum(axis=0) + found["mm_forces"].sum(axis=0)},
        {"net": np.zeros(3)},
        SPLITTING,
    )
    atoms.set_cell(BOX)
    atoms.pbc = True
    assert_same_results(everything(atoms), found)


def test_images_of_an_ion_have_the_energy_of_its_lattice(model):
    # −ξ k_e Q²/2L, ξ = 2.837297 for a cube in a uniform background.
    ion = methanol()
    ion.calc = EqMM(model, dtype="float64", total_charge=-1, spin_multiplicity=2)
    alone = ion.get_potential_energy()
    ion.calc.embed(None, cell=[200.0, 200.0, 200.0])
    expected = -2.837297 * 14.399645 / 400.0
    assert ion.get_potential_energy() - alone == pytest.approx(expected, rel=2e-3)


def test_in_a_large_box_the_charges_act_as_without_one(model):
    plain, periodic = embedded(model), embedded(model)
    periodic.calc.embed(*some_charges(), cell=200.0 * np.eye(3))
    # What is left is the reaction of dipoles of 1 e·Å: k_e (2π/3V) μ² is 1e-5 eV.
    assert_same_results(
        {"energy": periodic.get_potential_energy(), "forces": periodic.get_forces()},
        {"energy": plain.get_potential_energy(), "forces": plain.get_forces()},
        5e-5,
    )


def test_neither_wrapped_atoms_nor_other_images_of_charges_change_anything(atoms):
    expected = everything(atoms)
    rng = np.random.default_rng(5)
    handle = atoms.calc.point_charges
    handle.set_positions(handle.positions + rng.integers(-2, 3, (len(handle), 3)) @ BOX)
    atoms.positions[1:] += rng.integers(-2, 3, (5, 3)) @ BOX  # the first says where the cluster is
    assert_same_results(everything(atoms), expected, 1e-9)
    atoms.set_cell(BOX)
    atoms.pbc = True
    atoms.wrap()
    expected.pop("dipole")
    found = everything(atoms)
    assert_same_results({name: found[name] for name in expected}, expected, 1e-9)


def test_single_precision_agrees_with_double(atoms):
    expected = everything(atoms)
    atoms.calc.set(dtype="float32")
    found = everything(atoms)
    assert found["energy"] == pytest.approx(expected["energy"], abs=2e-4)
    for name in expected.keys() - {"energy"}:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=2e-4, err_msg=name)


def test_the_mean_of_a_committee_has_an_uncertainty():
    committee = MODELS["committee"]()
    together = boxed(committee)
    alone = [everything(boxed(member)) for member in committee.members]
    for name, value in everything(together).items():
        mean = np.mean([one[name] for one in alone], axis=0)
        np.testing.assert_allclose(value, mean, rtol=0, atol=1e-9, err_msg=name)
    energies = [one["energy"] for one in alone]
    assert together.calc.uncertainty.energy == pytest.approx(np.std(energies), rel=1e-6)


# --- what is still valid ---


CHANGES = {
    "box changed": lambda a: a.calc.point_charges.set_cell(1.02 * BOX),
    "box sheared": lambda a: a.calc.point_charges.set_cell(BOX + 0.3 * np.eye(3, k=-1)),
    "box and charges moved": lambda a: (
        a.calc.point_charges.set_cell(0.99 * BOX),
        a.calc.point_charges.set_positions(0.99 * a.calc.point_charges.positions),
    ),
    "embedded in another box": lambda a: a.calc.embed(*charges_in_box(), cell=1.1 * BOX),
    "box taken away": lambda a: a.calc.embed(*charges_in_box()),
    "charges taken away": lambda a: a.calc.embed(None, cell=BOX),
    "charges moved": lambda a: a.calc.point_charges.set_positions(
        a.calc.point_charges.positions + 0.1
    ),
    "atoms moved": lambda a: a.positions.__iadd__(0.1 * np.eye(6, 3)),
    "total charge and spin set": lambda a: a.calc.set(total_charge=1, spin_multiplicity=2),
}


@pytest.mark.parametrize("ask_first", [True, False])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_result_outlives_a_change(atoms, change, ask_first):
    before = everything(atoms) if ask_first else None
    change(atoms)
    found, expected = everything(atoms), everything(fresh(atoms))
    assert found.keys() == expected.keys()
    assert_same_results(found, expected, SPLITTING)
    if before is not None:
        assert abs(found["energy"] - before["energy"]) > 10 * SPLITTING


def test_a_box_around_charges_that_were_without_one_is_noticed(model):
    atoms = embedded(model)
    everything(atoms)
    atoms.calc.embed(*some_charges(), cell=BOX)
    assert atoms.calc.check_state(atoms) == ["embedding"]
    assert_same_results(everything(atoms), everything(fresh(atoms)))


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_a_changed_box_is_noticed_without_naming_the_atoms(atoms, name):
    everything(atoms)
    atoms.calc.point_charges.set_cell(1.02 * BOX)
    assert atoms.calc.check_state(atoms) == ["embedding"]
    found = {name: atoms.calc.get_property(name)}
    assert_same_results(found, {name: everything(fresh(atoms))[name]}, SPLITTING)


def test_boxes_given_and_returned_are_copies(atoms):
    cell = BOX.copy()
    handle = atoms.calc.embed(*charges_in_box(), cell=cell)
    expected = everything(atoms)
    cell *= 2.0
    handle.cell[...] = 1.0
    atoms.calc.reset()
    assert_same_results(everything(atoms), expected)


def test_copies_answer_the_same(atoms):
    expected = everything(atoms)
    for twin in (pickle.loads(pickle.dumps(atoms)), copy.deepcopy(atoms)):
        twin.calc.reset()
        assert_same_results(everything(twin), expected)


def test_what_was_embedded_before_does_not_matter(atoms):
    atoms.calc.embed(*charges_in_box(0.97 * BOX), cell=0.97 * BOX)
    atoms.get_potential_energy()
    atoms.calc.embed(*charges_in_box(), cell=BOX)
    assert_same_results(everything(atoms), everything(fresh(atoms)))


def test_strain_is_computed_when_it_is_asked_for_only(atoms, monkeypatch):
    asked = []
    real = SurroundedModels.__call__

    def spy(self, *args, strain=False):
        asked.append(strain)
        return real(self, *args, strain=strain)

    monkeypatch.setattr(SurroundedModels, "__call__", spy)
    energy = atoms.get_potential_energy()
    atoms.get_forces()
    assert asked == [False]
    stress = atoms.get_stress()
    atoms.get_stress()
    assert asked == [False, True]
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=ROUNDING["float64"])
    full = atoms.get_stress(voigt=False)
    np.testing.assert_array_equal(full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], stress)


def test_there_is_no_stress_without_a_box(model):
    atoms = embedded(model)
    energy = atoms.get_potential_energy()
    for _ in range(2):
        with pytest.raises(PropertyNotImplementedError, match="no stress without a periodic box"):
            atoms.get_stress()
    assert atoms.calc.get_property("stress", atoms, allow_calculation=False) is None
    assert atoms.get_potential_energy() == energy
