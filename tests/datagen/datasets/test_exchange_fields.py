"""Every field of a frame goes through every exchange format and comes back as it was.

Frames are made from the table of the format, so that a field that is added there, or to the class,
is tested without another line, and a format that forgets it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType

import ase.db
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write
from frames_kit import AWKWARD, frames_of_every_kind, full_frame
from mutations import same_frames

from datagen.cli import cli
from datagen.datasets import export
from datagen.datasets.export import WRITERS
from eqmm_ase.command_line import run
from eqmm_ase.data import dataset_format, frame_fields
from eqmm_ase.data.boundary_forces import project_forces
from eqmm_ase.data.dataset_format import FIELDS, GROUPS, Field
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import known_values
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames

METHOD = {
    "functional": "b3lyp",
    AWKWARD: [AWKWARD, 1, 2.5, None, True, [], {}, [1, 2], ["1", "2"], 1e-300, "\ud800"],
    "sampling": {"smiles": r'F/C=C\F "%'},
}
KINDS = {
    "every kind": frames_of_every_kind(),
    "float32": [full_frame(n, seed=n, dtype=np.float32) for n in (5, 0, 9)],
    **{f"{n} charges alone": [full_frame(n, seed=n)] for n in (0, 1, 3, 9)},
    "nothing known": [Frame(np.array([17]), np.zeros((1, 3)), total_charge=-1)],
}


def there_and_back(frames: list[Frame], suffix: str, folder: Path) -> list[Frame]:
    source, middle, target = folder / "a.h5", folder / f"b{suffix}", folder / "c.h5"
    write_frames(source, frames, METHOD)
    for arguments in (["export", str(source), "-o", str(middle)], ["import", str(middle)]):
        more = ["-o", str(target)] if arguments[0] == "import" else []
        assert run(cli, "eqmm-datagen", [*arguments, *more]) == 0
    with ReferenceData(source) as one, ReferenceData(target) as other:
        assert other.method == one.method == METHOD
        assert other.content_hash == one.content_hash
    return read_frames(target)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_field_comes_back_in_every_bit(suffix, kind, tmp_path):
    back = there_and_back(KINDS[kind], suffix, tmp_path)
    assert same_frames(back, read_frames(tmp_path / "a.h5"))


def test_full_frames_leave_no_field_of_a_frame_unset():
    frame = full_frame(5)
    assert {each.name for each in fields(Frame)} == FIELDS.keys() | GROUPS.keys()
    known = known_values(frame)
    for name in (each.name for each in fields(Frame)):
        assert name in known or any(key.startswith(f"{name}/") for key in known), name
    assert (frame.total_charge, frame.spin_multiplicity) != (0, 1)


@pytest.mark.parametrize("suffix", WRITERS)
def test_caps_are_caps_after_an_exchange(suffix, tmp_path):
    frame = full_frame(5, seed=3)
    (back,) = there_and_back([frame], suffix, tmp_path)
    for name, forces in vars(project_forces(frame)).items():
        np.testing.assert_array_equal(getattr(project_forces(back), name), forces)
    assert len(project_forces(back).m1) == 1


@dataclass(frozen=True, eq=False)
class LaterFrame(Frame):
    """A frame of a version to come."""

    qm_rows: np.ndarray | None = None
    mm_rows: np.ndarray | None = None
    spins: np.ndarray | None = None
    remark: str = ""
    atomic_spins: Mapping[str, np.ndarray] = field(default_factory=dict)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_field_of_a_version_to_come_needs_no_line_in_any_format(suffix, tmp_path, monkeypatch):
    later = {
        "qm_rows": Field("qm", kind="integer", optional=True),
        "mm_rows": Field("mm", kind="integer", optional=True),
        "spins": Field("qm", (2, 3), label=True),
        "remark": Field("frame", kind="text", optional=True),
    }
    for name, entry in later.items():
        monkeypatch.setitem(FIELDS, name, entry)  # type: ignore[arg-type]
    monkeypatch.setitem(GROUPS, "atomic_spins", Field("qm", label=True))  # type: ignore[arg-type]
    monkeypatch.setattr(frame_fields, "Frame", LaterFrame)
    assert dataset_format.FIELDS is FIELDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frames_kit.Frame", LaterFrame)
        frames = [full_frame(n, seed=n) for n in (5, 0, 1, 9)]
    frames[1] = replace(frames[1], qm_rows=None, remark="", spins=None, atomic_spins={})
    back = there_and_back(frames, suffix, tmp_path)
    assert same_frames(back, read_frames(tmp_path / "a.h5"))
    assert back[1].qm_rows is None
    np.testing.assert_array_equal(back[3].mm_rows, frames[3].mm_rows)
    np.testing.assert_array_equal(back[0].spins, frames[0].spins)


def test_a_field_that_no_table_knows_fails_these_tests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frames_kit.Frame", LaterFrame)
        with pytest.raises(AssertionError, match=r"no entry for the fields .*qm_rows"):
            full_frame(5)


def test_extended_xyz_of_the_first_version_is_read(tmp_path):
    """Eight decimals in columns, fewer characters encoded, nine charges as a matrix."""
    frame = full_frame(9, seed=1)
    atoms = ase.Atoms(numbers=frame.atomic_numbers, positions=frame.qm_positions)
    atoms.info = {
        "REF_energy": frame.energy,
        "mm_charges": frame.mm_charges,
        "mm_positions": frame.mm_positions,
        "REF_forces": frame.qm_forces,
        "total_charge": -1,
        "spin_multiplicity": 2,
        "eqmm": {"method": {"smiles": "F/C=C%5CF %22%25"}, "medium": "water", "source": "%22a%22"},
    }
    atoms.set_array("REF_forces", frame.qm_forces)
    atoms.set_array("charges_mbis", frame.charges["mbis"])
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    found = export.read(tmp_path / "a.xyz")
    (back,) = found.frames
    assert found.method == {"smiles": r'F/C=C\F "%'}
    assert (back.energy, back.total_charge, back.source) == (frame.energy, -1, '"a"')
    np.testing.assert_array_equal(back.mm_charges, frame.mm_charges)
    np.testing.assert_array_equal(back.qm_forces, frame.qm_forces)
    np.testing.assert_allclose(back.qm_positions, frame.qm_positions, atol=1e-8, rtol=0)
    np.testing.assert_allclose(back.charges["mbis"], frame.charges["mbis"], atol=1e-8, rtol=0)


def test_a_database_of_the_first_version_is_read(tmp_path):
    frame = full_frame(5, seed=2)
    atoms = ase.Atoms(numbers=frame.atomic_numbers, positions=frame.qm_positions, cell=frame.cell)
    atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.qm_forces)
    data = {n: getattr(frame, n) for n in ("mm_charges", "mm_positions", "mm_forces", "frame_id")}
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(
            atoms,
            data={**data, "charges": dict(frame.charges)},
            total_charge=-1,
            spin_multiplicity=2,
        )
        database.metadata = {"method": METHOD}
    found = export.read(tmp_path / "a.db")
    kept = {name: getattr(frame, name) for name in ("energy", "qm_forces", "charges", "cell")}
    expected = Frame(
        frame.atomic_numbers.astype(np.int32),
        frame.qm_positions,
        total_charge=-1,
        spin_multiplicity=2,
        **data,
        **kept,
    )
    assert same_frames(found.frames, [expected])
    assert found.method == METHOD


def test_nine_numbers_that_ase_gives_as_a_matrix_keep_their_order(tmp_path):
    from datagen.datasets.extended_xyz import frame_of_atoms
    from datagen.datasets.foreign_labels import Found
    from eqmm_ase.data.charge_and_spin import State

    charges = np.arange(9.0)
    atoms = ase.Atoms("He", positions=[[0.0, 0.0, 0.0]])
    atoms.info = {
        "mm_charges": charges.reshape((3, 3), order="F"),
        "mm_positions": np.ones((9, 3)),
    }
    frame = frame_of_atoms(atoms, State(0, 1), Found(), "here")
    np.testing.assert_array_equal(frame.mm_charges, charges)


def test_what_was_changed_in_an_exported_file_is_read_and_not_what_was_there(tmp_path):
    write_frames(tmp_path / "a.h5", [full_frame(3)], METHOD)
    export.export(tmp_path / "a.h5", tmp_path / "b.xyz")
    (atoms,) = iread(tmp_path / "b.xyz", format="extxyz")
    atoms.positions += 0.1
    atoms.info["mm_charges"] = np.array([1.0, 2.0, 3.0])
    atoms.arrays["REF_forces"] = atoms.arrays["REF_forces"] + 1.0
    write(tmp_path / "c.xyz", atoms, format="extxyz")
    with pytest.raises(export.ExchangeError, match=r"'REF_forces' and another .* differ by 1"):
        export.read(tmp_path / "c.xyz")
    del atoms.info["REF_forces"]
    write(tmp_path / "c.xyz", atoms, format="extxyz")
    (back,) = export.read(tmp_path / "c.xyz").frames
    np.testing.assert_allclose(back.qm_positions, atoms.positions, atol=1e-8, rtol=0)
    np.testing.assert_array_equal(back.mm_charges, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("suffix", MappingProxyType(WRITERS))
def test_a_damaged_exchange_file_gets_one_sentence(suffix, tmp_path, capsys):
    write_frames(tmp_path / "a.h5", [full_frame(5), full_frame(3)], METHOD)
    path = tmp_path / f"b{suffix}"
    export.export(tmp_path / "a.h5", path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for number in range(25):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 200 if suffix == ".npz" else 40):
            damaged[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged if number % 2 else whole[: int(rng.integers(1, len(whole)))])
        arguments = ["import", str(path), "-o", str(tmp_path / "c.h5"), "--overwrite"]
        if code := run(cli, "eqmm-datagen", [*arguments, "--level", "X"]):
            assert code == 2
            assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_count_of_atoms_without_end_is_refused_at_once(tmp_path):
    (tmp_path / "a.xyz").write_text("300000000000\nProperties=species:S:1:pos:R:3\nO 0 0 0\n")
    with pytest.raises(export.ExchangeError, match="a frame of 300000000000 atoms"):
        export.read(tmp_path / "a.xyz")


def test_another_sqlite_file_is_no_database_of_ase_and_stays_as_it_is(tmp_path):
    import sqlite3

    database = sqlite3.connect(tmp_path / "a.db")
    database.execute("CREATE TABLE other (x)")
    database.commit()
    database.close()
    content = (tmp_path / "a.db").read_bytes()
    with pytest.raises(export.ExchangeError, match="no database of ASE: it has no table"):
        export.read(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == content
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.db"):
        export.read(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()
