"""Charge and spin of atoms as other programs write them: read, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from calculator_kit import methanol, random_model

from eqmm_ase import EqMM
from eqmm_ase.data.charge_and_spin import StateError, set_state, spin_multiplicity_of, states_of

WATER, METHYL, OXYGEN = molecule("H2O"), molecule("CH3"), molecule("O2")


def state(atoms: Atoms, info: dict | None = None, **given: int) -> tuple[int, int]:
    atoms = atoms.copy()
    atoms.set_initial_magnetic_moments(None)
    atoms.info = dict(info or {})
    return tuple(states_of([atoms], name="a.xyz", options=("--charge", "--spin"), **given)[0])


@pytest.mark.parametrize(
    ("atoms", "info", "expected"),
    [
        (WATER, {}, (0, 1)),
        (WATER, {"total_charge": 1, "spin_multiplicity": 2}, (1, 2)),  # EqMM
        (WATER, {"charge": -2, "spin": 1}, (-2, 1)),  # OMol25, fairchem, MACE-POLAR
        (WATER, {"charge": 0, "spin": 3}, (0, 3)),
        (WATER, {"total_charge": -1.0, "total_spin": 2.0}, (-1, 2)),  # MACE
        (METHYL, {"charge": 0, "uhf": 1}, (0, 2)),  # xtb
        (METHYL, {"num_unpaired_electrons": 3}, (0, 4)),
        (METHYL, {"total_charge": 0, "multiplicity": 2, "total_spin": 0.5}, (0, 2)),  # SO3krates
        (METHYL, {"spin": 1}, (0, 2)),  # PySCF's 2S: no doublet is 2S + 1 = 1
        (WATER, {"spin": 0}, (0, 1)),
        (METHYL, {"spin": 1.5}, (0, 4)),  # S
        (WATER, {"Charge": "+1", "MULT": np.int64(2)}, (1, 2)),
        (WATER, {"charge": np.array([2]), "tot_charge": 2.0}, (2, 1)),
        (WATER, {"charge": None, "charges": [1.0, 2.0]}, (0, 1)),
    ],
)
def test_keys_of_other_programs_are_read(atoms, info, expected):
    assert state(atoms, info) == expected


@pytest.mark.parametrize(
    ("atoms", "info", "given", "sentence"),
    [
        (WATER, {"total_charge": 0, "charge": -2}, {}, "total_charge=0 contradicts charge=-2"),
        (WATER, {"charge": -1}, {"total_charge": 0}, "charge=-1 contradicts --charge 0"),
        (WATER, {"spin": 1}, {"spin_multiplicity": 3}, "spin=1 contradicts --spin 3"),
        (METHYL, {"uhf": 1, "multiplicity": 4}, {}, "multiplicity=4 contradicts uhf=1"),
        (METHYL, {"multiplicity": 2, "spin": 4}, {}, "multiplicity=2 contradicts spin=4"),
        (WATER, {"spin": 2}, {}, r"spin=2 does not fit as 2S \+ 1, and may be 2S or S"),
        (METHYL, {"spin": 0}, {}, "spin=0 fits 9 electrons .* neither as"),
        (WATER, {"charge": 0.5}, {}, "charge=0.5 is not a whole number"),
        (WATER, {"charge": True}, {}, "charge=True is not a number"),
        (WATER, {"charge": float("nan")}, {}, "charge=nan is not a number"),
        (WATER, {"charge": [0.1, 0.2]}, {}, "is not a number"),
        (METHYL, {}, {}, "has 9 electrons, an odd number.*set --charge or --spin"),
    ],
)
def test_contradictions_are_refused_by_name(atoms, info, given, sentence):
    with pytest.raises(StateError, match=f"^a.xyz: .*{sentence}") as raised:
        state(atoms, info, **given)
    assert "\n" not in str(raised.value)


def test_a_spin_that_may_mean_two_things_is_settled_by_the_user():
    assert state(WATER, {"spin": 2}, spin_multiplicity=3) == (0, 3)


def test_all_images_of_a_file_mean_the_same_by_spin():
    images = [molecule("H2O"), molecule("H2O")]
    images[0].info["spin"], images[1].info["spin"] = 0, 1
    assert [s.spin_multiplicity for s in states_of(images)] == [1, 3]  # S in both
    images[1].info["spin"] = 3
    with pytest.raises(StateError, match="the file: spin=3 fits 10 electrons"):
        states_of(images, name="the file")
    images[1].info = {"charge": 1, "total_charge": 0}
    with pytest.raises(StateError, match="the file, image 1: total_charge=0 contradicts"):
        states_of(images, name="the file")


@pytest.mark.parametrize(
    ("charges", "moments", "given", "expected"),
    [
        ([-0.8, 0.4, 0.4], None, {}, (0, 1)),
        ([-1.812, 0.404, 0.404], [0.2, 0.4, 0.4], {}, (-1, 2)),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], {}, (0, 1)),
        (None, [2.0, 0.0, 0.0], {}, (0, 3)),
        (None, [1.0, -1.0, 0.0], {}, (0, 1)),
        ([-1.6, 0.4, 0.4], None, {"total_charge": 0}, (0, 1)),  # of some force field
        (None, [1.3, 0.0, 0.0], {"spin_multiplicity": 3}, (0, 3)),
    ],
)
def test_initial_charges_and_moments_say_it_by_their_sums(charges, moments, given, expected):
    atoms = molecule("H2O")
    if charges is not None:
        atoms.set_initial_charges(charges)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    assert tuple(states_of([atoms], **given)[0]) == expected


@pytest.mark.parametrize(
    ("info", "charges", "moments", "sentence"),
    [
        ({}, [-1.6, 0.4, 0.4], None, "the sum -0.800 of the initial charges, no whole number"),
        ({"charge": 0}, [-1.8, 0.4, 0.4], None, "charge=0 contradicts the sum -1.000"),
        ({}, None, [1.0, 0.0, 0.0], r"\+1.000 of the initial magnetic moments, which 10 electrons"),
        ({"spin": 1}, None, [2.0, 0.0, 0.0], r"spin=1 contradicts the sum \+2.000"),
    ],
)
def test_sums_that_contradict_or_say_nothing_are_refused(info, charges, moments, sentence):
    atoms = molecule("H2O")
    atoms.info = info
    atoms.set_initial_charges(charges)
    atoms.set_initial_magnetic_moments(moments)
    with pytest.raises(StateError, match=sentence):
        states_of([atoms])


def test_computed_charges_of_atoms_must_add_up_to_the_total_charge():
    atoms = molecule("H2O")
    atoms.set_array("REF_charges", np.array([-2.2, 0.1, 0.1]))
    assert states_of([atoms])[0].total_charge == 0
    with pytest.raises(StateError, match=r"-2.000 of the atoms' REF_charges .* of \+0; set"):
        states_of([atoms], by_charges=True)
    atoms.info["charge"] = -2
    assert states_of([atoms], by_charges=True)[0].total_charge == -2


def test_a_state_that_is_set_is_the_only_one():
    atoms = molecule("H2O")
    atoms.info = {"Charge": 0, "spin": 1, "source": "a"}
    set_state(atoms, states_of([WATER], total_charge=1, spin_multiplicity=2)[0])
    assert atoms.info == {"source": "a", "total_charge": 1, "spin_multiplicity": 2}


def test_moments_of_ase_make_oxygen_a_triplet():
    assert spin_multiplicity_of(OXYGEN, 0) == 3


# --- in the calculator ---


@pytest.fixture
def atoms() -> Atoms:
    atoms = methanol()
    atoms.calc = EqMM(random_model(), dtype="float64")
    return atoms


def test_the_calculator_takes_the_charge_of_other_programs_and_sees_it_change(atoms):
    neutral = atoms.get_potential_energy()
    atoms.info.update(charge=1, spin=2)
    cation = atoms.get_potential_energy()
    assert cation != neutral
    assert atoms.get_charges().sum() == pytest.approx(1.0, abs=1e-9)
    atoms.info.clear()
    assert atoms.get_potential_energy() == neutral
    atoms.set_initial_charges([1.0, 0, 0, 0, 0, 0])
    atoms.set_initial_magnetic_moments([1.0, 0, 0, 0, 0, 0])
    assert atoms.get_potential_energy() == cation
    atoms.calc.set(total_charge=0, spin_multiplicity=1)  # counts whatever the atoms say
    assert atoms.get_potential_energy() == neutral


def test_the_calculator_says_what_to_set_charge_and_spin_by(atoms):
    atoms.info["charge"] = 1
    with pytest.raises(
        ValueError, match=r"an odd number.*total_charge= .*info\[\"total_charge\"\]"
    ):
        atoms.get_potential_energy()
    atoms.info["total_charge"] = 0
    with pytest.raises(StateError, match=r"contradicts charge=1.*total_charge= \(--total-charge\)"):
        atoms.get_potential_energy()
