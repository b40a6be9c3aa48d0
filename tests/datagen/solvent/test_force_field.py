"""Force-field parameters by AmberTools: charges of the molecule that was given, or a sentence."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rdkit")

from datagen.molecules.solute import read_solute
from datagen.solvent import force_field
from datagen.solvent.external_programs import ParameterError
from datagen.solvent.force_field import _with_exact_charge, parameterise
from eqmm_ase.units import BOHR

if shutil.which("antechamber") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)


def test_charges_of_the_solute_sum_to_the_integer():
    rows = parameterise(read_solute("CC(=O)[O-]")).mol2.split("@<TRIPOS>")[2].splitlines()[1:]
    assert sum(float(row.split()[-1]) for row in rows) == pytest.approx(-1.0, abs=1e-8)


BETA_ALANINE = "[NH3+]CCC(=O)[O-]"


def charges_of(mol2: str) -> np.ndarray:
    rows = mol2.split("@<TRIPOS>")[2].splitlines()[1:]
    return np.array([float(row.split()[-1]) for row in rows])


@pytest.mark.slow
def test_a_zwitterion_has_the_dipole_of_a_zwitterion():
    """In vacuum AM1 moves a proton over and leaves 7 D; the referee is Hartree–Fock, 16 D."""
    pytest.importorskip("pyscf")
    from pyscf import gto, scf

    solute = read_solute(BETA_ALANINE)
    atoms = list(zip(solute.symbols, solute.positions.tolist(), strict=True))
    expected = scf.RHF(gto.M(atom=atoms, basis="sto-3g", verbose=0)).run().dip_moment(unit="AU")
    found = charges_of(parameterise(solute).mol2) @ solute.positions / BOHR
    np.testing.assert_allclose(found, expected, atol=0.15 * np.linalg.norm(expected))


@pytest.fixture
def antechamber(monkeypatch):
    """A stand-in that optimises as it is told, and notes whether it was let."""
    runs: list[bool] = []

    def make(optimised: np.ndarray | None):
        def run(program, options, folder, *, makes, log=None):
            solute = read_solute(BETA_ALANINE)
            (folder / makes).write_text("")
            if program != "antechamber":
                return ""
            runs.append("-ek" not in options)
            (folder / "sqm.out").write_text("No convergence in SCF")
            if runs[-1] and optimised is None:
                raise ParameterError("antechamber failed: no convergence")
            positions = optimised if runs[-1] else solute.positions
            lines = [
                f"ATOM  {i:5d} {symbol}{i:<3d} MOL     1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
                for i, (symbol, (x, y, z)) in enumerate(zip(solute.symbols, positions, strict=True))
            ]
            (folder / "sqm.pdb").write_text("\n".join(lines))
            rows = "".join(f"{i} C 0.0\n" for i in range(13))
            (folder / "solute.mol2").write_text(f"@<TRIPOS>ATOM\n{rows}@<TRIPOS>BOND\n")
            return ""

        monkeypatch.setattr(force_field, "run_program", run)
        return runs

    return make


def optimised(change: str) -> np.ndarray | None:
    solute = read_solute(BETA_ALANINE)
    nitrogen, carbon, oxygen = (solute.symbols.index(symbol) for symbol in "NCO")
    positions = solute.positions.copy()
    if change == "relaxed":
        positions += np.random.default_rng(0).normal(scale=0.03, size=positions.shape)
    elif change == "proton":
        beside = positions[oxygen] - positions.mean(axis=0)
        positions[6] = positions[oxygen] + 0.97 * beside / np.linalg.norm(beside)
    elif change == "broken":
        along = positions[nitrogen] - positions[carbon]
        positions[[nitrogen, 6, 7, 8]] += 1.5 * along
    return positions if change != "failed" else None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("relaxed", None),
        ("proton", r"in vacuum lost N0–H6 and formed O4–H6: the AM1-BCC charges of .* given"),
        ("broken", r"in vacuum lost N0–C1: the AM1-BCC charges"),
        ("failed", r"in vacuum failed \(antechamber failed: no convergence\): the AM1-BCC"),
    ],
)
def test_bonds_that_am1_changes_are_charged_as_they_were_given(change, sentence, antechamber):
    runs = antechamber(optimised(change))
    notes = parameterise(read_solute(BETA_ALANINE)).notes
    assert runs == ([True] if sentence is None else [True, False])
    assert len(notes) == len(runs) - 1
    if sentence:
        assert re.search(sentence, notes[0])


def test_rounded_charges_are_shifted_evenly():
    mol2 = "x\n@<TRIPOS>ATOM\n1 C1 0.5010\n2 C2 -0.4980\n@<TRIPOS>BOND\ny\n"
    assert _with_exact_charge(mol2, 0) == (
        "x\n@<TRIPOS>ATOM\n1 C1 0.499500000\n2 C2 -0.499500000\n@<TRIPOS>BOND\ny\n"
    )
    with pytest.raises(ParameterError, match="expected \\+1"):
        _with_exact_charge(mol2, 1)


@pytest.mark.parametrize(
    ("smiles", "sentence"),
    [
        ("C[Si](C)(C)C", "no parameters for Si"),
        ("[CH3]", "closed shells"),
        ("[Cl-]", "single atom"),
    ],
)
def test_a_molecule_without_parameters_is_a_sentence(smiles, sentence):
    with pytest.raises(ParameterError, match=sentence):
        parameterise(read_solute(smiles))


def test_a_program_that_fails_is_quoted():
    with pytest.raises(ParameterError, match=r"antechamber failed: Need"):
        parameterise(replace(read_solute("CO"), mol_block="no molecule at all"))
