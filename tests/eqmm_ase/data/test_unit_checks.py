"""Numbers in another unit are refused or warned about; unusual ones in the right unit pass."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from calculator_kit import methanol, random_model
from places import DATA

from eqmm_ase import EqMM, read_frames, read_structure
from eqmm_ase.calculator.point_charges import PointCharges
from eqmm_ase.data.unit_checks import qm_positions
from eqmm_ase.files.structures import StructureError
from eqmm_ase.units import BOHR

COULOMB = 1.602176634e-19


def liquid(name: str, charges: list[float], count: int = 40, spacing: float = 4.0):
    """Molecules in random orientations on a grid: charges (n,) e, positions (n, 3) Å."""
    rng = np.random.default_rng(0)
    one = molecule(name)
    one.positions -= one.positions.mean(axis=0)
    positions = []
    for cell in np.ndindex(4, 4, 4):
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        positions.append(one.positions + spacing * np.array(cell))
    return np.tile(charges, count), np.concatenate(positions[:count])


WATER = liquid("H2O", [-0.834, 0.417, 0.417])
METHANOL = liquid("CH3OH", [0.12, -0.6, 0.05, 0.35, 0.04, 0.04])
CHLOROFORM = liquid("HCCl3", [-0.04, 0.22, -0.06, -0.06, -0.06], spacing=5.0)
ACETONITRILE = liquid("CH3CN", [-0.45, 0.48, -0.51, 0.16, 0.16, 0.16], spacing=5.0)


@pytest.mark.parametrize("liquid", [WATER, METHANOL, CHLOROFORM, ACETONITRILE])
def test_liquids_in_angstrom_and_e_pass(liquid):
    PointCharges(*liquid)


@pytest.mark.parametrize(("unit", "size"), [("bohr", 1 / BOHR), ("nm", 0.1), ("pm", 100.0)])
@pytest.mark.parametrize("count", [2, 40])
def test_water_in_another_unit_is_refused(unit, size, count):
    charges, positions = (values[: 3 * count] for values in WATER)
    with pytest.raises(ValueError, match=rf"in {unit}\b"):
        PointCharges(charges, size * positions)


@pytest.mark.parametrize(("unit", "size"), [("bohr", 1 / BOHR), ("pm", 100.0)])
def test_other_molecules_in_another_unit_are_warned_about(unit, size):
    with pytest.warns(UserWarning, match=f"as hydrogens do in {unit}; are the positions in Å"):
        PointCharges(METHANOL[0], size * METHANOL[1])


def test_four_sites_of_water_in_bohr_are_refused():
    positions = WATER[1]
    oxygen, first, second = positions[0::3], positions[1::3], positions[2::3]
    bearer = oxygen + 0.13 * ((first + second) / 2 - oxygen)
    sites = np.stack([oxygen, first, second, bearer], axis=1).reshape(-1, 3)
    values = np.tile([0.0, 0.52, 0.52, -1.04], len(oxygen))
    PointCharges(values, sites)
    with pytest.raises(ValueError, match="in bohr"):
        PointCharges(values, sites / BOHR)


@pytest.mark.parametrize("liquid", [WATER, METHANOL])
def test_charges_in_coulomb_are_refused(liquid):
    with pytest.raises(ValueError, match=r"the largest is .*e-\d+; are they in coulomb"):
        PointCharges(COULOMB * liquid[0], liquid[1])


def test_charges_in_ambers_unit_are_refused_or_warned_about():
    with pytest.raises(ValueError, match="are they in another unit"):
        PointCharges(18.2223 * WATER[0], WATER[1])
    with pytest.warns(UserWarning, match=r"have charges of \+2.92 e, which hydrogens never have"):
        PointCharges(18.2223 * ACETONITRILE[0], ACETONITRILE[1])


def test_what_is_unusual_but_may_be_meant_passes():
    rng = np.random.default_rng(1)
    grid = np.argwhere(np.ones((4, 4, 4))) * 1.0
    signs = (-1.0) ** grid.sum(axis=1)
    united = METHANOL[1][0::6], METHANOL[1][1::6], METHANOL[1][3::6]  # CH3, O, H
    for charges, positions in (
        (np.full(64, 1e-4), 1.9 * grid),  # test charges
        (2.0 * signs, 2.1 * grid),  # a crystal of formal charges
        (signs * 1e-8, 3.0 * grid),  # nearly switched off
        (rng.choice([-1.0, 1.0], 20), rng.uniform(-20, 20, (20, 3))),  # ions
        (np.array([1.0, -1.0]), np.array([[5.0, 0, 0], [6.8, 0, 0]])),  # one ion pair
        (np.tile([0.265, -0.7, 0.435], 40), np.stack(united, axis=1).reshape(-1, 3)),
        (np.zeros(64), 1e-3 * grid[:64] + np.arange(64)[:, None]),
        (np.array([0.4]), np.array([[0.0, 0, 5.0]])),
    ):
        PointCharges(charges, positions)


def test_labelled_frames_and_random_charges_pass(methanol_file):
    for file in (methanol_file, DATA / "flagship.h5"):
        for frame in read_frames(file):
            PointCharges(frame.mm_charges, frame.mm_positions)
            assert qm_positions(frame.atomic_numbers, np.asarray(frame.qm_positions)) == ""


def test_moved_charges_are_not_judged_again():
    handle = PointCharges(*WATER)
    handle.set_positions(WATER[1] / BOHR)  # a unit does not change during a run


def test_a_charges_file_in_another_unit_is_named(tmp_path):
    methanol().write(tmp_path / "molecule.xyz")
    charges, positions = WATER
    for values, sites, unit in (
        (charges, positions / BOHR, "bohr"),
        (COULOMB * charges, positions, "coulomb"),
    ):
        np.savetxt(tmp_path / "charges.txt", np.column_stack([values, sites]))
        with pytest.raises(StructureError, match=rf"charges\.txt: .*{unit}"):
            read_structure(tmp_path / "molecule.xyz", tmp_path / "charges.txt")


@pytest.mark.parametrize("name", ["CH3OH", "C6H6", "H2O", "CH3CONH2", "CH3Cl"])
def test_qm_positions_in_bohr_are_noticed(name):
    atoms = molecule(name)
    assert qm_positions(atoms.numbers, atoms.positions) == ""
    assert "as in bohr" in qm_positions(atoms.numbers, atoms.positions / BOHR)
    assert "as in pm" in qm_positions(atoms.numbers, 100 * atoms.positions)


def test_bonds_that_break_are_not_taken_for_another_unit():
    atoms = molecule("CH3Cl")
    atoms.set_distance(0, 1, 3.5, fix=0)
    assert qm_positions(atoms.numbers, atoms.positions) == ""
    pair = molecule("H2")
    pair.positions *= 3
    assert qm_positions(pair.numbers, pair.positions) == ""


def test_the_calculator_warns_of_qm_positions_in_bohr_once():
    atoms = methanol(0.0)
    atoms.positions /= BOHR
    atoms.calc = EqMM(random_model())
    with pytest.warns(UserWarning, match="as in bohr"):
        atoms.get_potential_energy()
    atoms.rattle(1e-3)
    atoms.get_potential_energy()  # a second warning would be an error
