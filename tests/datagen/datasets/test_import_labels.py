"""Labels of other programs are read under the names that they have there, counted and named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from label_kit import WATER, water_in_charges

from datagen.cli import cli
from datagen.datasets.foreign_labels import field_called
from eqmm_ase.command_line import run
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames

FORCES = np.arange(9.0).reshape(3, 3) / 7.0
ENERGY = -2039.8406191905306


def water(info: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> Atoms:
    atoms = Atoms("OH2", WATER)
    atoms.info = dict(info or {})
    for name, value in (arrays or {}).items():
        atoms.set_array(name, np.asarray(value))
    return atoms


def calculated(**results: Any) -> Atoms:
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def imported(folder: Path, images: list[Atoms], *options: str, name: str = "a.xyz") -> int:
    write(folder / name, images)
    arguments = ["import", str(folder / name), "-o", str(folder / "a.h5"), "--overwrite"]
    return run(cli, "eqmm-datagen", [*arguments, "--level", "PBE/def2-SVP", *options])


@pytest.mark.parametrize("name", ["a.xyz", "a.db"])
def test_what_ase_writes_with_a_calculator_is_read_and_said(name, tmp_path, capsys):
    images = [
        calculated(energy=ENERGY + i, forces=FORCES, dipole=[0.0, 0.1, 0.2]) for i in range(3)
    ]
    images.append(calculated(energy=-1.0))
    assert imported(tmp_path, images, name=name) == 0
    said = capsys.readouterr().out
    assert "4 frames: energy 4 (from 'energy'), qm_forces 3 (from 'forces'), dipole 3" in said
    frames = read_frames(tmp_path / "a.h5")
    assert [frame.energy for frame in frames] == [ENERGY, ENERGY + 1, ENERGY + 2, -1.0]
    np.testing.assert_allclose(frames[1].qm_forces, FORCES, atol=1e-8)
    assert frames[3].qm_forces is None
    with ReferenceData(tmp_path / "a.h5") as data:
        assert data.method == {"level": "PBE/def2-SVP"}


@pytest.mark.parametrize(
    ("energy", "forces"),
    [
        ("REF_energy", "REF_forces"),
        ("dft_energy", "dft_forces"),
        ("DFT_energy", "DFT_force"),
        ("energy_ref", "forces_ref"),
        ("Energy", "Forces"),
        ("total_energy", "force"),
        ("free_energy", "forces"),
        ("target_energy", "target_forces"),
    ],
)
def test_common_names_of_energies_and_forces_are_known(energy, forces, tmp_path, capsys):
    assert imported(tmp_path, [water({energy: ENERGY}, {forces: FORCES})]) == 0
    assert f"energy 1 (from '{energy}'), qm_forces 1 (from '{forces}')" in capsys.readouterr().out
    (frame,) = read_frames(tmp_path / "a.h5")
    assert frame.energy == ENERGY
    np.testing.assert_allclose(frame.qm_forces, FORCES, atol=1e-8)


@pytest.mark.parametrize(
    "key",
    ["MACE_energy", "xtb_forces", "atomization_energy", "interaction_energy", "energy_per_atom"],
)
def test_labels_of_another_kind_or_method_are_none(key):
    assert field_called(key) is None


def test_a_file_without_labels_is_refused_with_the_keys_looked_for_and_seen(tmp_path, capsys):
    images = [water({"MACE_energy": -1.0, "step": 7}, {"xtb_forces": FORCES})] * 2
    assert imported(tmp_path, images) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "holds no label in 2 frames: looked for REF_energy, energy" in line
    assert "found 'MACE_energy', 'step', 'xtb_forces'; --frames-only" in line
    assert not (tmp_path / "a.h5").exists()


def test_frames_alone_are_imported_on_request_and_need_no_level(tmp_path, capsys):
    write(tmp_path / "a.xyz", [water({"energy": ENERGY}, {"REF_forces": FORCES})])
    arguments = ["import", str(tmp_path / "a.xyz"), "-o", str(tmp_path / "a.h5"), "--frames-only"]
    assert run(cli, "eqmm-datagen", arguments) == 0
    assert "1 frames: no labels" in capsys.readouterr().out
    with ReferenceData(tmp_path / "a.h5") as data:
        assert data.method == {}
        assert (data[0].energy, data[0].qm_forces) == (None, None)


def test_frames_that_were_exported_without_labels_come_back_without_a_request(tmp_path, capsys):
    write_frames(tmp_path / "a.h5", [water_in_charges(1)], {"sampling": {"seed": 1}})
    for suffix in (".xyz", ".db", ".npz"):
        middle, back = tmp_path / f"b{suffix}", tmp_path / f"b{suffix}.h5"
        for step in (["export", str(tmp_path / "a.h5")], ["import", str(middle)]):
            target = middle if step[0] == "export" else back
            assert run(cli, "eqmm-datagen", [*step, "-o", str(target)]) == 0
        assert "1 frames: no labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([water({"REF_energy": -1.0, "dft_energy": -1.2})], "'dft_energy' and another .* by 0.2"),
        ([calculated(energy=-1.0, free_energy=-1.5)], "'free_energy' and another key for energy"),
        ([water({}, {"forces": FORCES, "REF_forces": 2 * FORCES})], "another key for qm_forces"),
        ([water({"REF_energy": "later"})], "'REF_energy' is .* cannot be energy"),
        ([water({"REF_forces": np.zeros(4)})], r"'REF_forces' is \(4,\) and cannot be qm_forces"),
        ([water({"energy": 1.0, "mm_charges": np.ones(4)})], "'mm_positions' of shape"),
    ],
)
def test_labels_that_contradict_each_other_or_make_no_sense_are_refused(
    images, sentence, tmp_path, capsys
):
    assert imported(tmp_path, images) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "a.xyz: frame 0" in line
    assert re.search(sentence, line), line


def test_a_label_that_is_nan_is_not_known(tmp_path, capsys):
    images = [water({"energy": ENERGY}, {"REF_forces": FORCES})]
    images.append(water({"energy": ENERGY}, {"REF_forces": np.full((3, 3), np.nan)}))
    assert imported(tmp_path, images) == 0
    assert "energy 2 (from 'energy'), qm_forces 1 (from 'REF_forces')" in capsys.readouterr().out
    assert read_frames(tmp_path / "a.h5")[1].qm_forces is None


def test_a_label_given_twice_with_fewer_digits_is_one_label(tmp_path, capsys):
    images = [water({"REF_energy": ENERGY, "dft_energy": round(ENERGY, 5)})]
    assert imported(tmp_path, images) == 0
    assert "energy 1 (from 'REF_energy')" in capsys.readouterr().out
    assert read_frames(tmp_path / "a.h5")[0].energy == ENERGY


def test_charges_without_a_name_get_one_and_what_nobody_reads_is_named(tmp_path, capsys):
    images = [water({"energy": ENERGY, "virial_": 3.0}, {"REF_charges": [-0.8, 0.4, 0.4]})]
    assert imported(tmp_path, images) == 0
    said = capsys.readouterr().out
    assert "charges/unnamed 1 (from 'REF_charges')" in said
    assert "not read: 'virial_'" in said
    assert read_frames(tmp_path / "a.h5")[0].charges["unnamed"].tolist() == [-0.8, 0.4, 0.4]


def test_the_charges_that_an_export_repeats_are_not_a_scheme_of_their_own(tmp_path):
    frame = replace(water_in_charges(1), energy=-1.0, charges={"mbis": np.array([-0.8, 0.4, 0.4])})
    write_frames(tmp_path / "a.h5", [frame], {"level": "X"})
    for step in (["export", "a.h5", "-o", "b.xyz"], ["import", "b.xyz", "-o", "c.h5"]):
        assert run(cli, "eqmm-datagen", [str(tmp_path / x) if "." in x else x for x in step]) == 0
    assert read_frames(tmp_path / "c.h5")[0].charges.keys() == {"mbis"}


def test_a_level_that_contradicts_the_file_is_refused_and_another_spelling_is_not(tmp_path, capsys):
    frame = replace(water_in_charges(1), energy=-1.0)
    method = {"functional": "b3lyp", "basis": "6-31g*", "program": "pyscf"}
    write_frames(tmp_path / "a.h5", [frame], method)
    path = str(tmp_path / "b.xyz")
    assert run(cli, "eqmm-datagen", ["export", str(tmp_path / "a.h5"), "-o", path]) == 0
    arguments = ["import", path, "-o", str(tmp_path / "c.h5"), "--level"]
    assert run(cli, "eqmm-datagen", [*arguments, "HF/STO-3G"]) == 2
    assert "says that its labels are of b3lyp/6-31g*" in capsys.readouterr().err
    assert run(cli, "eqmm-datagen", [*arguments, "B3LYP/6-31G(d)"]) == 0
    with ReferenceData(tmp_path / "c.h5") as data:
        assert data.method == method


def test_rows_of_a_database_that_others_made_need_no_method(tmp_path, capsys):
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(
            calculated(energy=ENERGY, forces=FORCES),
            data={"mm_charges": np.ones(2), "mm_positions": np.eye(3)[:2] * 9.0},
            tag="x",
        )
    arguments = ["import", str(tmp_path / "a.db"), "-o", str(tmp_path / "a.h5")]
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "give it with --level" in capsys.readouterr().err
    assert run(cli, "eqmm-datagen", [*arguments, "--level", "X"]) == 0
    (frame,) = read_frames(tmp_path / "a.h5")
    assert (frame.energy, frame.n_mm) == (ENERGY, 2)
