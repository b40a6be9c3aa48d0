"""Datasets go to other formats and come back; what other programs computed comes in."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase.io import read, write
from label_kit import WATER, water_in_charges

from datagen.cli import cli
from datagen.datasets.export import export
from datagen.datasets.extended_xyz import read_extended_xyz
from datagen.datasets.orca import read_orca
from datagen.errors import ExchangeError
from eqmm_ase.command_line import run
from eqmm_ase.data.charge_and_spin import StateError
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.units import BOHR, HARTREE, HARTREE_PER_BOHR

METHOD = {"functional": "b3lyp", "dispersion": None, "sampling": {"smiles": r'F/C=C\F "%'}}


def labelled(seed: int = 0, **changes: object) -> Frame:
    """Made-up labels of every kind; forces on all sites add up to zero."""
    frame, rng = water_in_charges(seed, n_charges=4), np.random.default_rng(seed)
    forces = rng.normal(size=(7, 3))
    forces -= forces.mean(0)
    return replace(
        frame,
        energy=-2078.123456789012,
        energy_vacuum=-2077.5,
        qm_forces=forces[:3],
        mm_forces=forces[3:],
        mm_potential=rng.normal(size=4),
        charges={"mbis": np.array([-0.8, 0.4, 0.4]), "mulliken": rng.normal(size=3)},
        atomic_dipoles={"mbis": rng.normal(size=(3, 3))},
        potential_rms={"resp": 0.07},
        dipole=rng.normal(size=3),
        cell=np.diag([20.0, 21.0, 22.0]),
        source='"1e5" of\\T%22',
        frame_id="0012e5",
        **changes,
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    one_charge = replace(water_in_charges(5, n_charges=1), medium="")
    frames = [labelled(1), labelled(2), water_in_charges(3).in_vacuum(), one_charge]
    write_frames(tmp_path / "data.h5", frames, METHOD)
    return tmp_path / "data.h5"


def assert_equal(found: Frame, expected: Frame) -> None:
    for field in fields(Frame):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(b, dict):
            assert set(a) == set(b), field.name
            for scheme in b:
                np.testing.assert_allclose(a[scheme], b[scheme], atol=1e-8, rtol=0)
        elif isinstance(b, np.ndarray):
            # Columns of extended XYZ have eight decimals.
            np.testing.assert_allclose(a, b, atol=1e-8, rtol=0, err_msg=field.name)
        elif not (field.name.startswith("mm_") and a is None and b is None):
            assert a == b, field.name


def test_extended_xyz_comes_back_as_it_was(dataset, tmp_path, capsys):
    out, back = tmp_path / "data.extxyz", tmp_path / "back.h5"
    assert run(cli, "eqmm-datagen", ["export", str(dataset), "-o", str(out)]) == 0
    assert run(cli, "eqmm-datagen", ["import", str(out), "-o", str(back)]) == 0
    assert "4 frames" in capsys.readouterr().out
    with ReferenceData(back) as data:
        assert data.method == METHOD
        assert len(data) == 4
        for found, expected in zip(data, read_frames(dataset), strict=True):
            assert_equal(found, expected)
        # What stands in the comment line has all digits.
        np.testing.assert_array_equal(data[0].qm_forces, labelled(1).qm_forces)


def test_extended_xyz_has_the_keys_of_mace_and_fieldmace(dataset, tmp_path):
    export(dataset, tmp_path / "data.extxyz", "mulliken")
    atoms, frame = read(tmp_path / "data.extxyz", index=0), labelled(1)
    assert atoms.info["REF_energy"] == frame.energy
    for name, values in (
        ("REF_forces", frame.qm_forces),
        ("mm_charges", frame.mm_charges),
        ("mm_positions", frame.mm_positions),
        ("REF_mm_forces", frame.mm_forces),
    ):
        np.testing.assert_array_equal(atoms.info[name], values)
    np.testing.assert_allclose(atoms.arrays["REF_forces"], frame.qm_forces, atol=1e-8)
    np.testing.assert_allclose(atoms.arrays["REF_charges"], frame.charges["mulliken"], atol=1e-8)
    assert atoms.info["config_type"] == "water"
    assert not atoms.pbc.any()


def test_extended_xyz_of_others_is_read_when_the_level_is_given(tmp_path, capsys):
    source, target = tmp_path / "field.xyz", tmp_path / "data.h5"
    atoms = read_atoms_of_others(source)
    assert run(cli, "eqmm-datagen", ["import", str(source), "-o", str(target)]) == 2
    assert "give it with --level" in capsys.readouterr().err
    arguments = ["import", str(source), "-o", str(target), "--level", "BP86/def2-SVP"]
    assert run(cli, "eqmm-datagen", arguments) == 0
    (frame,) = read_frames(target)
    assert (frame.energy, frame.medium, frame.qm_forces) == (-5.0, "", None)
    np.testing.assert_allclose(frame.mm_positions, atoms.info["mm_positions"])
    (tmp_path / "broken.xyz").write_text("3\nProperties=species:S:1:pos:R:3\nO 0 0\n")
    with pytest.raises(ExchangeError, match=r"cannot be read \(.*expected extended XYZ"):
        read_extended_xyz(tmp_path / "broken.xyz")


def read_atoms_of_others(path: Path):
    atoms = ase.Atoms("OH2", WATER)
    atoms.info = {
        "REF_energy": -5.0,
        "mm_charges": np.array([0.5]),
        "mm_positions": np.ones((1, 3)),
    }
    write(path, atoms, format="extxyz")
    return atoms


def test_database_of_ase_has_rows_to_select_and_labels_to_calculate_with(dataset, tmp_path):
    export(dataset, tmp_path / "data.db")
    with ase.db.connect(tmp_path / "data.db") as database:
        assert database.metadata["method"] == METHOD
        assert len(database) == 4
        row, frame = next(database.select(medium="water")), labelled(1)
        atoms = row.toatoms()
        assert atoms.get_potential_energy() == pytest.approx(frame.energy, abs=1e-9)
        np.testing.assert_array_equal(atoms.get_forces(), frame.qm_forces)
        np.testing.assert_array_equal(atoms.get_charges(), frame.charges["mbis"])
        np.testing.assert_array_equal(row.data["mm_forces"], frame.mm_forces)
        np.testing.assert_array_equal(
            row.data["atomic_dipoles"]["mbis"], frame.atomic_dipoles["mbis"]
        )
        assert row.data["source"] == frame.source
        assert database.count(medium="gas") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.db", "data.h5"]


def test_numpy_archive_holds_the_arrays_under_the_names_of_the_format(dataset, tmp_path):
    export(dataset, tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz") as archive:
        assert json.loads(str(archive["method"])) == METHOD
        assert list(archive["qm_ptr"]) == [0, 3, 6, 9, 12]
        rows = slice(archive["mm_ptr"][1], archive["mm_ptr"][2])
        np.testing.assert_array_equal(archive["mm_forces"][rows], labelled(2).mm_forces)
        np.testing.assert_array_equal(archive["charges/mbis"][3:6], [-0.8, 0.4, 0.4])
        assert archive["source"][0] == labelled(1).source


def write_orca(folder: Path, name: str = "a") -> tuple[Frame, Path]:
    """ORCA's three files of a frame, written as ORCA does: Hartree, Bohr, gradients."""
    frame = labelled(4)
    gradient = (-frame.qm_forces / HARTREE_PER_BOHR).ravel()
    engrad = f"#\n# Number of atoms\n#\n 3\n#\n# Energy in Eh\n#\n {frame.energy / HARTREE:.12f}\n"
    engrad += "#\n# The current gradient in Eh/bohr\n#\n"
    engrad += "".join(f"{value:20.12f}\n" for value in gradient) + "#\n# atoms\n#\n"
    for number, place in zip(frame.atomic_numbers, frame.qm_positions / BOHR, strict=True):
        engrad += f"  {number}  " + " ".join(f"{x:.12f}" for x in place) + "\n"
    pc = "4\n" + "".join(
        f"{q:.10f} {x:.10f} {y:.10f} {z:.10f}\n"
        for q, (x, y, z) in zip(frame.mm_charges, frame.mm_positions, strict=True)
    )
    pcgrad = "4\n"
    for row in -frame.mm_forces / HARTREE_PER_BOHR:
        pcgrad += " ".join(f"{x:.12f}" for x in row) + "\n"
    for suffix, text in ((".engrad", engrad), (".pc", pc), (".pcgrad", pcgrad)):
        (folder / (name + suffix)).write_text(text)
    return frame, folder / f"{name}.engrad"


