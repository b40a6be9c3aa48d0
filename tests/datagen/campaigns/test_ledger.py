"""The ledger says at any time, to anybody, where each frame stands; early ledgers go on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from places import DATA

pytest.importorskip("pyscf")

from campaign_kit import QUICK, fake_label, ledger, results, waters
from damage_kinds import DAMAGES
from label_kit import water_in_charges

from datagen.campaigns import frame_loop
from datagen.campaigns.campaign import Campaign, label_frames
from datagen.campaigns.ledger import Ledger, LedgerReader
from datagen.campaigns.storage import frame_id, from_bytes, result_path, write_result
from datagen.errors import CampaignError
from datagen.processes.executors import InThisProcess
from eqmm_ase.files.dataset_file import ReferenceData

CAMPAIGNS = DATA / "campaigns"


@pytest.fixture
def version1(tmp_path: Path) -> Path:
    """A campaign of version 1: one done, one failed, one done, and one that a kill interrupted."""
    return Path(shutil.copytree(CAMPAIGNS / "version1", tmp_path / "version1"))


def test_campaign_of_version_1_goes_on_without_computing_a_label_again(version1, monkeypatch):
    before = ledger(version1, "frame_id, state, attempts, checksum, wall_time, inputs")
    computed = []

    def counted(frame, method):
        computed.append(frame_id(frame, method))
        return fake_label(frame, method)

    monkeypatch.setattr(frame_loop, "label_task", counted)
    frames = [water_in_charges(seed, 4) for seed in (0, 2, 3)]
    output = version1 / "labels.h5"
    assert label_frames(frames, QUICK, version1, workers=0, output=output).done == 3
    assert computed == [before[3][0]]
    after = ledger(version1, "frame_id, state, attempts, checksum, wall_time, inputs")
    assert after[:3] == before[:3]
    assert [row[1:3] for row in after] == [("done", 1), ("failed", 1), ("done", 1), ("done", 2)]
    ((version,),) = _sql(version1, "SELECT value FROM campaign WHERE key = 'version'")
    assert version == "2"
    with ReferenceData(output) as data:
        assert len(data) == 3


def test_ledger_of_version_1_can_be_read_while_its_program_runs(version1):
    content = (version1 / "ledger.sqlite").read_bytes()
    with LedgerReader(version1 / "ledger.sqlite") as reader:
        rows = reader.rows()
    assert [row.state for row in rows] == ["done", "failed", "done", "waiting"]
    assert [row.started for row in rows] == [None] * 4
    assert rows[1].reason == "InvalidFrameError"
    assert (version1 / "ledger.sqlite").read_bytes() == content


def test_upgrade_that_is_interrupted_leaves_the_early_ledger(version1, monkeypatch):
    before = ledger(version1, "*")
    monkeypatch.setattr("datagen.campaigns.ledger_schema._set_version", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Ledger(version1 / "ledger.sqlite")
    assert ledger(version1, "*") == before


def test_ledger_of_a_later_version_is_refused(tmp_path):
    Ledger(tmp_path / "ledger.sqlite").close()
    _sql(tmp_path, "UPDATE campaign SET value = '99' WHERE key = 'version'")
    for open_it in (Ledger, LedgerReader):
        with pytest.raises(CampaignError, match="version 99; this program knows versions up to 2"):
            open_it(tmp_path / "ledger.sqlite")


def test_rows_tell_when_where_and_how_long(tmp_path, monkeypatch):
    seen = []

    def looked_at(frame, method):
        with LedgerReader(tmp_path / "ledger.sqlite") as reader:
            seen.append([row.state for row in reader.rows()])
        return fake_label(frame, method)

    monkeypatch.setattr(frame_loop, "label_task", looked_at)
    begin = time.time()
    label_frames(waters(2), QUICK, tmp_path, workers=0)
    assert seen == [["running", "waiting"], ["done", "running"]]
    with LedgerReader(tmp_path / "ledger.sqlite") as reader:
        first, second = reader.rows()
    assert begin < first.started < first.finished < second.finished < time.time()
    assert first.started < second.started < second.finished
    assert (first.host, first.scf_stage, first.versions) == ("here", "minao", {"pyscf": "0"})


def test_frame_that_ran_when_its_driver_was_killed_waits_again(tmp_path):
    with Campaign(tmp_path, QUICK) as campaign:
        (name,) = campaign.add(waters(1))
    # What a kill leaves behind: nobody holds the campaign, and the row says that the frame runs.
    killed = Ledger(tmp_path / "ledger.sqlite")
    killed.started(name, 0.0)
    killed.close()
    assert ledger(tmp_path) == [(name, "running", 1)]
    with Campaign(tmp_path) as campaign:
        assert campaign.summary().waiting == 1
    assert ledger(tmp_path) == [(name, "waiting", 1)]


_KILLED_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE frames SET state = 'done', inputs = zeroblob(200000)")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("reader", [Ledger, LedgerReader])
def test_half_written_transaction_is_undone_by_whoever_comes_next(tmp_path, reader):
    with Campaign(tmp_path, QUICK) as campaign:
        campaign.add(waters(30))
    before = ledger(tmp_path, "*")
    path = tmp_path / "ledger.sqlite"
    size = path.stat().st_size
    done = subprocess.run([sys.executable, "-c", _KILLED_IN_A_TRANSACTION, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "ledger.sqlite-journal").stat().st_size > 0
    assert path.stat().st_size > size, "nothing of the transaction had reached the file"
    opened = reader(path)
    assert {row.state for row in opened.rows()} == {"waiting"}
    opened.close()
    assert ledger(tmp_path, "*") == before


def test_label_that_its_ledger_does_not_know_of_is_taken_over(tmp_path, monkeypatch):
    frames = waters(3)
    monkeypatch.setattr(frame_loop, "label_task", fake_label)
    label_frames(frames, QUICK, tmp_path, workers=0)
    os.remove(tmp_path / "ledger.sqlite")
    damaged = results(tmp_path)[1]
    damaged.write_bytes(damaged.read_bytes().replace(b"NUMPY", b"NUMBY", 1))
    (tmp_path / "results" / "aa").mkdir(exist_ok=True)
    (tmp_path / "results" / "aa" / ".aa.npz.x7.part").write_text("left by a kill")
    computed = []

    def counted(frame, method):
        computed.append(frame_id(frame, method))
        return fake_label(frame, method)

    monkeypatch.setattr(frame_loop, "label_task", counted)
    summary = label_frames(frames, QUICK, tmp_path, workers=0, output=tmp_path / "labels.h5")
    assert summary.done == 3
    assert computed == [damaged.stem]
    assert ledger(tmp_path, "rung, host, versions")[0] == ("minao", "here", '{"pyscf": "0"}')
    assert list(tmp_path.glob("results/*/.*")) == []


def test_results_of_an_earlier_version_are_taken_over_when_the_ledger_is_lost(
    tmp_path, monkeypatch
):
    (frame,) = waters(1)
    name = frame_id(frame, QUICK)
    record = fake_label(frame, QUICK).record
    record["rung"] = record.pop("scf_stage")  # as it was called
    write_result(result_path(tmp_path, name), replace(frame, energy=1.0), name, record)
    monkeypatch.setattr(frame_loop, "label_task", None)  # nothing is left to compute
    assert label_frames([frame], QUICK, tmp_path, workers=0).done == 1
    with LedgerReader(tmp_path / "ledger.sqlite") as known:
        assert known.rows()[0].scf_stage == "minao"


def test_damaged_ledger_is_a_sentence_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_loop, "label_task", fake_label)
    label_frames(waters(30), QUICK, tmp_path, workers=0)
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        pytest.raises(CampaignError, match=r"damaged .* are taken over when it is moved away"),
        Campaign(tmp_path, QUICK) as campaign,
    ):
        campaign.run(InThisProcess())


@pytest.mark.slow
def test_a_ledger_with_wrong_bytes_is_read_or_refused_and_nothing_else(version1):
    path = version1 / "ledger.sqlite"
    whole = path.read_bytes()
    refusals = []
    for number in range(90):
        rng = random.Random(number)
        damage = list(DAMAGES.values())[number % len(DAMAGES)]
        path.write_bytes(damage(whole, rng))
        for open_ledger in (LedgerReader, Ledger):
            try:
                with open_ledger(path) as known:
                    for row in known.rows():
                        from_bytes(known.inputs(row.frame_id))
                    known.known_fact("method")
            except CampaignError as error:
                refusals.append(str(error))
    assert len(refusals) > 60
    assert not any("\n" in sentence for sentence in refusals)


def _sql(folder: Path, statement: str) -> list[tuple]:
    database = sqlite3.connect(folder / "ledger.sqlite")
    try:
        with database:
            return database.execute(statement).fetchall()
    finally:
        database.close()
