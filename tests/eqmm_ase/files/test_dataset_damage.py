"""Damage in a dataset file is noticed and said, whoever reads it, and nothing waits for ever."""

from __future__ import annotations

import json
import os
import signal
import struct
from threading import Timer

import h5py
import numpy as np
import pytest
from frames_kit import frames_of_every_kind, full_frame, write_as_before
from mutations import CRASH, DIFFERENT, EARLIER, HANG, SAME, Guarded, mutate, same_frames, sources
from places import DATA

from eqmm_ase.command_line import run
from eqmm_ase.files.dataset_file import DatasetError, ReferenceData, read_frames, write_frames
from eqmm_ase.files.flat_arrays import flatten

METHOD = {"functional": "b3lyp", "basis": "6-31g*", "program": "pyscf"}
METHANOL = DATA / "methanol.h5"


@pytest.fixture
def written(tmp_path):
    write_frames(tmp_path / "data.h5", [full_frame(5, 1), full_frame(4, 2)], METHOD)
    return tmp_path / "data.h5"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(flatten([full_frame(5)], "")))
def test_a_flipped_bit_in_any_array_is_noticed_for_all_frames_and_for_a_single_one(name, written):
    with h5py.File(written) as file:
        assert file[name].fletcher32
        chunk = file[name].id.get_chunk_info(0)
    damaged = bytearray(written.read_bytes())
    damaged[chunk.byte_offset + chunk.size // 2] ^= 1
    written.write_bytes(damaged)
    with pytest.raises(DatasetError, match=name):
        read_frames(written)
    with pytest.raises(DatasetError, match=r"data\.h5"):
        read_frames(written, [0])


def test_an_array_changed_with_another_program_is_refused_with_the_way_out(written):
    frames = read_frames(written)
    with h5py.File(written, "r+") as file:
        file["energy"][1] = -1.0
    for read in (read_frames, lambda path: ReferenceData(path).content_hash):
        with pytest.raises(DatasetError, match=r"'energy' does not match .* attribute 'checksums'"):
            read(written)
    with h5py.File(written, "r+") as file:
        del file.attrs["checksums"]
    changed = read_frames(written)
    assert [frame.energy for frame in changed] == [frames[0].energy, -1.0]
    write_frames(written, changed, METHOD)
    assert same_frames(read_frames(written), changed)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda file: file.attrs.modify("method", json.dumps({"functional": "hf"})), "attributes"),
        (lambda file: file.__delitem__("mm_potential"), "'mm_potential' is not there"),
        (lambda file: file.move("charges/mbis", "charges/resp"), "'charges/mbis' is not there"),
        (lambda file: file.create_dataset("charges/new", data=np.zeros(6)), "'charges/new' is the"),
        (lambda file: file.attrs.modify("checksums", "{}"), "'checksums' does not match"),
    ],
)
def test_what_a_file_says_of_its_arrays_is_checked_before_any_is_read(change, sentence, written):
    with h5py.File(written, "r+") as file:
        change(file)
    with pytest.raises(DatasetError, match=sentence):
        ReferenceData(written)


def test_files_of_the_first_version_have_no_checksums_and_are_read_as_before(tmp_path):
    frames = frames_of_every_kind()
    write_as_before(tmp_path / "before.h5", frames, METHOD)
    write_frames(tmp_path / "now.h5", frames, METHOD)
    with ReferenceData(tmp_path / "before.h5") as before, ReferenceData(tmp_path / "now.h5") as now:
        assert same_frames(before.load(), now.load())
        assert same_frames(list(before), list(now))
        assert before.content_hash == now.content_hash
        assert before.method == now.method == METHOD


def test_checksums_make_files_no_larger(tmp_path):
    with ReferenceData(METHANOL) as data:
        frames, method = data.load(), data.method
    write_as_before(tmp_path / "before.h5", frames[:3], method)
    write_frames(tmp_path / "now.h5", frames[:3], method)
    assert (tmp_path / "now.h5").stat().st_size < (tmp_path / "before.h5").stat().st_size
    write_frames(tmp_path / "all.h5", frames, method)
    assert (tmp_path / "all.h5").stat().st_size < 1.02 * METHANOL.stat().st_size


def test_a_heap_in_which_the_library_would_walk_for_ever_is_refused(tmp_path):
    path = tmp_path / "before.h5"
    write_as_before(path, [full_frame(2)], METHOD)
    damaged = bytearray(path.read_bytes())
    heap = damaged.find(b"GCOL")
    struct.pack_into("<HHIQ", damaged, heap + 16, 0, 0, 0, 0)
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match="is damaged: its texts"):
        read_frames(path)