def test_files_of_orca_become_forces_in_electronvolt_per_angstrom(tmp_path, capsys):
    frame, engrad = write_orca(tmp_path)
    arguments = ["import", str(engrad), "-o", str(tmp_path / "orca.h5"), "--charge", "1"]
    arguments += ["--multiplicity", "2", "--medium", "water"]
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "give it with --level" in capsys.readouterr().err
    assert run(cli, "eqmm-datagen", [*arguments, "--level", "B3LYP/6-31G*"]) == 0
    with ReferenceData(tmp_path / "orca.h5") as data:
        found = data[0]
        assert data.method == {"program": "orca", "level": "B3LYP/6-31G*"}
    assert (found.total_charge, found.spin_multiplicity, found.medium) == (1, 2, "water")
    assert found.energy == pytest.approx(frame.energy, abs=1e-9)
    for name in ("atomic_numbers", "qm_positions", "mm_positions", "mm_charges"):
        np.testing.assert_allclose(getattr(found, name), getattr(frame, name), atol=1e-9)
    np.testing.assert_allclose(found.qm_forces, frame.qm_forces, atol=1e-9)
    np.testing.assert_allclose(found.mm_forces, frame.mm_forces, atol=1e-9)


def test_files_of_orca_that_do_not_belong_together_are_refused(tmp_path):
    _, engrad = write_orca(tmp_path)
    pcgrad = engrad.with_suffix(".pcgrad")
    right = pcgrad.read_text()
    lines = right.splitlines()
    for text, sentence in (
        ("4\n" + "0.1 0.2 0.3\n" * 4, "add up to .* do the files belong together"),
        ("3\n" + "\n".join(lines[1:4]), "has 3 gradients; expected 4"),
        ("\n".join(lines[:-1]), "has 9 numbers below its first line; expected 3 for each of 4"),
        (right + "not a number", "no file of numbers"),
    ):
        pcgrad.write_text(text)
        with pytest.raises(ExchangeError, match=sentence):
            read_orca(engrad)
    pcgrad.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*\.pcgrad"):
        read_orca(engrad)
    engrad.write_text("3\n-76.0\n" + "0.0\n" * 9 + "8 0 0 0\n")
    with pytest.raises(ExchangeError, match="has 15 numbers; expected 23 for 3 atoms"):
        read_orca(engrad)


