"""The dataset file: what goes in comes out, and whatever is wrong gets a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from places import DATA

from eqmm_ase.data.boundary import Boundary, ChargeSite, LinkAtom
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import DatasetError, ReferenceData, read_frames, write_frames

METHANOL = DATA / "methanol.h5"
METHOD = {"functional": "b3lyp", "basis": "6-31g*", "program": "pyscf"}


def labelled(n_mm: int = 5, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame(
        atomic_numbers=np.array([8, 1, 1]),
        qm_positions=rng.normal(size=(3, 3)),
        mm_positions=rng.normal(size=(n_mm, 3)),
        mm_charges=rng.normal(size=n_mm),
        total_charge=-1,
        spin_multiplicity=2,
        energy=-2079.123456789012,
        energy_vacuum=-2078.5,
        qm_forces=rng.normal(size=(3, 3)),
        mm_forces=rng.normal(size=(n_mm, 3)),
        mm_potential=rng.normal(size=n_mm),
        charges={"mulliken": rng.normal(size=3), "mbis": rng.normal(size=3)},
        dipole=rng.normal(size=3),
        cell=np.diag([30.0, 31.0, 32.0]),
        medium="water",
        source="trajectory-1",
        frame_id="å-Ζ-1",
    )


def bare() -> Frame:
    return Frame(
        np.array([17]), np.zeros((1, 3)), mm_positions=np.ones((2, 3)), mm_charges=np.ones(2)
    )


def assert_same(one: Frame, other: Frame) -> None:
    for field in fields(Frame):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "charges":
            assert a.keys() == b.keys()
            for scheme in a:
                np.testing.assert_array_equal(a[scheme], b[scheme])
        elif a is None or isinstance(a, str | int | float):
            assert (a, type(a)) == (b, type(b)), field.name
        else:
            np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "data.h5"
    write_frames(path, [labelled(seed=0), bare(), labelled(seed=1)], METHOD)
    return path


def test_frames_survive_a_round_trip_with_every_label_missing_or_present(tmp_path):
    frames = [labelled(seed=0), bare(), replace(labelled(seed=1), energy=None, charges={})]
    path = tmp_path / "data.h5"
    write_frames(path, frames, METHOD)
    for sent, loaded, lazy in zip(frames, read_frames(path), ReferenceData.open(path), strict=True):
        assert_same(sent, loaded)
        assert_same(sent, lazy)


def test_a_frame_without_charges_keeps_its_place_between_others(tmp_path):
    path = tmp_path / "data.h5"
    frames = [labelled(3, seed=0), labelled(0, seed=1), labelled(4, seed=2)]
    write_frames(path, frames, METHOD)
    with ReferenceData(path) as data:
        assert [frame.n_mm for frame in data] == [3, 0, 4] == data.n_mm.tolist()
        assert_same(frames[2], data[2])
        assert data[1].mm_forces.shape == (0, 3)


def test_single_precision_stays_single_on_disk_and_energies_stay_double(tmp_path):
    path = tmp_path / "data.h5"
    frame = labelled()
    write_frames(path, [replace(frame, mm_forces=frame.mm_forces.astype(np.float32))], METHOD)
    with h5py.File(path) as file:
        assert file["mm_forces"].dtype == np.float32
        assert file["energy"].dtype == np.float64
    (loaded,) = read_frames(path)
    np.testing.assert_array_equal(loaded.mm_forces, frame.mm_forces.astype(np.float32))


def test_a_file_says_what_it_is(written):
    with h5py.File(written) as file:
        assert file.attrs["format"] == b"eqmm-dataset"
        assert file.attrs["format_version"] == 1
        assert json.loads(file.attrs["units"])["energy"] == "eV"
    with ReferenceData.open(written) as data:
        assert data.method == METHOD
        assert data.elements == (1, 8, 17)
        assert data.media == ("", "water")
        assert data.sources == ("", "trajectory-1")
        assert data.charge_schemes == ("mbis", "mulliken")


def test_chosen_frames_are_read_in_the_order_asked_for(written):
    chosen = read_frames(written, [2, 0])
    assert_same(chosen[0], labelled(seed=1))
    assert_same(chosen[1], labelled(seed=0))
    with ReferenceData(written) as data:
        assert_same(data[-1], labelled(seed=1))
        assert len(data[0:2]) == 2
        with pytest.raises(IndexError, match="has 3 frames; there is no frame 3"):
            data[3]


def test_the_given_methanol_subset_reads_lazily_and_at_once_alike():
    with ReferenceData(METHANOL) as data:
        frames = data.load()
        assert len(frames) == 18
        assert data.elements == (1, 6, 8)
        assert data.media == ("water",)
        assert_same(frames[7], data[7])
        assert abs(frames[0].charges["mulliken"].sum()) < 1e-6


def test_the_content_hash_follows_the_values_and_not_the_storage(tmp_path):
    def hash_of(frames, method=METHOD):
        write_frames(tmp_path / "h.h5", frames, method)
        return ReferenceData(tmp_path / "h.h5").content_hash

    frame = labelled()
    rounded = replace(frame, mm_forces=frame.mm_forces.astype(np.float32))
    widened = replace(rounded, mm_forces=rounded.mm_forces.astype(np.float64))
    assert hash_of([rounded]) == hash_of([widened])
    assert hash_of([rounded]) != hash_of([frame])
    assert hash_of([frame]) != hash_of([replace(frame, medium="gas")])
    assert hash_of([frame]) != hash_of([frame], {**METHOD, "basis": "sto-3g"})


def test_an_empty_list_of_frames_is_a_valid_file(tmp_path):
    write_frames(tmp_path / "none.h5", [], METHOD)
    assert read_frames(tmp_path / "none.h5") == []


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no dataset file .*absent\.h5"):
        read_frames(tmp_path / "absent.h5")


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "foreign.h5").write_text("not HDF5")
    with pytest.raises(DatasetError, match=r"foreign\.h5 cannot be opened as HDF5"):
        read_frames(tmp_path / "foreign.h5")


def test_hdf5_of_another_kind_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["positions"] = np.zeros((4, 3))
    with pytest.raises(DatasetError, match=r"no attribute 'format'; expected .* 'eqmm-dataset'"):
        read_frames(tmp_path / "other.h5")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path, kept):
    whole = METHANOL.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DatasetError, match=r"cut\.h5"):
        read_frames(tmp_path / "cut.h5")


def test_damaged_bytes_are_refused(tmp_path):
    path = tmp_path / "flipped.h5"
    damaged = bytearray(METHANOL.read_bytes())
    with h5py.File(METHANOL) as file:
        chunk = file["mm_positions"].id.get_chunk_info(0)
    middle = chunk.byte_offset + chunk.size // 2
    damaged[middle : middle + 200] = bytes(200)
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match="'mm_positions' cannot be read"):
        read_frames(path)


def delete(name):
    def change(file):
        del file[name]

    return change


def put(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


def attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (attribute("format_version", 99), "format_version 99; this program reads version 1"),
        (attribute("units", '{"length": "bohr"}'), 'units {"length": "bohr"}; expected'),
        (attribute("method", "b3lyp"), "attribute 'method' is 'b3lyp'; expected a JSON object"),
        (delete("mm_charges"), "no dataset 'mm_charges'"),
        (delete("qm_ptr"), "no dataset 'qm_ptr'"),
        (put("qm_ptr", [0, 4, 3, 7]), "'qm_ptr' does not start at 0 and rise"),
        (put("mm_ptr", [0, 5, 12]), "'mm_ptr' has 3 entries; expected 4"),
        (put("qm_ptr", [0, 3, 3, 7]), "frame 1 has no QM atoms"),
        (put("qm_ptr", [0.0, 3.0]), "'qm_ptr' is not a one-dimensional array of integers"),
        (put("mm_charges", np.zeros(11)), r"'mm_charges' has shape \(11,\); expected \(12,\)"),
        (put("qm_forces", np.zeros(7)), r"'qm_forces' has shape \(7,\); expected \(7, 3\)"),
        (put("mm_charges", np.zeros(12, int)), "'mm_charges' has type int64; expected float32"),
        (put("energy", np.zeros(3, "f4")), "'energy' has type float32; expected float64"),
        (put("total_charge", np.zeros(3)), "'total_charge' has type float64; expected integers"),
        (put("medium", np.zeros(3)), "'medium' has type float64; expected strings"),
        (put("qm_positions", np.full((7, 3), np.nan)), "'qm_positions' has 9 NaN .* frame 0"),
        (put("charges/mbis", np.zeros(2)), r"'charges/mbis' has shape \(2,\)"),
    ],
)
def test_a_broken_file_is_refused_with_file_dataset_found_and_expected(written, change, sentence):
    with h5py.File(written, "r+") as file:
        change(file)
    with pytest.raises(DatasetError, match=sentence) as refusal:
        read_frames(written)
    assert "data.h5" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_half_known_label_is_refused(written):
    with h5py.File(written, "r+") as file:
        file["mm_forces"][0, 1] = np.nan
    with pytest.raises(DatasetError, match=r"'mm_forces' has 1 NaN .* frame 0; expected all"):
        read_frames(written)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"mm_charges": np.zeros(4)},
            r"frame 1 has 'mm_positions' of shape",
        ),
        ({"qm_forces": np.zeros((2, 3))}, r"frame 1 has 'qm_forces' of shape \(2, 3\)"),
        ({"energy": np.nan}, "frame 1 has NaN or infinite values in 'energy'"),
        ({"qm_positions": np.full((3, 3), np.inf)}, "infinite values in 'qm_positions'"),
        ({"charges": {"mbis": np.zeros(9)}}, r"'charges/mbis' of shape \(9,\)"),
        ({"charges": {"a/b": np.zeros(3)}}, "no array 'charges/a/b'"),
        ({"baseline": {"dipole": np.zeros(3)}}, "no array 'baseline/dipole'"),
        ({"source": "a\0b"}, "frame 1 has a character in 'source' that no file can hold"),
        ({"medium": "\udc80"}, "frame 1 has a character in 'medium' that no file can hold"),
        ({"frame_id": 7}, "frame 1 has 'frame_id' = 7; expected a text"),
        ({"total_charge": 0.5}, "frame 1 has fractions in 'total_charge'"),
        ({"atomic_numbers": np.array([8, 1, 0])}, "frame 1 has 0 in 'atomic_numbers'"),
        ({"mm_charges": np.array(["a"] * 5)}, "'mm_charges' of type <U1; expected plain numbers"),
    ],
)
def test_contradictory_frames_are_not_written(tmp_path, change, sentence):
    path = tmp_path / "data.h5"
    with pytest.raises(DatasetError, match=sentence):
        write_frames(path, [labelled(), replace(labelled(), **change)], METHOD)
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_is_no_json_is_not_written(tmp_path):
    with pytest.raises(DatasetError, match=r"method of .*data\.h5 must hold plain JSON values"):
        write_frames(tmp_path / "data.h5", [labelled()], {"basis": {1, 2}})
    long = {"sampling": ["x" * 1000] * 300}  # HDF5 keeps it apart from other attributes
    write_frames(tmp_path / "data.h5", [labelled()], long)
    with ReferenceData(tmp_path / "data.h5") as data:
        assert data.method == long


FULL_DISK = """
import resource, sys
from eqmm_ase.files.dataset_file import read_frames, write_frames

