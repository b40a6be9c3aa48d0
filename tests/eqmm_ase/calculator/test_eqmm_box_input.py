"""The ASE calculator in a periodic box: what is given for a box, and what cannot be meant."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import Atoms
from calculator_kit import (
    BOX,
    assert_same_results,
    boxed,
    charges_in_box,
    embedded,
    everything,
    fresh,
    methanol,
    random_model,
)

from eqmm_ase import ContactError
from eqmm_ase.periodic.images import ImagesTooNearError

pytest.importorskip("finufft")


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def atoms(model) -> Atoms:
    """Methanol in a triclinic box of charges, float64."""
    return boxed(model)


@pytest.mark.parametrize(
    "cell", [[16.0, 17.0, 18.0], [16.0, 17.0, 18.0, 90.0, 90.0, 90.0], np.diag([16.0, 17.0, 18.0])]
)
def test_a_box_is_vectors_or_lengths_or_lengths_and_angles(model, cell):
    atoms = boxed(model, np.diag([16.0, 17.0, 18.0]))
    expected = everything(atoms)
    atoms.calc.embed(*charges_in_box(np.diag([16.0, 17.0, 18.0])), cell=cell)
    atoms.calc.reset()
    assert_same_results(everything(atoms), expected)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ([1.0, 2.0], "cell must be three lattice vectors as rows, three lengths"),
        ("cube", "cell must be three lattice vectors as rows, three lengths"),
        ([20.0, 20.0, 20.0, 10.0, 10.0, 90.0], "cell must be three lattice vectors as rows, three"),
        ([20.0, 20.0, 0.0], "do not span a volume"),
        (np.full((3, 3), np.nan), "do not span a volume"),
        (methanol().cell, "do not span a volume"),
        ([1.6, 1.6, 1.6], "charges are to fill a cell of 4.1 Å³, .*nm instead of Å"),
    ],
)
def test_what_is_no_box_is_refused_and_leaves_the_old_one(atoms, cell, sentence):
    expected = everything(atoms)
    for give in (
        lambda: atoms.calc.embed(*charges_in_box(), cell=cell),
        lambda: atoms.calc.point_charges.set_cell(cell),
    ):
        with pytest.raises(ValueError, match=sentence):
            give()
    assert_same_results(everything(atoms), expected)


def test_a_handle_without_a_box_gets_none(model):
    atoms = embedded(model)
    with pytest.raises(ValueError, match="these charges have no periodic box: give embed"):
        atoms.calc.point_charges.set_cell(BOX)
    assert atoms.calc.point_charges.cell is None


def test_a_replaced_handle_refuses_another_box(atoms):
    old = atoms.calc.point_charges
    atoms.calc.embed(*charges_in_box(), cell=BOX)
    with pytest.raises(RuntimeError, match="no longer in use"):
        old.set_cell(BOX)


def test_a_box_without_finufft_says_what_to_install(atoms, monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(ImportError, match=r"need finufft; install it with pip install 'eqmm\[per"):
        atoms.calc.embed(*charges_in_box(), cell=BOX)


def test_a_box_is_refused_on_other_devices(atoms):
    atoms.calc.parameters["device"] = "cuda"
    with pytest.raises(ValueError, match="computed on the CPU, but device is 'cuda': set it to"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("cell", "pbc", "sentence"),
    [
        (1.001 * BOX, True, "repeat in a cell of .* in one of .*: give both the same"),
        (
            16.0 * np.eye(3),
            True,
            r"in a cell of 16 × 16 × 16 Å, and the MM charges around them in one of \[",
        ),
        (BOX, (True, True, False), "periodic along some directions .* set atoms.pbc to True"),
    ],
)
def test_atoms_that_repeat_otherwise_than_the_charges_are_refused(atoms, cell, pbc, sentence):
    atoms.set_cell(cell)
    atoms.pbc = pbc
    with pytest.raises(ValueError, match=sentence):
        atoms.get_potential_energy()


def test_a_box_that_moves_is_followed_by_both(atoms):
    atoms.set_cell(BOX)
    atoms.pbc = True
    atoms.get_potential_energy()
    atoms.set_cell(1.01 * BOX, scale_atoms=True)
    with pytest.raises(ValueError, match="give both the same"):
        atoms.get_potential_energy()
    atoms.calc.point_charges.set_cell(atoms.cell)
    assert_same_results(everything(atoms), everything(fresh(atoms)), 2e-5)  # of Ewald's sum


def test_images_of_the_region_that_touch_it_are_refused(atoms):
    atoms.calc.embed(None, cell=[6.0, 20.0, 20.0])
    with pytest.raises(ImagesTooNearError, match="from a periodic image of QM atom"):
        atoms.get_potential_energy()


def test_contacts_across_the_boundary_count(atoms):
    place = atoms.positions[1] + [0.0, 0.0, 0.45] - BOX.sum(axis=0)
    handle = atoms.calc.embed([0.1, 0.3], [[7.0, 7.0, 7.0], place], cell=BOX)
    with pytest.raises(ContactError, match=r"MM charge 1 \(\+0.3 e\) is 0.\d\d Å from QM atom 1"):
        atoms.get_potential_energy()
    atoms.calc.set(contacts="warn")
    with pytest.warns(UserWarning, match="MM charge 1 "):
        atoms.get_potential_energy()
    handle.set_positions([[7.0, 7.0, 7.0], place - [0.0, 0.0, 0.4]])
    with pytest.raises(
        ValueError, match=r"MM site 1, or an image of it, is 0\.05 Å from QM atom 1"
    ):
        atoms.get_potential_energy()


def test_atoms_on_images_of_each_other_are_refused(atoms):
    atoms.positions[3] = atoms.positions[0] + BOX[1]
    with pytest.raises(ValueError, match=r"QM atoms 0 and 3 are .* apart"):
        atoms.get_potential_energy()