def test_target_of_no_known_format_or_that_exists_is_refused(dataset, tmp_path, capsys):
    assert run(cli, "eqmm-datagen", ["export", str(dataset), "-o", str(tmp_path / "a.csv")]) == 2
    assert "has no suffix of .extxyz, .xyz, .db, .npz" in capsys.readouterr().err
    precious = tmp_path / "a.npz"
    precious.write_text("precious")
    assert run(cli, "eqmm-datagen", ["export", str(dataset), "-o", str(precious)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert precious.read_text() == "precious"
    arguments = ["export", str(dataset), "-o", str(tmp_path / "a.xyz"), "--charges", "esp"]
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "no frame has charges of the scheme 'esp'" in capsys.readouterr().err


# --- charge and spin ---


def carbonates(path: Path, **info: object) -> Path:
    images = []
    for number in range(2):
        atoms = ase.Atoms("CO3", [[0, 0, 0], [1.29, 0, 0], [-0.64, 1.12, 0], [-0.64, -1.12, 0]])
        atoms.info = {"REF_energy": -7027.0 - number, **info}
        images.append(atoms)
    write(path, images, format="extxyz")
    return path


def imported(folder: Path, path: Path, *options: str) -> list[Frame]:
    out = folder / "out.h5"
    arguments = ["import", str(path), "-o", str(out), "--overwrite", "--level", "X", *options]
    assert run(cli, "eqmm-datagen", arguments) == 0
    return read_frames(out)


def test_charges_under_other_names_are_imported(tmp_path):
    path = carbonates(tmp_path / "a.xyz", charge=-2, spin=1)
    frames = imported(tmp_path, path)
    assert [(f.total_charge, f.spin_multiplicity) for f in frames] == [(-2, 1)] * 2
    assert imported(tmp_path, path, "--charge", "-2")[0].total_charge == -2


def test_the_charge_of_the_command_counts_for_every_format(tmp_path, capsys):
    path = carbonates(tmp_path / "a.xyz")
    assert imported(tmp_path, path, "--charge", "-2")[0].total_charge == -2
    assert imported(tmp_path, path, "--multiplicity", "3")[0].spin_multiplicity == 3
    contradicting = carbonates(tmp_path / "b.xyz", total_charge=-2)
    arguments = ["import", str(contradicting), "-o", str(tmp_path / "b.h5"), "--level", "X"]
    assert run(cli, "eqmm-datagen", [*arguments, "--charge", "0"]) == 2
    assert "b.xyz, image 0: total_charge=-2 contradicts --charge 0" in capsys.readouterr().err
    assert run(cli, "eqmm-datagen", [*arguments, "--charge", "-2", "--multiplicity", "2"]) == 2
    assert "set --charge or --multiplicity" in capsys.readouterr().err


def test_atomic_charges_that_contradict_the_total_charge_are_refused(tmp_path, capsys):
    atoms = ase.Atoms("OH2", WATER, info={"REF_energy": -5.0})
    atoms.set_array("REF_charges", np.array([-1.2, 0.1, 0.1]))
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    arguments = ["import", str(tmp_path / "a.xyz"), "-o", str(tmp_path / "a.h5"), "--level", "X"]
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "-1.000 of the atoms' REF_charges contradicts" in capsys.readouterr().err


def test_the_input_of_orca_says_charge_and_multiplicity(tmp_path):
    _, engrad = write_orca(tmp_path)
    assert read_orca(engrad).total_charge == 0
    for suffix, text in (
        (".inp", "! HF STO-3G EnGrad\n* xyzfile 1 2 water.xyz\n"),
        (".out", "Total Charge  Charge  ....  1\nMultiplicity  Mult  ....  2\n"),
    ):
        beside = engrad.with_suffix(suffix)
        beside.write_text(text)
        assert (read_orca(engrad).total_charge, read_orca(engrad).spin_multiplicity) == (1, 2)
        with pytest.raises(StateError, match="contradicts --charge 0"):
            read_orca(engrad, total_charge=0)
        beside.unlink()
    with pytest.raises(StateError, match="9 electrons, an odd number"):
        read_orca(engrad, total_charge=1)