frames = read_frames(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_frames(sys.argv[1], frames, {})
"""


def test_a_full_disk_leaves_the_previous_file_and_no_litter(tmp_path):
    path = tmp_path / "data.h5"
    path.write_bytes(METHANOL.read_bytes())
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stderr
    assert f"OSError: cannot write the dataset file {path}: File too large" in run.stderr
    assert path.read_bytes() == METHANOL.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.h5"]


def test_writing_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        write_frames(tmp_path / "nowhere" / "data.h5", [labelled()], METHOD)


BOUNDARY = Boundary(
    "rcd",
    (LinkAtom(2, 0, "fixed", 1.09, (0.1, -1.0 / 3.0, 2e-17), 0.0337),),
    (ChargeSite(4, 0, 1, 0.5),),
)


def with_boundary() -> Frame:
    return replace(labelled(), mm_charges_original=np.arange(5.0), boundary=BOUNDARY)


def test_cut_bonds_survive_a_round_trip_exactly_beside_frames_without(tmp_path):
    path = tmp_path / "data.h5"
    frames = [bare(), with_boundary(), labelled(0)]
    write_frames(path, frames, METHOD)
    for sent, loaded, lazy in zip(frames, read_frames(path), ReferenceData.open(path), strict=True):
        for found in (loaded, lazy):
            assert found.boundary == sent.boundary
            if sent.n_mm:
                assert_same(replace(sent, boundary=None), replace(found, boundary=None))


def test_files_without_cut_bonds_are_as_they_always_were(written):
    with h5py.File(written) as file:
        assert "boundary" not in file
        assert "mm_charges_original" not in file
    assert all(
        frame.boundary is frame.mm_charges_original is None for frame in read_frames(written)
    )
    assert read_frames(METHANOL)[0].boundary is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "it is no description of link atoms ('charge_scheme')"),
        ("cut here", "it is no description of link atoms (Expecting value"),
        ('{"charge_scheme": "rcd", "links": [{"cap": 1}], "sites": []}', "m1_position"),
        (BOUNDARY.to_json().replace("fixed", "guessed"), "rule 'guessed'"),
        (BOUNDARY.to_json().replace("1.09", "NaN"), "nan is no finite number"),
        (BOUNDARY.to_json().replace("0.0337", '"a"'), "'a' is no finite number"),
        (BOUNDARY.to_json().replace("0.5", "1e999"), "inf is no finite number"),
        (9999 * "[", "it is no description of link atoms"),
        (BOUNDARY.to_json().replace('"cap": 2', '"cap": 3'), "it names QM atom 3 of 3"),
        (BOUNDARY.to_json().replace('"site": 4', '"site": 5'), "it names MM charge 5 of 5"),
        (BOUNDARY.to_json().replace('"link": 0', '"link": 1'), "it names link atom 1 of 1"),
        (BOUNDARY.to_json().replace('"m2": 1', '"m2": "N"'), "it names MM charge 'N' of 5"),
    ],
)
def test_a_wrong_description_of_cut_bonds_is_refused_by_name(text, complaint, tmp_path):
    path = tmp_path / "data.h5"
    write_frames(path, [with_boundary()], METHOD)
    with h5py.File(path, "r+") as file:
        put("boundary", [text])(file)
    with pytest.raises(
        DatasetError, match="frame 0 has a 'boundary' that cannot be used"
    ) as caught:
        read_frames(path)
    assert complaint in str(caught.value)


def test_cut_bonds_of_another_frame_are_not_written(tmp_path):
    with pytest.raises(DatasetError, match="cannot be used: it names MM charge 4"):
        write_frames(tmp_path / "data.h5", [replace(labelled(3), boundary=BOUNDARY)], METHOD)
