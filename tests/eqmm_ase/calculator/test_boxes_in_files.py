"""Atoms that were computed in a periodic box of charges do not lose it in files."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase.io import read, write
from calculator_kit import BOX, bound, charges_in_box, methanol, random_model, some_charges
from run_kit import RUNS, moved

from eqmm_ase import EqMM, cli, read_structure, save_model
from eqmm_ase.files.stored_charges import EMBEDDING
from eqmm_ase.files.structures import StructureError
from eqmm_ase.simulation.dynamics import run_md
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.relax import RunError, relax

pytest.importorskip("finufft")


@pytest.mark.parametrize("count", [0, 12])
@pytest.mark.parametrize("run", RUNS)
def test_files_of_runs_keep_the_box_of_the_charges(run, count, tmp_path):
    path = tmp_path / "run.traj"
    atoms = bound()
    charges, positions = (values[:count] for values in some_charges())
    atoms.calc.embed(charges, positions, cell=BOX)
    run(atoms, path)
    structure = read_structure(path)
    np.testing.assert_array_equal(structure.cell, BOX)
    np.testing.assert_array_equal(structure.mm_charges, charges)
    again = structure.atoms
    expected = again.get_potential_energy()
    again.calc = bound().calc
    again.calc.embed(structure.mm_charges, structure.mm_positions, cell=structure.cell)
    assert again.get_potential_energy() == pytest.approx(expected, abs=1e-5)  # of Ewald's sum


@pytest.mark.parametrize("cell", [None, 1.001 * BOX])
def test_a_run_in_a_box_is_not_resumed_in_another(cell, tmp_path):
    path = tmp_path / "md.traj"
    atoms = bound()
    atoms.calc.embed(*some_charges(), cell=BOX)
    moved(atoms, path)
    atoms.calc.embed(*some_charges(), cell=cell)
    with pytest.raises(RunError, match=r"was run in 12 MM charges in a box, .* cannot be resumed"):
        run_md(atoms, MDSettings(), steps=8, trajectory=path, resume=True)


def test_a_box_that_moved_during_a_run_is_not_passed_off_as_that_of_the_file(tmp_path):
    path = tmp_path / "relax.traj"
    atoms = bound()
    handle = atoms.calc.embed(*some_charges(), cell=BOX)
    relax(atoms, steps=2, trajectory=path, report=lambda _: handle.set_cell(1.001 * handle.cell))
    np.testing.assert_array_equal(read_structure(f"{path}@0").cell, BOX)
    with pytest.raises(StructureError, match=r"12 MM charges in a box.* lacks"):
        read_structure(path)


def test_a_new_calculator_without_the_box_is_not_taken_for_the_old_one(tmp_path):
    atoms = bound()
    atoms.get_potential_energy()
    before = atoms.info[EMBEDDING]
    atoms.calc.embed(None, cell=BOX)
    atoms.get_potential_energy()
    assert atoms.info[EMBEDDING] != before
    assert atoms.info[EMBEDDING].startswith("0 MM charges in a box, +0.000 e, checksum")
    write(tmp_path / "a.traj", atoms)
    back = read(tmp_path / "a.traj")
    back.calc = EqMM(random_model())
    with pytest.raises(ValueError, match=r"computed in 0 MM charges in a box.* embed\("):
        back.get_potential_energy()


def test_the_commands_go_on_in_the_box_of_a_file(tmp_path, capsys):
    model, first = tmp_path / "m.eqmm", tmp_path / "first.traj"
    domain = {"closest_mm": 1.5, "closest": {}}
    save_model(model, random_model(), {"domain": domain})
    atoms = methanol()
    atoms.calc = EqMM(model)
    handle = atoms.calc.embed(*charges_in_box(), cell=BOX)
    relax(atoms, steps=1, trajectory=first)
    expected = read(first).get_potential_energy()
    for command in (["optimize", "--steps", "1"], ["md", "--steps", "1", "--seed", "1"]):
        out = tmp_path / f"{command[0]}.traj"
        with pytest.raises(SystemExit):
            cli.main([command[0], str(model), str(first), *command[1:], "-o", str(out)])
        told = capsys.readouterr().out
        assert f"{len(handle)} MM charges in a box (" in told
        energy = re.search(r"with restraints; energy (\S+) eV", told)
        assert float(energy[1]) == pytest.approx(expected, abs=1e-3)
        np.testing.assert_array_equal(read_structure(out).cell, BOX)
