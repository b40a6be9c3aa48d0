"""`status` tells the truth about a campaign at any time, and draws what its labels look like."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import DATA

pytest.importorskip("pyscf")

from campaign_kit import QUICK, waters

from datagen.campaigns import frame_loop
from datagen.campaigns import ledger as ledger_module
from datagen.campaigns.campaign import Campaign, label_frames
from datagen.campaigns.ledger import Ledger, LedgerReader
from datagen.campaigns.statistics import FAR, coverage, gather
from datagen.campaigns.status import Status
from datagen.campaigns.worker import Outcome
from datagen.cli import cli
from datagen.errors import SCFNotConvergedError
from eqmm_ase.command_line import run
from eqmm_ase.data.frame import Frame
from eqmm_ase.simulation.coordinate import Coordinate, CoordinateError

VERSION1 = DATA / "campaigns" / "version1"
BEND = Coordinate.parse("d(0,1)-d(0,2)")


def _label(frame: Frame, method: object) -> Outcome:
    """Labels in no time; triplets do not converge."""
    if frame.spin_multiplicity == 3:
        raise SCFNotConvergedError("no stage converged")
    labelled = replace(
        frame,
        energy=float(frame.qm_positions[0, 0]),
        qm_forces=frame.qm_positions * 0.1,
        mm_forces=frame.mm_positions * 0.01,
    )
    return Outcome(labelled, "warm", ("close contact",), 2.0, "here", {"pyscf": "0"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three labels, two failures and one frame that waits."""
    monkeypatch.setattr(frame_loop, "label_task", _label)
    frames = waters(6)
    frames[3:5] = [replace(frame, spin_multiplicity=3) for frame in frames[3:5]]
    label_frames(frames[:5], QUICK, tmp_path / "campaign", workers=0)
    with Campaign(tmp_path / "campaign") as campaign:
        campaign.add(frames)
    return tmp_path / "campaign"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_status_counts_frames_groups_failures_and_says_how_to_go_on(folder, capsys):
    assert run(cli, "eqmm-datagen", ["status", str(folder)]) == 0
    text = told(capsys)
    assert "method hf/sto-3g" in text
    assert "frames 6: 3 done, 0 running, 1 waiting, 2 failed" in text
    assert "nobody works on it: `eqmm-datagen run` goes on" in text
    assert "a label 2 s in the median, 2 s at most" in text
    assert "SCF warm 3" in text
    assert "begun 5 calculations" in text
    assert "failed 2 SCFNotConvergedError, for example: no stage converged" in text
    assert "warnings 3 labels carry one; --warnings lists them" in text


