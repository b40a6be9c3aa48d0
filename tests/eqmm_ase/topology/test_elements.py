"""Elements from what a topology says: masses, names, types, numbers and bonds, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers

from eqmm_ase.topology.elements import NOT_GIVEN, find_elements


@dataclass
class Molecule:
    """Names, symbols and bonds; everything else follows."""

    names: list[str]
    symbols: list[str]
    bonds: list[tuple[int, int]]
    residue: str = "LIG"
    kinds: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> np.ndarray:
        return np.array([atomic_numbers[symbol] for symbol in self.symbols])

    def masses(self, hydrogen: float = 1.008, conserve: bool = True) -> np.ndarray:
        """u; hydrogens of another mass, taken from their partners or not."""
        masses = np.round(atomic_masses[self.numbers], 3)
        for i, j in self.bonds:
            for h, x in ((i, j), (j, i)):
                if self.symbols[h] == "H" and self.symbols[x] != "H":
                    masses[h] = hydrogen
                    masses[x] -= conserve * (hydrogen - 1.008)
        return masses

    def found(self, masses: np.ndarray, numbers: object = NOT_GIVEN, **changes: object):
        n = len(self.names)
        names = changes.get("names", self.names)
        kinds = changes.get("kinds", self.kinds or [""] * n)
        return find_elements(
            masses,
            np.broadcast_to(np.asarray(numbers), (n,)),
            names,
            kinds,
            [self.residue if n > 1 else ""] * n,
            np.array(changes.get("bonds", self.bonds), dtype=int).reshape(-1, 2),
            np.zeros(n, dtype=bool),
        )


METHANOL = Molecule(
    ["C1", "O1", "H1", "H2", "H3", "HO"],
    ["C", "O", "H", "H", "H", "H"],
    [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)],
    kinds=["CG331", "OG311", "HGA3", "HGA3", "HGA3", "HGP1"],
)
WATER = Molecule(["OW", "HW1", "HW2"], ["O", "H", "H"], [(0, 1), (0, 2), (1, 2)], "SOL")
METHANE = Molecule(["C", "H1", "H2", "H3", "H4"], ["C", *"HHHH"], [(0, i) for i in range(1, 5)])
METHYLAMMONIUM = Molecule(
    ["CA", "NE", "HA", "HB", "HG", "HE", "HF", "HO"],  # also calcium, neon, mercury, helium …
    ["C", "N", *"HHHHHH"],
    [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (1, 7)],
)
IMINE = Molecule(["N1", "H1"], ["N", "H"], [(0, 1)])  # repartitioned, N has the mass of C
THIOL = Molecule(["SG", "HG", "CB"], ["S", "H", "C"], [(0, 1), (0, 2)])


@pytest.mark.parametrize("hydrogen", [1.0, 1.008, 1.5, 3.024, 4.0])
@pytest.mark.parametrize("molecule", [METHANOL, WATER, METHANE, METHYLAMMONIUM, IMINE, THIOL])
def test_repartitioned_masses_keep_their_elements(molecule, hydrogen):
    numbers, doubts = molecule.found(molecule.masses(hydrogen))
    np.testing.assert_array_equal(numbers, molecule.numbers)
    assert doubts == {}


@pytest.mark.parametrize("molecule", [METHANOL, WATER, METHANE, METHYLAMMONIUM])
def test_heavy_hydrogen_is_hydrogen(molecule):
    """Deuterium and tritium, whose mass comes from nowhere."""
    for isotope in (2.014, 3.016):
        numbers, doubts = molecule.found(molecule.masses(isotope, conserve=False))
        np.testing.assert_array_equal(numbers, molecule.numbers)
        assert doubts == {}


def test_names_that_say_nothing_leave_it_to_masses_and_bonds():
    numbers, doubts = METHANOL.found(METHANOL.masses(3.024), names=["X"] * 6, kinds=["Q"] * 6)
    np.testing.assert_array_equal(numbers, METHANOL.numbers)
    assert doubts == {}


def test_two_readings_of_a_mass_without_a_name_are_a_doubt():
    """N of 11.99 u with H of 3.02 u: repartitioned, or carbon with tritium."""
    numbers, doubts = IMINE.found(IMINE.masses(3.024), names=["X1", "X2"])
    assert numbers[1] == 1
    assert doubts.keys() == {0}
    assert "is that of C or N (14.007 u before hydrogen mass repartitioning)" in doubts[0]
    assert "its name names no element" in doubts[0]


@pytest.mark.parametrize(
    ("name", "symbol", "mass"),
    [
        ("CA", "Ca", 40.08),
        ("CAL", "Ca", 40.08),
        ("Na+", "Na", 22.99),
        ("SOD", "Na", 22.98977),
        ("CLA", "Cl", 35.45),
        ("Cl-", "Cl", 35.45),
        ("POT", "K", 39.0983),
        ("ZN", "Zn", 65.37),
        ("FE", "Fe", 55.0),
        ("HG", "Hg", 200.59),
        ("CD", "Cd", 112.41),
        ("NI", "Ni", 58.69),
        ("CO", "Co", 58.93),
        ("BR", "Br", 79.904),
        ("I", "I", 126.9),
        ("SE", "Se", 78.96),
        ("U", "U", 238.03),
    ],
)
def test_ions_and_metals_are_not_carbon(name, symbol, mass):
    lone = Molecule([name], [symbol], [])
    numbers, doubts = lone.found(np.array([mass]))
    np.testing.assert_array_equal(numbers, lone.numbers)
    assert doubts == {}


@pytest.mark.parametrize(
    ("molecule", "masses", "numbers", "evidence"),
    [
        (Molecule(["CH3", "CH2"], ["C", "C"], [(0, 1)]), [15.035, 14.027], NOT_GIVEN, "atom CH3"),
        (Molecule(["C1", "C2"], ["C", "C"], [(0, 1)]), [14.027, 15.035], 6, "united atom CH2"),
        (Molecule(["CH4"], ["C"], []), [16.043], NOT_GIVEN, "united atom CH4"),
        (Molecule(["BB", "SC1"], ["C", "S"], [(0, 1)]), [54.0, 72.0], NOT_GIVEN, "fits no element"),
        (
            Molecule(["SC1", "SC2"], ["C", "C"], [(0, 1)]),
            [45.0, 45.0],
            NOT_GIVEN,
            "fits no element",
        ),
        (Molecule(["R1", "R2"], ["C", "C"], [(0, 1)]), [44.96, 44.96], NOT_GIVEN, "is that of Sc"),
        (Molecule(["CA", "CB"], ["C", "C"], [(0, 1)]), [1.0, 1.0], NOT_GIVEN, "reads as C or Ca"),
        (Molecule(["C1", "C2"], ["C", "C"], [(0, 1)]), [32.06, 12.011], NOT_GIVEN, "is that of S"),
        (Molecule(["C1", "C2"], ["C", "C"], [(0, 1)]), [32.06, 12.011], 6, "is that of S"),
        (Molecule(["C1", "C2"], ["C", "C"], [(0, 1)]), [5.963, 12.011], 3, "number is Li"),
        (Molecule(["C1", "N1"], ["C", "N"], [(0, 1)]), [np.nan, 14.007], NOT_GIVEN, "has no mass"),
        (Molecule(["DHB", "CB"], ["H", "C"], [(0, 1)]), [1.008, 12.011], 1, "is no dummy"),
    ],
)
def test_contradictions_are_doubts_that_name_the_evidence(molecule, masses, numbers, evidence):
    kinds = ["DUM_HC", "CT"] if "dummy" in evidence else [""] * len(masses)
    _, doubts = molecule.found(np.array(masses), numbers, kinds=kinds)
    assert 0 in doubts
    assert evidence.replace("is no dummy", "a dummy atom") in doubts[0]
    assert ";" in doubts[0]  # and what to do


def test_elements_in_the_file_hold_for_isotopes_and_frozen_atoms():
    for masses in ([18.0, 1.008, 1.008], [0.0, 0.0, 0.0], [100.0, 100.0, 100.0]):
        numbers, doubts = WATER.found(np.array(masses), WATER.numbers)
        np.testing.assert_array_equal(numbers, WATER.numbers)
        assert doubts == {}


def test_elements_that_a_program_made_from_repartitioned_masses_are_refused():
    wrong = np.array([3, 7, 2, 2, 2, 2])  # Li N He4
    numbers, doubts = METHANOL.found(METHANOL.masses(3.024), wrong)
    assert doubts.keys() == set(range(6))
    np.testing.assert_array_equal(numbers, METHANOL.numbers)  # does for classical atoms
    assert "its atomic number is Li" in doubts[0]


def test_numbers_that_some_atoms_lack_are_found():
    given = np.array([6, NOT_GIVEN, 0, 1, NOT_GIVEN, 0])
    numbers, doubts = METHANOL.found(METHANOL.masses(3.024), given)
    np.testing.assert_array_equal(numbers, METHANOL.numbers)
    assert doubts == {}


def test_in_a_standard_residue_the_first_letter_is_the_element():
    """Frozen atoms of a PDB without elements: only names are left."""
    names = ["N", "CA", "HG", "NE", "OD1", "SD", "1HB"]
    alone = Molecule(names, ["N", "C", "H", "N", "O", "S", "H"], [], "MET")
    numbers, doubts = alone.found(np.zeros(7))
    np.testing.assert_array_equal(numbers, alone.numbers)
    assert doubts == {}
    alone.residue = "LIG"
    assert alone.found(np.zeros(7))[1].keys() == set(range(7))


def test_an_atom_with_more_bonds_than_it_makes_is_a_doubt():
    """The two side chains of a dual topology hang on one carbon."""
    names = ["CA", "N", "C", "HA", "CBA", "CBB"]
    dual = Molecule(names, ["C", "N", "C", "H", "C", "C"], [(0, i) for i in range(1, 6)])
    numbers, doubts = dual.found(dual.masses())
    assert doubts.keys() == {0}
    assert "C with 5 bonds" in doubts[0]
    np.testing.assert_array_equal(numbers, dual.numbers)


def test_a_metal_centre_may_have_many_bonds():
    ends = [(0, i) for i in range(1, 7)]
    haem = Molecule(["FE", "NA", "NB", "NC", "ND", "NE2", "O1"], ["Fe", *"NNNNNO"], ends, "HEM")
    numbers, doubts = haem.found(np.array([55.0, *[14.007] * 5, 15.999]))
    np.testing.assert_array_equal(numbers, haem.numbers)
    assert doubts == {}
    carborane = Molecule(["C1", "H1", *(f"B{k}" for k in range(5))], ["C", "H", *"BBBBB"], ends)
    assert carborane.found(carborane.masses())[1] == {}
