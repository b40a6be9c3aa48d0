"""Molecules from SMILES and files: the right atoms, charge and spin, or a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit")

from datagen.solute import SoluteError, read_solute

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
        ("broken.xyz", "3\n\nO 0 0\n", "no molecule that RDKit can read"),
        ("prose.pdb", "It is not here.\n", "no molecule that RDKit can read"),
        ("empty.sdf", "", "no molecule that RDKit can read"),
        ("water.cif", WATER_XYZ, "unknown type"),
        ("acetate.xyz", ACETATE_XYZ, r"total charge of \+0"),
        ("methane.mol", "C", "no molecule that RDKit can read"),
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
