"""Structures and charges from files: what is read, and what is said about files that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.files.structures import StructureError, read_charges, read_structure

CHARGES = """\
# q x y z
-0.834  0.0 0.0 5.0   # oxygen

 0.417  0.6 0.6 5.0
 0.417 -0.6 0.6 5.0
"""


def saved(tmp_path, text: str):
    path = tmp_path / "charges.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("head", ["", "3\nwater, q x y z\n"])
def test_charges_are_read(tmp_path, head):
    charges, positions = read_charges(saved(tmp_path, head + CHARGES))
    np.testing.assert_array_equal(charges, [-0.834, 0.417, 0.417])
    np.testing.assert_array_equal(positions[2], [-0.6, 0.6, 5.0])


def test_an_empty_charges_file_means_no_charges(tmp_path):
    charges, positions = read_charges(saved(tmp_path, "# nothing\n"))
    assert charges.shape == (0,)
    assert positions.shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.1 0 0 1\n0.1 0 0\n", "line 2: expected four numbers 'q x y z', found 3 words"),
        ("0.1 0 0 1\n\nO 0 0 2\n", "line 3: expected four numbers 'q x y z', found 'O 0 0 2'"),
        ("2\nwater\n0.1 0 0 1 9\n", "line 3: .* found 5 words"),
        ("4\nwater\n0.1 0 0 1\n", "announces 4 charges in line 1 but has 1"),
        ("0.1 0 0 nan\n", "NaN"),
        ("18.2 0 0 1\n", "another unit"),
        ("".join(f"0.1 {x / 100} 0 0\n" for x in range(60)), "in nm instead of Å"),
        (b"\xff\xfe\x00\x80".decode("latin1"), "charges.txt, line 1"),
    ],
)
def test_charges_files_with_mistakes(tmp_path, text, sentence):
    with pytest.raises(StructureError, match=sentence):
        read_charges(saved(tmp_path, text))


def test_charges_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no charges file"):
        read_charges(tmp_path / "missing")
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(StructureError, match="not a text file"):
        read_charges(binary)


def test_a_frame_of_a_dataset(methanol_file):
    frame = read_frames(methanol_file, [2])[0]
    structure = read_structure(f"{methanol_file}:2")
    np.testing.assert_array_equal(structure.atoms.positions, frame.qm_positions)
    np.testing.assert_array_equal(structure.mm_positions, frame.mm_positions)
    np.testing.assert_array_equal(structure.mm_charges, frame.mm_charges)
    assert structure.atoms.info == {"total_charge": 0, "spin_multiplicity": 1}
    assert not structure.atoms.pbc.any()
    assert structure.name == f"{methanol_file}:2"
    last = read_frames(methanol_file)[-1]
    np.testing.assert_array_equal(
        read_structure(f"{methanol_file}:-1").atoms.positions, last.qm_positions
    )


def test_a_dataset_of_one_frame_needs_no_number(tmp_path):
    ion = Frame(np.array([17]), np.zeros((1, 3)), total_charge=-1, energy=0.0)
    write_frames(tmp_path / "one.h5", [ion], {})
    structure = read_structure(tmp_path / "one.h5")
    assert structure.atoms.info["total_charge"] == -1
    assert len(structure.mm_charges) == 0


@pytest.mark.parametrize("name", ["m.xyz", "m.extxyz", "m.pdb", "m.traj"])
def test_any_file_of_ase(tmp_path, name):
    atoms = molecule("CH3OH")
    write(tmp_path / name, atoms)
    structure = read_structure(tmp_path / name, saved(tmp_path, CHARGES))
    np.testing.assert_allclose(structure.atoms.positions, atoms.positions, atol=1e-3)
    np.testing.assert_array_equal(structure.atoms.numbers, atoms.numbers)
    assert len(structure.mm_charges) == 3


def test_an_image_can_be_picked(tmp_path):
    images = [molecule("CH3OH"), molecule("H2O")]
    write(tmp_path / "two.extxyz", images)
    assert len(read_structure(tmp_path / "two.extxyz").atoms) == 3
    assert len(read_structure(f"{tmp_path}/two.extxyz@0").atoms) == 6


def test_charges_from_a_file_replace_those_of_a_frame(methanol_file, tmp_path):
    structure = read_structure(f"{methanol_file}:0", saved(tmp_path, CHARGES))
    assert len(structure.mm_charges) == 3


def test_structures_that_cannot_be_read(methanol_file, tmp_path):
    n_frames = len(read_frames(methanol_file))
    bad = tmp_path / "bad.xyz"
    bad.write_text("3\n\nH 0 0\n")
    unknown = tmp_path / "unknown.thing"
    unknown.write_text("hello")
    empty = tmp_path / "empty.h5"
    write_frames(empty, [], {})
    truncated = tmp_path / "truncated.h5"
    truncated.write_bytes(methanol_file.read_bytes()[:3000])
    for source, kind, sentence in (
        (f"{methanol_file}:{n_frames}", StructureError, f"has {n_frames} frames; there is no"),
        (methanol_file, StructureError, f"holds {n_frames} frames; name one, as in"),
        (f"{methanol_file}:first", StructureError, "must name a frame by number"),
        (empty, StructureError, "holds no frames"),
        (truncated, ValueError, "truncated"),
        (f"{tmp_path}/missing.h5:3", FileNotFoundError, "no dataset file"),
        (tmp_path / "missing.xyz", FileNotFoundError, "no structure file"),
        (bad, StructureError, "bad.xyz cannot be read as a structure"),
        (unknown, StructureError, "does not know this kind of file"),
        (tmp_path, FileNotFoundError, "no structure file"),
    ):
        with pytest.raises(kind, match=sentence) as caught:
            read_structure(source)
        assert "\n" not in str(caught.value), source