def test_texts_and_arrays_larger_than_their_file_are_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "before.h5"
    write_as_before(path, [full_frame(2)], METHOD)
    with h5py.File(path) as file:
        start = file["medium"].id.get_offset()
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 4] = b"\xff\xff\xff\xfe"
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match="'medium' has texts longer than the file"):
        read_frames(path)
    write_as_before(path, [full_frame(2)], METHOD)
    with h5py.File(path, "r+") as file:
        del file["mm_ptr"]
        file.create_dataset("mm_ptr", (1 << 40,), "i8", chunks=(1 << 16,))
    with pytest.raises(DatasetError, match=r"'mm_ptr' has shape .* more than a file of this size"):
        read_frames(path)


def test_numbers_that_are_no_element_and_no_state_are_refused(tmp_path):
    path = tmp_path / "before.h5"
    write_as_before(path, [full_frame(2)], METHOD)
    for name, value, sentence in (
        ("atomic_numbers", 119, "frame 0 has 119 in 'atomic_numbers'; expected 1 to 118"),
        ("spin_multiplicity", 0, "frame 0 has 0 in 'spin_multiplicity'; expected 1 to"),
        ("mm_potential", 1e300, r"frame 0 has 1e\+300 in 'mm_potential', which is no size"),
    ):
        write_as_before(path, [full_frame(2)], METHOD)
        with h5py.File(path, "r+") as file:
            file[name][0] = value
        with pytest.raises(DatasetError, match=sentence):
            read_frames(path)


@pytest.mark.parametrize(
    "command",
    [
        ("eqmm", "info", "{}"),
        ("eqmm", "train", "{}", "-o", "model.eqmm"),
        ("eqmm", "evaluate", str(METHANOL.with_suffix(".eqmm")), "{}"),
        ("eqmm", "optimize", str(METHANOL.with_suffix(".eqmm")), "{}:0"),
        ("eqmm-datagen", "label", "{}", "-o", "labels.h5", "--workers", "1"),
        ("eqmm-datagen", "merge", "{}", "-o", "merged.h5"),
        ("eqmm-datagen", "split", "{}", "--fraction", "0.5"),
        ("eqmm-datagen", "export", "{}", "-o", "out.extxyz"),
    ],
)
def test_every_command_says_damage_in_one_sentence(command, written, capsys, monkeypatch):
    from datagen.cli import cli as datagen
    from eqmm_ase.cli import cli as eqmm

    monkeypatch.chdir(written.parent)
    whole = written.read_bytes()
    with h5py.File(written) as file:
        chunk = file["qm_positions"].id.get_chunk_info(0)
    program, *arguments = (part.format(written) for part in command)
    for place in (chunk.byte_offset + 20, len(whole) // 2, 300):
        written.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
        assert run({"eqmm": eqmm, "eqmm-datagen": datagen}[program], program, arguments) == 2
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
        assert "data.h5" in line


@pytest.mark.slow  # a process that loads torch, and more than a hundred damaged files
def test_nothing_but_a_refusal_or_the_same_content_comes_of_damage(tmp_path):
    originals = sources(tmp_path)
    with Guarded() as worker:
        for title in ("dataset, every field", EARLIER, "model, committee"):
            kind, path = originals[title]
            counts, wrong = mutate(worker, kind, path, 27, seed=5)
            assert all(outcomes.total() == 3 for outcomes in counts.values())
            if title == EARLIER:  # no checksums: a wrong number cannot be told from a right one
                wrong = [x for x in wrong if {door[1] for door in x["doors"]} - {DIFFERENT}]
            assert not wrong, title


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_over_a_file_is_noticed(written):
    asked = "dataset", written, written
    with Guarded(load_all=False) as worker:
        assert worker.outcomes(*asked)[0][1] == SAME
        os.kill(worker._process.pid, signal.SIGSTOP)  # it cannot be the faster one by chance
        assert worker.outcomes(*asked, timeout=0.1)[0][1] == HANG
        os.kill(worker._process.pid, signal.SIGSTOP)
        Timer(0.2, worker._process.kill).start()  # dies while it is waited for
        assert worker.outcomes(*asked)[0][1] == CRASH
        worker._process.kill()
        worker._process.join()  # is dead when it is asked
        assert worker.outcomes(*asked)[0][1] == CRASH
        assert worker.outcomes(*asked)[0][1] == SAME