def test_status_lists_the_labels_with_a_warning_and_the_reasons(folder, capsys):
    with LedgerReader(folder / "ledger.sqlite") as ledger:
        done = [row.frame_id for row in ledger.rows() if row.state == "done"]
    assert run(cli, "eqmm-datagen", ["status", str(folder), "--warnings"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    listed = [line for line in lines if line.startswith("frame ")]
    sources = [frame.source for frame in waters(3)]
    assert listed == [
        f"frame {n} ({name}, {source}): close contact"
        for n, (name, source) in enumerate(zip(done, sources, strict=True))
    ]
    assert lines[-1] == "3 of 3 frames carry a warning"


def test_status_of_a_running_campaign_needs_no_lock_and_changes_nothing(folder, capsys):
    with Campaign(folder):
        before = (folder / "ledger.sqlite").read_bytes()
        assert run(cli, "eqmm-datagen", ["status", str(folder), "--coordinate", BEND.text]) == 0
        assert "a process works on it, 1 frames at a time" in told(capsys)
        assert (folder / "ledger.sqlite").read_bytes() == before


def test_rate_is_that_of_the_last_half_hour_of_the_last_run(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(ledger_module.time, "time", lambda: clock[0])
    with Campaign(tmp_path, QUICK) as campaign:
        names = campaign.add(waters(40))
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def finish(name: str, when: float) -> None:
        ledger.started(name, when - 1.0)
        clock[0] = when
        ledger.done(
            name, checksum="", wall_time=1.0, host="", scf_stage="warm", warnings=(), versions={}
        )

    for number in range(10):  # a run of long ago, fast
        finish(names[number], 1000.0 + number)
    ledger.set_fact("run", {"started": 100_000.0, "slots": 2})
    for number in range(10):  # a slow beginning: imports, hard frames
        finish(names[10 + number], 100_000.0 + 360.0 * (number + 1))
    for number in range(15):  # then one every two minutes
        finish(names[20 + number], 103_600.0 + 120.0 * (number + 1))
    ledger.started(names[35], 105_400.0)
    ledger.close()

    stopped = Status.read(tmp_path)
    assert stopped.rate == pytest.approx(30 + 2, abs=2.1)  # and up to one at the window's edge
    assert stopped.time_left is None
    monkeypatch.setattr("datagen.campaigns.status.is_held", lambda _: True)
    clock[0] = 105_400.0
    running = Status.read(tmp_path)
    assert running.rate == pytest.approx(stopped.rate)
    assert running.time_left == pytest.approx(3600 * 5 / running.rate)
    assert "min left" in " ".join(running.lines())
    clock[0] = 107_000.0  # nothing more has come since
    assert Status.read(tmp_path).rate < 10


def test_status_of_a_campaign_of_version_1_tells_what_is_known(tmp_path, capsys):
    folder = shutil.copytree(VERSION1, tmp_path / "old")
    assert run(cli, "eqmm-datagen", ["status", str(folder)]) == 0
    text = told(capsys)
    assert "frames 4: 2 done, 0 running, 1 waiting, 1 failed" in text
    assert "rate" not in text


def test_statistics_are_those_of_the_labels(folder):
    frames = waters(6)
    statistics = gather(folder, BEND)
    x = np.array([frame.qm_positions[0, 0] for frame in frames[:3]])
    np.testing.assert_allclose(statistics.energies, x - x.mean(), atol=1e-12)
    norms = [0.1 * np.linalg.norm(frame.qm_positions, axis=1) for frame in frames[:3]]
    np.testing.assert_allclose(statistics.qm_forces, np.concatenate(norms))
    assert len(statistics.mm_forces) == 3 * 20
    all_distances = [
        np.linalg.norm(f.mm_positions[:, None] - f.qm_positions, axis=2) for f in frames[:3]
    ]
    np.testing.assert_allclose(statistics.contacts, [d.min() for d in all_distances])
    nearest = np.concatenate([d.min(1) for d in all_distances])
    np.testing.assert_allclose(statistics.site_distances, nearest[nearest < FAR])
    bend = [
        np.linalg.norm(f.qm_positions[0] - f.qm_positions[1])
        - np.linalg.norm(f.qm_positions[0] - f.qm_positions[2])
        for f in frames
    ]
    np.testing.assert_allclose(statistics.labelled, bend[:3])
    np.testing.assert_allclose(statistics.unlabelled, bend[3:])


def test_coverage_names_the_range_and_the_widest_gap():
    assert coverage(np.array([2.0, -1.0, 0.5, 0.0])) == (
        "-1.00 to 2.00 Å, widest gap 1.50 Å above 0.50 Å"
    )
    assert coverage(np.array([1.0])) == "1.00 to 1.00 Å"


def test_coordinate_of_an_atom_that_there_is_not_is_refused(folder, capsys):
    with pytest.raises(CoordinateError, match="names atom 7"):
        gather(folder, Coordinate.parse("d(0,7)"))
    assert run(cli, "eqmm-datagen", ["status", str(folder), "--coordinate", "d(0)"]) == 2
    assert "is no reaction coordinate" in capsys.readouterr().err


@pytest.mark.slow
def test_picture_is_written_for_any_campaign(folder, tmp_path, capsys, figures):
    empty = tmp_path / "empty"
    with Campaign(empty, QUICK) as campaign:
        campaign.add(waters(1))
    for campaign_folder, options in ((folder, ["--coordinate", BEND.text]), (empty, [])):
        picture = tmp_path / f"{campaign_folder.name}.png"
        arguments = ["status", str(campaign_folder), "--plot", str(picture), *options]
        assert run(cli, "eqmm-datagen", arguments) == 0
        assert picture.is_file()
        assert f"picture {picture}" in told(capsys)
    counts = [[sum(b.get_height() for b in a.patches) for a in f.axes] for f in figures]
    # Labels, atoms, sites, labels, sites, and frames with and without labels.
    assert counts == [[3, 9, 60, 3, 60, 6], [0] * 6]
    arguments = ["status", str(folder), "--plot", str(tmp_path / "nowhere" / "x.png")]
    assert run(cli, "eqmm-datagen", arguments) == 2
