"""A campaign loses nothing to kills, full disks, dead workers and damaged files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyscf")

from campaign_kit import (
    OPTIONS,
    QUICK,
    alive,
    children,
    fake_label,
    ledger,
    results,
    wait_for,
    waters,
)
from label_kit import water_in_charges

from datagen.campaigns import frame_loop
from datagen.campaigns.campaign import Campaign, label_frames
from datagen.campaigns.storage import frame_id, from_bytes, to_bytes
from datagen.campaigns.worker import Outcome, label_task
from datagen.cli import cli
from datagen.errors import CampaignError, DiskFullError
from datagen.labels.method import Method
from eqmm_ase import atomic_write
from eqmm_ase.command_line import run
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames


@pytest.fixture
def fake_labels(monkeypatch):
    monkeypatch.setattr(frame_loop, "label_task", fake_label)


@pytest.mark.slow
def test_labels_of_a_campaign_are_those_of_single_frames(tmp_path):
    frames = waters(3)
    seen = []
    summary = label_frames(
        frames,
        QUICK,
        tmp_path / "campaign",
        workers=2,
        output=tmp_path / "labels.h5",
        on_progress=seen.append,
    )
    assert (summary.done, summary.failed, summary.waiting) == (3, 0, 0)
    assert [(p.done, p.total) for p in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    labelled = read_frames(tmp_path / "labels.h5")
    for frame, label in zip(frames, labelled, strict=True):
        direct = label_task(frame, QUICK).frame
        assert label.frame_id == frame_id(frame, QUICK)
        assert (label.source, label.medium) == (frame.source, "water")
        np.testing.assert_array_equal(label.mm_positions, frame.mm_positions)
        assert label.energy == pytest.approx(direct.energy, abs=1e-8)
        np.testing.assert_allclose(label.mm_forces, direct.mm_forces, atol=1e-5)
        np.testing.assert_allclose(label.charges["lowdin"], direct.charges["lowdin"], atol=1e-5)
    with ReferenceData(tmp_path / "labels.h5") as data:
        assert data.method["functional"] == "hf"
        assert "pyscf" in data.method["versions"]


def test_finished_frames_are_never_computed_again(tmp_path, monkeypatch):
    frames = waters(3)
    monkeypatch.setattr(frame_loop, "label_task", fake_label)
    label_frames(frames[:2], QUICK, tmp_path, workers=0)
    computed = []

    def counted(frame, method):
        computed.append(frame_id(frame, method))
        return fake_label(frame, method)

    monkeypatch.setattr(frame_loop, "label_task", counted)
    summary = label_frames(frames, QUICK, tmp_path, workers=0)
    assert summary.done == 3
    assert computed == [frame_id(frames[2], QUICK)]


@pytest.mark.usefixtures("fake_labels")
def test_equal_frames_are_one_and_the_order_is_that_of_the_input(tmp_path):
    first, second, third = waters(3)
    label_frames([third], QUICK, tmp_path / "c", workers=0)
    given = [second, first, second, replace(first, source="elsewhere")]
    label_frames(given, QUICK, tmp_path / "c", workers=0, output=tmp_path / "labels.h5")
    labelled = read_frames(tmp_path / "labels.h5")
    assert [f.energy for f in labelled] == [f.qm_positions[0, 0] for f in (second, first)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_kill_9_or_ctrl_c_in_the_middle_of_label_loses_nothing_and_repeats_nothing(tmp_path, how):
    frames = waters(40)
    write_frames(tmp_path / "frames.h5", frames, {})
    folder = tmp_path / "labels.h5.campaign"
    program = "from datagen.cli import main; main()"
    arguments = ["label", "frames.h5", "-o", "labels.h5", *OPTIONS]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(frame_loop.__file__).parents[2])},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(results(folder)) >= 3, process)
        workers = children(process.pid)
        assert workers
    finally:
        process.send_signal(how)
        process.wait()
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    wait_for(lambda: not any(alive(pid) for pid in workers))
    before = {path: path.stat().st_mtime_ns for path in results(folder)}
    done = {name for name, state, _ in ledger(folder) if state == "done"}
    if how is signal.SIGINT:
        assert "running" not in {state for _, state, _ in ledger(folder)}
    assert 3 <= len(before) < 40, "the kill came too late to test anything"
    assert len(done) >= len(before) - 1
    assert not (tmp_path / "labels.h5").exists()

    summary = label_frames(frames, QUICK, folder, workers=0, output=tmp_path / "labels.h5")
    assert summary.done == 40
    ids = [frame.frame_id for frame in read_frames(tmp_path / "labels.h5")]
    assert ids == [frame_id(frame, QUICK) for frame in frames]
    for path, written in before.items():
        if path.stem in done:
            assert path.stat().st_mtime_ns == written
    attempts = [tries for _, _, tries in ledger(folder)]
    assert sum(attempts) <= 41, "more than the one frame in flight was computed twice"
    assert len(results(folder)) == 40


def _dies_on_the_second(frame: Frame, method: Method) -> Outcome:
    if np.allclose(frame.qm_positions, water_in_charges(1).qm_positions):
        os.kill(os.getpid(), signal.SIGKILL)
    return fake_label(frame, method)


@pytest.mark.slow
def test_frame_that_kills_its_worker_is_given_up_and_the_others_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_loop, "label_task", _dies_on_the_second)
    summary = label_frames(waters(4), QUICK, tmp_path, workers=2)
    assert (summary.done, summary.failed) == (3, 1)
    ((reason, count, message),) = summary.failures
    assert (reason, count) == ("WorkerDiedError", 1)
    assert "died 3 times" in message
    assert [tries for _, _, tries in ledger(tmp_path)] == [1, 3, 1, 1]


@pytest.mark.usefixtures("fake_labels")
def test_full_disk_is_a_sentence_and_the_campaign_goes_on_later(tmp_path, monkeypatch):
    frames, folder = waters(4), tmp_path / "campaign"
    sync, calls = os.fsync, []

    def full_at_the_third(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(atomic_write.os, "fsync", full_at_the_third)
    with pytest.raises(DiskFullError, match="full; nothing is lost, run the same command again"):
        label_frames(frames, QUICK, folder, workers=0)
    assert [state for _, state, _ in ledger(folder)] == ["done", "done", "waiting", "waiting"]
    assert len(list(folder.glob("results/*/*"))) == 2  # nothing half written
    monkeypatch.undo()
    monkeypatch.setattr(frame_loop, "label_task", fake_label)
    assert label_frames(frames, QUICK, folder, workers=0).done == 4
    assert [tries for _, _, tries in ledger(folder)] == [1, 1, 2, 1]


@pytest.mark.slow
def test_full_disk_ends_the_command_with_exit_code_1(tmp_path, monkeypatch, capsys):
    write_frames(tmp_path / "frames.h5", waters(1), {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(frame_loop, "write_result", full)
    code = run(
        cli,
        "eqmm-datagen",
        ["label", str(tmp_path / "frames.h5"), "-o", str(tmp_path / "l.h5"), *OPTIONS],
    )
    assert code == 1
    assert "is full; nothing is lost" in capsys.readouterr().err
    assert not (tmp_path / "l.h5").exists()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), id="truncated"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), id="altered"),
        pytest.param(Path.unlink, id="missing"),
    ],
)
@pytest.mark.usefixtures("fake_labels")
@pytest.mark.parametrize("collect_first", [True, False])
def test_damaged_result_is_never_collected_and_computed_again(tmp_path, damage, collect_first):
    frames, output = waters(3), tmp_path / "labels.h5"
    label_frames(frames, QUICK, tmp_path / "c", workers=0)
    name = frame_id(frames[1], QUICK)
    damage(tmp_path / "c" / "results" / name[:2] / f"{name}.npz")
    if collect_first:
        with Campaign(tmp_path / "c", QUICK) as campaign:
            with pytest.raises(CampaignError, match=r"1 result files .* are damaged"):
                campaign.collect(output)
            assert campaign.summary().waiting == 1
        assert not output.exists()
    assert label_frames(frames, QUICK, tmp_path / "c", workers=0, output=output).done == 3
    assert [tries for _, _, tries in ledger(tmp_path / "c")] == [1, 2, 1]
    assert len(read_frames(output)) == 3


def test_failed_frames_keep_their_reason_and_are_left_out(tmp_path):
    frames = waters(2)
    frames.insert(1, replace(frames[0], spin_multiplicity=2))
    summary = label_frames(frames, QUICK, tmp_path / "c", workers=0, output=tmp_path / "l.h5")
    assert (summary.done, summary.failed) == (2, 1)
    ((reason, _, message),) = summary.failures
    assert reason == "InvalidFrameError"
    assert "10 electrons" in message
    assert len(read_frames(tmp_path / "l.h5")) == 2
    label_frames(frames, QUICK, tmp_path / "c", workers=0)
    assert [tries for _, _, tries in ledger(tmp_path / "c")] == [1, 1, 1]
    label_frames(frames, QUICK, tmp_path / "c", workers=0, retry_failed=True)
    assert [tries for _, _, tries in ledger(tmp_path / "c")] == [1, 2, 1]


@pytest.mark.slow
def test_unconverged_frames_are_failed_in_the_table_and_exit_code_1(tmp_path, capsys):
    frames, output = tmp_path / "frames.h5", tmp_path / "labels.h5"
    write_frames(frames, waters(1), {})
    code = run(
        cli, "eqmm-datagen", ["label", str(frames), "-o", str(output), *OPTIONS, "--max-cycle", "1"]
    )
    assert code == 1
    assert "failed: SCFNotConvergedError" in capsys.readouterr().out
    assert not output.exists()
    rows = ledger(tmp_path / "labels.h5.campaign", "state, reason")
    assert rows == [("failed", "SCFNotConvergedError")]


@pytest.mark.usefixtures("fake_labels")
def test_campaign_is_held_by_one_process_and_has_one_method(tmp_path):
    label_frames(waters(1), QUICK, tmp_path, workers=0)
    with Campaign(tmp_path, QUICK), pytest.raises(CampaignError, match="another process"):
        Campaign(tmp_path, QUICK)
    with pytest.raises(CampaignError, match="made with basis = 'sto-3g' and not '6-31g'"):
        Campaign(tmp_path, replace(QUICK, basis="6-31g"))
    with Campaign(tmp_path, QUICK) as campaign:
        assert campaign.summary().done == 1


def test_foreign_ledger_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(CampaignError, match="is not a campaign ledger"):
        Campaign(tmp_path, QUICK)


def test_frame_id_depends_on_what_the_label_depends_on():
    frame = water_in_charges()
    same = [
        replace(frame, source="other", medium="other", energy=1.0, frame_id="x"),
        replace(frame, atomic_numbers=frame.atomic_numbers.astype(np.int32)),
    ]
    assert {frame_id(f, QUICK) for f in [frame, *same]} == {frame_id(frame, QUICK)}
    others = [
        frame_id(replace(frame, mm_charges=frame.mm_charges * (1 + 1e-12)), QUICK),
        frame_id(replace(frame, total_charge=2), QUICK),
        frame_id(replace(frame, spin_multiplicity=3), QUICK),
        frame_id(frame.in_vacuum(), QUICK),
        frame_id(frame, replace(QUICK, density_fit=False)),
    ]
    assert len({frame_id(frame, QUICK), *others}) == 6


def test_stored_frame_comes_back_as_it_was():
    frame = replace(
        water_in_charges(), energy=-1.5, charges={"lowdin": np.arange(3.0)}, cell=np.eye(3)
    )
    back = from_bytes(to_bytes(frame))
    assert (back.energy, back.medium, back.total_charge) == (-1.5, "water", 0)
    assert isinstance(back.total_charge, int)
    assert back.qm_forces is None
    np.testing.assert_array_equal(back.charges["lowdin"], frame.charges["lowdin"])
    np.testing.assert_array_equal(back.mm_positions, frame.mm_positions)
    assert frame_id(back, QUICK) == frame_id(frame, QUICK)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.h5", "-o", "l.h5"], "no dataset file missing.h5"),
        (["frames.h5", "-o", "frames.h5"], "is the input"),
        (["frames.h5", "-o", "nowhere/l.h5"], "the folder nowhere does not exist"),
        (["frames.h5", "-o", "precious.h5"], "exists already"),
        (["frames.h5", "-o", "l.h5", "--functional", "wb97x-d"], "use 'wb97x-d3bj' instead"),
        (["frames.h5", "-o", "l.h5", "--basis", "6-31q"], "no basis set '6-31q'"),
        (["precious.h5", "-o", "l.h5"], "foreign or truncated"),
    ],
)
def test_bad_input_to_label_is_a_sentence_and_exit_code_2(
    arguments, sentence, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_frames("frames.h5", waters(1), {})
    Path("precious.h5").write_text("precious")
    assert run(cli, "eqmm-datagen", ["label", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in " ".join(error.split())
    assert "Traceback" not in error
    assert Path("precious.h5").read_text() == "precious"
    assert len(read_frames("frames.h5")) == 1
