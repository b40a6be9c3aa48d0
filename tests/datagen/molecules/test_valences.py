"""Missing hydrogens are seen, and molecules that are complete or meant so are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from label_kit import water_in_charges

from datagen.errors import InvalidFrameError
from datagen.labels.molecule import check_frame
from datagen.molecules.valences import (
    MissingHydrogensError,
    lacking_hydrogens,
    named_atoms,
    open_valences,
    refuse_missing_hydrogens,
)
from eqmm_ase.data.frame import Frame

CARBENES = ("CH2_s1A1d", "SiH2_s1A1d")
WITHOUT_HYDROGENS = ("CO", "CN", "N2")
"""What some molecules leave are molecules, too."""


def multiplicity(atoms: Atoms) -> int:
    return 1 + round(abs(atoms.get_initial_magnetic_moments().sum()))


def missing(atoms: Atoms, charge: int = 0, spin: int | None = None) -> int:
    return lacking_hydrogens(
        atoms.numbers, atoms.positions, total_charge=charge, spin_multiplicity=spin
    )[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in g2.names if n not in (*CARBENES, "Si2")])
def test_molecules_are_complete_as_they_are(name):
    atoms = molecule(name)
    spin = multiplicity(atoms)
    assert missing(atoms, spin=spin if spin > 1 else None) == 0


@pytest.mark.parametrize("name", [n for n in g2.names if "H" in n and len(molecule(n)) > 3])
def test_molecules_without_their_hydrogens_are_not(name):
    bare = molecule(name)
    bare = bare[bare.numbers > 1]
    if str(bare.symbols) not in WITHOUT_HYDROGENS and len(bare):
        assert missing(bare) > 0


@pytest.mark.parametrize("name", ["C6H6", "CH3CH2OH", "C5H5N", "CH3CONH2", "C2H4", "C3H8"])
def test_two_missing_hydrogens_are_seen(name):
    atoms = molecule(name)
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    del atoms[hydrogens[:2].tolist()]
    assert missing(atoms) > 0


@pytest.mark.parametrize("name", CARBENES)
def test_a_carbene_is_one_when_its_spin_is_given(name):
    assert missing(molecule(name)) == 2
    assert missing(molecule(name), spin=1) == 0
    assert missing(molecule(name), spin=3) == 0


def ferrocene() -> Atoms:
    turns = np.arange(5) * 2 * np.pi / 5
    ring = np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    places = [r * ring + [0, 0, z] for z in (1.66, -1.66) for r in (1.21, 2.29)]
    return Atoms("C5H5C5H5Fe", np.concatenate([*places, np.zeros((1, 3))]))


def aqua_ion() -> Atoms:
    atoms = Atoms("Fe", np.zeros((1, 3)))
    for axis, sign in np.ndindex(3, 2):
        out, beside = np.zeros(3), np.zeros(3)
        out[axis], beside[(axis + 1) % 3] = (1, -1)[sign], 1.0
        atoms += Atoms("OH2", [2.1 * out, 2.68 * out + 0.77 * beside, 2.68 * out - 0.77 * beside])
    return atoms


def exchange_of_chloride(distance: float) -> Atoms:
    atoms = molecule("CH3Cl")[[0, 2, 3, 4]]
    atoms.positions -= atoms.positions.mean(axis=0) * [0, 0, 1]
    atoms.positions[:, 2] = 0.0  # planar, as in the transition state
    return atoms + Atoms("Cl2", [[0, 0, distance], [0, 0, -distance]])


@pytest.mark.parametrize(
    ("atoms", "charge", "spin"),
    [
        (ferrocene(), 0, None),
        (ferrocene(), 1, 2),
        (aqua_ion(), 2, 5),
        (Atoms("Cl"), -1, None),
        (Atoms("Zn"), 2, None),
        (Atoms("O"), 0, 3),
        (exchange_of_chloride(2.3), -1, None),
        (exchange_of_chloride(2.6), -1, None),
        (molecule("C60"), 0, None),
        (molecule("NH3") + Atoms("HCl", [[0, 0, 1.2], [0, 0, 3.0]]), 0, None),
    ],
)
def test_complexes_ions_and_reactions_are_complete(atoms, charge, spin):
    assert missing(atoms, charge, spin) == 0


@pytest.mark.parametrize(("atoms", "charge", "spin"), [(ferrocene(), 0, None), (aqua_ion(), 2, 5)])
def test_metal_complexes_without_hydrogens_are_not(atoms, charge, spin):
    assert missing(atoms[atoms.numbers > 1], charge, spin) > 0


def test_an_ion_has_one_open_valence_a_charge():
    methoxide = molecule("CH3OH")
    del methoxide[3]  # of the oxygen
    assert open_valences(methoxide.numbers, methoxide.positions).tolist() == [0, 1, 0, 0, 0]
    assert missing(methoxide, charge=-1) == 0
    assert missing(methoxide, spin=2) == 0
    assert missing(methoxide) == 1


def test_vibrations_open_no_valences():
    random = np.random.default_rng(1)
    for name in ("C6H6", "CH3CONH2", "C4H4O", "CH3NO2", "H2CCO"):
        atoms = molecule(name)
        for _ in range(20):
            moved = atoms.positions + random.normal(scale=0.015, size=atoms.positions.shape)
            assert lacking_hydrogens(atoms.numbers, moved)[1] == 0, name


def test_a_stretched_double_bond_is_no_missing_hydrogen():
    ethylene = molecule("C2H4")
    ethylene.positions[:, 2] *= 1.15  # 1.53 Å, planar as before
    assert not open_valences(ethylene.numbers, ethylene.positions).any()


def test_known_bonds_are_taken_instead_of_distances():
    ethane = molecule("C2H6")[:2]
    assert open_valences(ethane.numbers, ethane.positions).tolist() == [3, 3]
    assert open_valences(ethane.numbers, ethane.positions, np.zeros((0, 2))).tolist() == [4, 4]


def test_the_sentence_names_atoms_and_a_remedy():
    bare = molecule("C6H6")[:6]
    with pytest.raises(MissingHydrogensError, match=r"b.pdb .* C0, C1, .* AddHs.*--multiplicity"):
        refuse_missing_hydrogens(
            bare.numbers, [bare.positions], name="b.pdb", total_charge=0, spin_multiplicity=None
        )
    assert named_atoms(np.full(9, 6), np.arange(9)).endswith("C5 and 3 more")


def test_one_complete_geometry_of_a_reaction_is_enough():
    whole, apart = molecule("C2H6"), molecule("C2H6")
    apart.positions[[1, 5, 6, 7]] += 4.0 * (apart.positions[1] - apart.positions[0])
    given = {"name": "scan", "total_charge": 0, "spin_multiplicity": None}
    refuse_missing_hydrogens(whole.numbers, [apart.positions, whole.positions], **given)


def test_a_region_without_hydrogens_becomes_no_label():
    bare = molecule("CH3CH2OH")
    bare = bare[bare.numbers > 1]
    with pytest.raises(InvalidFrameError, match=r"lacks hydrogen atoms: C0, C1, O2"):
        check_frame(Frame(bare.numbers, bare.positions))
    check_frame(replace(water_in_charges(1)))
    carbene = molecule("CH2_s1A1d")
    check_frame(Frame(carbene.numbers, carbene.positions))
