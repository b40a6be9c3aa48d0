"""`run`, `retry` and `collect`: a campaign folder is all they need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pyscf")

from campaign_kit import QUICK, fake_label, ledger, results, waters

from datagen.campaigns import config, frame_loop
from datagen.campaigns.campaign import Campaign, label_frames
from datagen.campaigns.config import load_campaign_config
from datagen.cli import cli
from datagen.processes.executors import InThisProcess
from eqmm_ase.command_line import run
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.settings_reader import ConfigError

SETTINGS = "frames: frames.h5\nmethod: {functional: hf, basis: sto-3g}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign that was never run; its second frame cannot be computed."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    frames = waters(3)
    frames[1] = replace(frames[1], spin_multiplicity=2)
    write_frames(folder / "frames.h5", frames, {})
    (folder / "campaign.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture
def fake_labels(monkeypatch):
    """Compute nothing, in this process, and fail where the program would."""

    def label(frame, method):
        if frame.spin_multiplicity == 2:
            raise ValueError("ten electrons")
        if frame.spin_multiplicity == 4:
            raise KeyError("another reason")
        return fake_label(frame, method)

    monkeypatch.setattr(frame_loop, "label_task", label)
    monkeypatch.setattr(config, "open_executor", lambda *_: InThisProcess())


def command(*arguments: str | Path) -> int:
    return run(cli, "eqmm-datagen", [str(argument) for argument in arguments])


@pytest.mark.slow
def test_run_retry_collect_take_a_campaign_from_its_settings_to_a_dataset(folder, capsys):
    assert command("run", folder, "executor.workers=1") == 1
    assert "failed: InvalidFrameError" in capsys.readouterr().out
    assert [row[1:] for row in ledger(folder)] == [("done", 1), ("failed", 1), ("done", 1)]
    assert command("retry", folder, "--reason", "InvalidFrameError") == 0
    assert "1 failed frames wait again" in capsys.readouterr().out
    assert [row[1] for row in ledger(folder)] == ["done", "waiting", "done"]

    output = folder.parent / "labels.h5"
    assert command("collect", folder, "-o", output) == 0
    with ReferenceData(output) as data:
        assert len(data) == 2
        assert data.method["functional"] == "hf"
        assert "pyscf" in data.method["versions"]
    label_frames(waters(1), QUICK, folder.parent / "other", output=folder.parent / "other.h5")
    (first,) = read_frames(folder.parent / "other.h5")
    assert read_frames(output)[0].energy == pytest.approx(first.energy, abs=1e-8)


@pytest.mark.usefixtures("fake_labels")
def test_run_goes_on_with_a_campaign_that_label_made(tmp_path, capsys):
    with Campaign(tmp_path, QUICK) as campaign:
        campaign.add(waters(2))
    assert command("run", tmp_path) == 0
    assert [row[1] for row in ledger(tmp_path)] == ["done", "done"]


@pytest.mark.usefixtures("fake_labels")
def test_frames_that_are_added_to_the_settings_are_all_that_is_computed(folder):
    command("run", folder)
    write_frames(folder / "more.h5", waters(5), {})
    settings = (folder / "campaign.yaml").read_text()
    (folder / "campaign.yaml").write_text(settings.replace("frames.h5", "[frames.h5, more.h5]"))
    command("run", folder)
    assert [row[1:] for row in ledger(folder)] == [
        ("done", 1),
        ("failed", 1),
        ("done", 1),
        *[("done", 1)] * 3,  # of five, two were there before
    ]


@pytest.mark.usefixtures("fake_labels")
def test_collect_works_while_the_campaign_runs_and_leaves_out_damaged_results(folder, capsys):
    output = folder / "labels.h5"
    assert command("collect", folder, "-o", output) == 2
    assert "there is no campaign in" in capsys.readouterr().err
    command("run", folder)
    with Campaign(folder, QUICK):
        assert command("collect", folder, "-o", output) == 0
    assert command("collect", folder, "-o", output) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    results(folder)[0].write_bytes(b"")
    assert command("collect", folder, "-o", output, "--overwrite") == 2
    assert "1 result files in" in capsys.readouterr().err
    assert len(read_frames(output)) == 2
    command("run", folder)
    assert command("collect", folder, "-o", output, "--overwrite") == 0
    assert len(read_frames(output)) == 2


@pytest.mark.usefixtures("fake_labels")
def test_retry_of_a_reason_that_did_not_occur_names_the_nearest(folder, capsys):
    command("run", folder)
    assert command("retry", folder, "--reason", "ValueEror") == 2
    assert "did you mean ValueError?" in capsys.readouterr().err
    assert command("retry", folder) == 0
    assert command("retry", folder, "--reason", "ValueError") == 2
    assert "no frame of" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_labels")
def test_retry_for_a_reason_leaves_the_frames_that_failed_for_another(tmp_path):
    frames = [replace(frame, spin_multiplicity=2 * n) for n, frame in enumerate(waters(3)) if n]
    with Campaign(tmp_path, QUICK) as campaign:
        campaign.add(frames)
    command("run", tmp_path)
    assert command("retry", tmp_path, "--reason", "KeyError") == 0
    assert [row[1] for row in ledger(tmp_path)] == ["failed", "waiting"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("frame: x.h5", "unknown setting frame; did you mean frames?"),
        ("executor: {worker: 3}", "unknown setting executor.worker; did you mean executor.workers"),
        ("executor: {workers: many}", "executor.workers is 'many'; expected a whole number"),
        ("executor: {workers: 0}", "executor.workers is 0; expected at least 1"),
        (
            "executor: {name: cuda}",
            "executor.name is 'cuda'; expected one of processes, gpu,",
        ),
        ("executor: {name: parsl}", "the executors parsl and parsl-gpu need that file"),
        ("executor: {timeout: -1}", "the timeout limit is -1; expected above 0"),
        ("method: {functional: b3lip}", "b3lip"),
        ("method: {basis: 6-31q}", "no basis set '6-31q'"),
        ("frames: {a: 1}", "setting frames is {'a': 1}; expected text"),
        ("frames: nowhere.h5", "no dataset file"),
        ("[", "is not YAML"),
    ],
)
def test_settings_that_make_no_sense_are_a_sentence_and_exit_code_2(
    tmp_path, settings, sentence, capsys
):
    text = settings if "method" in settings else f"{settings}\n{SETTINGS.splitlines()[1]}"
    (tmp_path / "campaign.yaml").write_text(text)
    assert command("run", tmp_path) == 2
    error = capsys.readouterr().err
    assert sentence in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "ledger.sqlite").exists()


def test_help_shows_a_file_of_settings_as_it_is_written(capsys):
    assert command("run", "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "method: {functional: b3lyp, basis: 6-31g*}" in lines


def test_overrides_go_before_the_file(folder):
    config, method = load_campaign_config(folder, ["executor.timeout=60", "executor.workers=3"])
    assert config.frames == ("frames.h5",)
    assert (config.executor.workers, config.executor.limits.timeout) == (3, 60.0)
    assert method == QUICK
    with pytest.raises(ConfigError, match=r"not of the form section\.key=value"):
        load_campaign_config(folder, ["executor.workers"])


def test_folder_without_settings_and_ledger_is_refused(tmp_path, capsys):
    assert command("run", tmp_path) == 2
    assert "names frames and a method" in " ".join(capsys.readouterr().err.split())
    assert command("retry", tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_label_kills_frames_over_its_timeout(tmp_path, capsys):
    write_frames(tmp_path / "frames.h5", waters(2), {})
    arguments = ["label", tmp_path / "frames.h5", "-o", tmp_path / "l.h5"]
    # Large enough to take much longer than the time between two looks at the limits.
    arguments += ["--functional", "hf", "--basis", "def2-qzvpp", "--workers", "1"]
    assert command(*arguments, "--timeout", "0.001") == 1
    assert "FrameTimeoutError" in capsys.readouterr().out
    assert command(*arguments, "--memory-limit", "0.001", "--retry-failed") == 1
    assert "MemoryLimitError" in capsys.readouterr().out
    assert command(*arguments, "--timeout", "-1") == 2
    assert "the timeout limit is -1" in capsys.readouterr().err
