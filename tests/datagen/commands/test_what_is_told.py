"""What the commands tell: user text as it is, progress in pipes, options that decide nothing."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

pytest.importorskip("pyscf")
pytest.importorskip("openmm")

from campaign_kit import fake_label, waters

from datagen.campaigns import config, frame_loop
from datagen.campaigns.campaign import label_frames
from datagen.campaigns.config import CampaignConfig
from datagen.campaigns.status import Progress, Summary
from datagen.cli import cli
from datagen.commands.campaign_output import ShownProgress, show_summary
from datagen.labels.method import Method
from datagen.learning import LearningSettings
from datagen.molecules.solute import read_solute
from datagen.processes.executors import InThisProcess
from datagen.solvent.job import SamplingError
from datagen.solvent.reaction_path import PathSettings
from datagen.solvent.sampling import SamplingSettings, sample_frozen
from datagen.solvent.solvation import SolvationSettings
from eqmm_ase.command_line import run
from eqmm_ase.cutting.snapshots import CutSettings
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.settings_help import field_help

NAME = "labels[new] :warning: [bold]"
FAILURE = "PySCF says [/red] of c1cnc[nH]1"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A place with a dataset and with a campaign of which one frame failed."""

    def label(frame, method):
        if frame.spin_multiplicity == 2:
            raise ValueError(FAILURE)
        outcome = fake_label(frame, method)
        return replace(outcome, warnings=(f"kind [x]: {FAILURE}",))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frame_loop, "label_task", label)
    monkeypatch.setattr(config, "open_executor", lambda *_: InThisProcess())
    monkeypatch.setattr(
        "datagen.commands.label.label_frames",
        lambda *arguments, **options: label_frames(*arguments, **{**options, "workers": 0}),
    )
    frames = [replace(f, medium="[/red]", source=f"[/red]-{n}") for n, f in enumerate(waters(3))]
    frames[1] = replace(frames[1], spin_multiplicity=2)
    write_frames(f"{NAME}.h5", frames, {})
    campaign = tmp_path / f"campaign {NAME}"
    campaign.mkdir()
    write_frames(campaign / "frames.h5", frames, {})
    (campaign / "campaign.yaml").write_text(
        "frames: frames.h5\nmethod: {functional: hf, basis: sto-3g}\n"
    )
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_every_command_writes_user_text_as_it_is(capsys):
    campaign, hf = f"campaign {NAME}", ["--functional", "hf", "--basis", "sto-3g"]
    for words, code, expected in [
        (
            ["label", f"{NAME}.h5", "-o", f"l {NAME}.h5", *hf],
            1,
            [f"l {NAME}.h5", FAILURE, "kind [x]", f"status l {NAME}.h5.campaign --warnings`"],
        ),
        (["run", campaign], 1, [campaign, FAILURE, "kind [x]"]),
        (["status", campaign], 0, [campaign, f"kind [x], for example: kind [x]: {FAILURE}"]),
        (["status", campaign, "--warnings"], 0, [f"[/red]-0): kind [x]: {FAILURE}"]),
        (["collect", campaign, "-o", f"c {NAME}.h5"], 0, [f"c {NAME}.h5: 2 labelled frames"]),
        (["split", f"c {NAME}.h5", "--hold-out", "[/red]-0"], 0, ["frames of [/red]-0"]),
        (["merge", f"c {NAME}.h5", "-o", f"m {NAME}.h5"], 0, [f"m {NAME}.h5"]),
        (["export", f"c {NAME}.h5", "-o", f"e {NAME}.xyz"], 0, [f"e {NAME}.xyz"]),
        (["retry", campaign], 0, [f"{campaign}: 1 failed frames wait again"]),
        (["status", f"{NAME}.h5", "--warnings"], 0, [f"{NAME}.h5", "0 of 3 frames"]),
        (["label", f"absent {NAME}.h5", "-o", "x.h5", *hf], 2, [f"absent {NAME}.h5"]),
    ]:
        assert run(cli, "eqmm-datagen", words) == code, words
        captured = capsys.readouterr()
        for text in expected:
            assert text in captured.out + captured.err, (words, captured)


@pytest.mark.parametrize(
    "settings",
    [CampaignConfig, CutSettings, LearningSettings, Method, PathSettings, SolvationSettings],
)
def test_settings_say_what_they_mean(settings):
    texts = field_help(settings)
    for item in fields(settings):
        assert texts[item.name], item.name
        assert f"\n{item.name}" in settings.__doc__


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["split", "x.h5", "--hold-out", "a", "--seed", "3"],
            "--seed has no effect beside --hold-out",
        ),
        (
            ["solvate", "x.xyz", "-o", "y.h5", "--solvent", "gas", "--radius", "9"],
            "--radius has no effect beside --solvent gas",
        ),
        (
            ["label", "x.h5", "-o", "y.h5", "--functional", "hf", "--grid-level", "5"],
            "--grid-level has no effect beside --functional hf",
        ),
        (
            ["learn", "x.h5", "-o", "y", "data.validation_fraction=0.2"],
            "data.validation_fraction have no effect in learning",
        ),
        (["learn", "x.h5", "-o", "y", "data.baseline=true"], "labels of one method only"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_option_that_cannot_have_an_effect_is_refused(
    words, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(cli, "eqmm-datagen", words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_held_molecule_has_one_temperature():
    settings = SamplingSettings(temperatures=(300.0, 400.0))
    with pytest.raises(SamplingError, match=r"frozen in its geometry.*one temperature; give one"):
        sample_frozen(read_solute("[Na+]"), settings)


def test_labelling_tells_a_pipe_how_far_it_is(capsys):
    with ShownProgress() as shown:
        for done in range(3):
            shown.update(Progress(total=3, done=done, failed=1))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "labelling: 1/3 frames"
    assert lines[-1].startswith("labelling: 3/3 frames in 0:0")
    assert lines[-1].endswith("1 failed")


def test_another_round_of_labels_begins_anew(capsys):
    with ShownProgress() as shown:
        for _ in range(2):
            shown.update(Progress(total=1, done=0, failed=0))
            shown.update(Progress(total=1, done=1, failed=0))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == [
        *("labelling: 0/1 frames", "labelling: 1/1 frames") * 2
    ]


def test_a_summary_in_a_pipe_is_whole(capsys):
    message = "a sentence that is much longer than eighty columns, " * 5
    summary = Summary(0, 0, 123456, 1, (("SCFNotConvergedError", 1, message),), 0)
    show_summary(summary, f"{NAME} " * 5, Path("folder"))
    written = capsys.readouterr().out
    assert f"{NAME} " * 4 in written
    assert message.strip() in written
    assert "123456" in written
