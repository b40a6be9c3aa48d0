"""Molecules from SMILES and files: the right atoms, charge and spin, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

pytest.importorskip("rdkit")

from datagen.molecules.solute import SoluteError, read_solute
from datagen.solvent.force_field import why_not_covered

WATER_XYZ = "3\nwater\nO 0.0 0.0 0.117\nH 0.0 0.757 -0.469\nH 0.0 -0.757 -0.469\n"
ACETATE_XYZ = """7

C 0.0 0.0 0.0
C 1.52 0.0 0.0
O 2.10 1.12 0.0
O 2.10 -1.12 0.0
H -0.38 1.02 0.0
H -0.38 -0.51 0.89
H -0.38 -0.51 -0.89
"""


def _write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_smiles_becomes_all_atoms_in_three_dimensions():
    methanol = read_solute("CO")
    assert sorted(methanol.symbols) == ["C", "H", "H", "H", "H", "O"]
    assert (methanol.total_charge, methanol.spin_multiplicity) == (0, 1)
    carbon, oxygen = (methanol.positions[methanol.symbols.index(symbol)] for symbol in "CO")
    assert np.linalg.norm(carbon - oxygen) == pytest.approx(1.42, abs=0.03)
    assert 1.4 < methanol.extent < 1.7


def test_equal_seeds_give_equal_geometries():
    np.testing.assert_array_equal(
        read_solute("CCO", seed=3).positions, read_solute("CCO", seed=3).positions
    )


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"),
    [("CC(=O)[O-]", -1, 1), ("C[NH3+]", 1, 1), ("[CH3]", 0, 2), ("[NH3+]CC(=O)[O-]", 0, 1)],
)
def test_charge_and_multiplicity_follow_from_the_smiles(smiles, charge, multiplicity):
    solute = read_solute(smiles)
    assert (solute.total_charge, solute.spin_multiplicity) == (charge, multiplicity)


def test_xyz_keeps_its_geometry_and_gets_bonds(tmp_path):
    water = read_solute(_write(tmp_path, "water.xyz", WATER_XYZ))
    np.testing.assert_array_equal(water.atomic_numbers, [8, 1, 1])
    np.testing.assert_allclose(water.positions[1], [0.0, 0.757, -0.469])
    assert water.name == "water"
    assert water.mol_block.splitlines()[3].split()[:2] == ["3", "2"]  # atoms, bonds


def test_xyz_of_an_ion_needs_its_charge(tmp_path):
    path = _write(tmp_path, "acetate.xyz", ACETATE_XYZ)
    assert read_solute(path, total_charge=-1).total_charge == -1


def test_sdf_and_pdb_written_by_rdkit_give_the_same_molecule(tmp_path):
    from rdkit import Chem

    ethanol = read_solute("CCO")
    molecule = Chem.MolFromMolBlock(ethanol.mol_block, removeHs=False)
    paths = [tmp_path / "ethanol.sdf", tmp_path / "ethanol.mol", tmp_path / "ethanol.pdb"]
    paths[0].write_text(ethanol.mol_block + "$$$$\n")
    paths[1].write_text(ethanol.mol_block)
    paths[2].write_text(Chem.MolToPDBBlock(molecule))
    for path in paths:
        again = read_solute(str(path))
        np.testing.assert_array_equal(again.atomic_numbers, ethanol.atomic_numbers)
        np.testing.assert_allclose(again.positions, ethanol.positions, atol=1e-3)  # pdb's digits
        assert again.mol_block.splitlines()[3].split()[:2] == ["9", "8"]


@pytest.mark.parametrize(
    ("molecule", "sentence"),
    [
        ("C((", "neither a SMILES string"),
        ("", "neither a SMILES string"),
        ("no/such/file.xyz", "no structure file"),
        ("CO.O", "unconnected parts"),
    ],
)
def test_what_is_no_molecule_is_refused(molecule, sentence):
    with pytest.raises(SoluteError, match=sentence):
        read_solute(molecule)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("broken.xyz", "3\n\nO 0 0\n", "announces 3 atoms; 1 lines follow"),
        ("prose.pdb", "It is not here.\n", "holds no atoms"),
        ("empty.sdf", "", "holds no atoms"),
        ("water.cif", WATER_XYZ, "unknown type"),
        ("acetate.xyz", ACETATE_XYZ, r"total charge \+0 has 31 electrons.*--charge"),
        ("methane.mol", "C", "expected a mol file"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_name(tmp_path, name, text, sentence):
    path = _write(tmp_path, name, text)
    with pytest.raises(SoluteError, match=sentence) as raised:
        read_solute(path)
    assert name in str(raised.value)


def test_a_flat_or_hydrogenless_file_is_refused(tmp_path):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    flat = Chem.AddHs(Chem.MolFromSmiles("CO"))
    AllChem.Compute2DCoords(flat)
    path = _write(tmp_path, "flat.mol", Chem.MolToMolBlock(flat))
    with pytest.raises(SoluteError, match="no three-dimensional coordinates"):
        read_solute(path)
    bare = Chem.RemoveHs(Chem.MolFromMolBlock(read_solute("CO").mol_block, removeHs=False))
    path = _write(tmp_path, "bare.mol", Chem.MolToMolBlock(bare))
    with pytest.raises(SoluteError, match="lacks hydrogen"):
        read_solute(path)


def test_charge_and_spin_that_contradict_the_molecule_are_refused():
    with pytest.raises(SoluteError, match=r"sum to \+0; found a charge of \+1"):
        read_solute("CO", total_charge=1)
    with pytest.raises(SoluteError, match=r"18 electrons.*multiplicity 2"):
        read_solute("CO", spin_multiplicity=2)


# --- hydrogens ---


def _xyz(atoms: Atoms) -> str:
    rows = [
        f"{symbol} {x:.6f} {y:.6f} {z:.6f}"
        for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    return "\n".join([str(len(atoms)), "", *rows, ""])


def _pdb(smiles: str, kept: Callable[[Any], bool]) -> str:
    """A molecule without some of its hydrogens, those that are not kept."""
    from rdkit import Chem

    molecule = Chem.MolFromMolBlock(read_solute(smiles).mol_block, removeHs=False)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    edited = Chem.RWMol(molecule)
    for atom in reversed(list(molecule.GetAtoms())):
        if atom.GetSymbol() == "H" and not kept(atom):
            edited.RemoveAtom(atom.GetIdx())
    return Chem.MolToPDBBlock(edited.GetMol())


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        (lambda _: False, "C1 .*, C2 .*, O1"),
        (lambda atom: atom.GetNeighbors()[0].GetSymbol() == "O", "C1 .*, C2"),  # united atoms
    ],
)
def test_a_file_without_hydrogens_is_refused_by_its_atoms(tmp_path, kept, named):
    path = _write(tmp_path, "bare.pdb", _pdb("CCO", kept))
    with pytest.raises(SoluteError, match=f"bare.pdb lacks hydrogen atoms: {named}.*AddHs"):
        read_solute(path)


def test_an_odd_rest_of_a_molecule_is_not_taken_for_a_radical(tmp_path):
    """C6O of phenol has an even number of electrons, C6N of aniline an odd one."""
    aniline = _write(tmp_path, "aniline.pdb", _pdb("Nc1ccccc1", lambda _: False))
    for spin in (None, 2):
        with pytest.raises(SoluteError, match="lacks hydrogen atoms"):
            read_solute(aniline, spin_multiplicity=spin)


@pytest.mark.parametrize("smiles", ["[C]", "[CH2]", "C[C]C", "[O]", "c1[c]cc[c]c1"])
def test_atoms_in_brackets_that_lack_hydrogens_are_refused(smiles):
    with pytest.raises(SoluteError, match=r"electrons unpaired.*write the hydrogens"):
        read_solute(smiles)


@pytest.mark.parametrize("spin", [1, 3])
def test_a_carbene_is_read_when_its_spin_is_given(tmp_path, spin):
    path = _write(tmp_path, "carbene.xyz", _xyz(molecule("CH2_s1A1d")))
    assert read_solute(path, spin_multiplicity=spin).spin_multiplicity == spin
    assert read_solute("[CH2]", spin_multiplicity=spin).spin_multiplicity == spin
    with pytest.raises(SoluteError, match=r"C0 has open valences.*radical or carbene"):
        read_solute(path)


def test_hydrogens_that_a_file_rules_out_are_missing_all_the_same(tmp_path):
    from rdkit import Chem

    bare = Chem.RemoveHs(Chem.MolFromMolBlock(read_solute("c1ccccc1").mol_block, removeHs=False))
    lines = Chem.MolToMolBlock(bare).splitlines()
    lines[4:10] = [f"{line[:48]}  3{line[51:]}" for line in lines[4:10]]  # valence 3
    with pytest.raises(SoluteError, match="leaves 6 electrons unpaired"):
        read_solute(_write(tmp_path, "valence.mol", "\n".join(lines)))


def test_open_valences_are_accepted_when_asked_for(tmp_path):
    path = _write(tmp_path, "ring.xyz", _xyz(molecule("C6H6")[:6]))
    assert len(read_solute(path, open_valences=True).atomic_numbers) == 6


# --- radicals, complexes, and what else no closed shell describes ---


def test_radicals_are_read_with_their_spin_or_told_to_have_one(tmp_path):
    path = _write(tmp_path, "nitroxide.xyz", _xyz(molecule("NO")))
    radical = read_solute(path, spin_multiplicity=2)
    assert (radical.total_charge, radical.spin_multiplicity) == (0, 2)
    assert "spin multiplicity of 2" in why_not_covered(radical)
    with pytest.raises(SoluteError, match=r"NO with total charge \+0 has 15 electrons, an odd"):
        read_solute(path)
    assert "unpaired electron at C0" in read_solute("[CH3]").notes[0]


def test_complexes_are_read_without_bond_orders(tmp_path):
    nickel = Atoms("Ni", [[0, 0, 0]])
    for corner in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]):
        out = np.array(corner) / np.sqrt(3)
        nickel += Atoms("CO", [1.84 * out, 2.98 * out])
    complex_ = read_solute(_write(tmp_path, "nickel.xyz", _xyz(nickel)))
    assert complex_.atomic_numbers.tolist() == nickel.numbers.tolist()
    assert "no parameters for Ni" in why_not_covered(complex_)
    assert "a closed shell is assumed for Ni" in complex_.notes[0]
    assert complex_.extent == pytest.approx(2.98, abs=0.01)


CARBONATE = Atoms("CO3", [[0, 0, 0], [1.29, 0, 0], [-0.645, 1.117, 0], [-0.645, -1.117, 0]])


def test_the_charge_that_bonds_fit_is_named(tmp_path):
    path = _write(tmp_path, "carbonate.xyz", _xyz(CARBONATE))
    with pytest.raises(SoluteError, match=r"charge of \+0 fit .*, but those of -2 do"):
        read_solute(path)
    assert why_not_covered(read_solute(path, total_charge=-2)) is None
    held = read_solute(path, total_charge=0)  # the user may know better
    assert "no bonds with a total charge of +0" in why_not_covered(held)


def test_oxygen_is_said_to_be_a_triplet(tmp_path):
    assert "triplet" in read_solute("O=O").notes[0]
    assert read_solute("O=O", spin_multiplicity=3).notes == ()


# --- charge, spin and geometry in files ---


def test_a_file_says_charge_and_spin_and_the_user_may_not_contradict(tmp_path):
    text = WATER_XYZ.replace("water\n", "charge=1 spin=2\n")
    path = _write(tmp_path, "cation.xyz", text)
    for given in ({}, {"total_charge": 1}, {"spin_multiplicity": 2}):
        cation = read_solute(path, **given)
        assert (cation.total_charge, cation.spin_multiplicity) == (1, 2)
    with pytest.raises(SoluteError, match=r"charge=1 contradicts total_charge \(--charge\) 0"):
        read_solute(path, total_charge=0)


def test_what_ase_writes_is_read_and_the_first_of_several_is_taken(tmp_path):
    images = [molecule("CH3OH"), molecule("CH3OH")]
    images[0].calc = SinglePointCalculator(images[0], energy=-1.0, forces=np.ones((6, 3)))
    images[1].positions += 1.0
    write(tmp_path / "methanol.xyz", images, format="extxyz")
    methanol = read_solute(str(tmp_path / "methanol.xyz"))
    np.testing.assert_allclose(methanol.positions, images[0].positions, atol=1e-7)
    assert "holds 2 geometries: the first is taken" in methanol.notes[0]
    assert why_not_covered(methanol) is None


@pytest.mark.parametrize("name", ["H2O", "C6H6", "HCl", "CO2", "CH4"])
@pytest.mark.parametrize("suffix", ["xyz", "pdb"])
def test_molecules_in_the_plane_of_the_page_are_three_dimensional(tmp_path, name, suffix):
    atoms = molecule(name)
    if name in ("H2O", "HCl", "CO2"):
        atoms.rotate("x", "z")  # along x, or in the plane of x and y
    assert (np.ptp(atoms.positions[:, 2]) < 1e-9) == (name != "CH4")
    write(tmp_path / f"flat.{suffix}", atoms)
    assert len(read_solute(str(tmp_path / f"flat.{suffix}")).atomic_numbers) == len(atoms)


def test_a_drawing_without_hydrogens_is_told_from_a_molecule(tmp_path):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    for smiles in ("O=C=O", "ClC(Cl)=C(Cl)Cl"):
        drawn = Chem.MolFromSmiles(smiles)
        AllChem.Compute2DCoords(drawn)
        with pytest.raises(SoluteError, match="a drawing"):
            read_solute(_write(tmp_path, "drawn.mol", Chem.MolToMolBlock(drawn)))


def test_atoms_on_top_of_each_other_are_refused(tmp_path):
    shrunk = molecule("H2O")
    shrunk.positions /= 10.0  # nm
    with pytest.raises(SoluteError, match="are the positions in Å"):
        read_solute(_write(tmp_path, "nm.xyz", _xyz(shrunk)))
