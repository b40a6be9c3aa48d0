"""Active learning: rounds of exploring, labelling and training, resumed where they stopped."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import click
import pytest
from campaign_kit import QUICK, waters
from rich.console import Console

from datagen import learning
from datagen.cli import cli
from datagen.commands import learn as learn_command
from datagen.errors import DeviceError, SCFNotConvergedError
from datagen.labels.single_point import label_frame
from datagen.learning import LearningError, LearningSettings, learn
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.network.committee import members_of
from eqmm_ase.network.model_file import load_model
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.simulation.relax import RunError

SETTINGS = LearningSettings(
    rounds=1,
    members=2,
    exploration=ExplorationSettings(
        frames=2, time=0.03, force_limit=0.01, trajectories=6, temperature=1500.0
    ),
    training=(
        *(f"model.{key}=1" for key in ("l_expansion", "l_hidden", "n_layers")),
        *("model.channels=2", "model.n_radial=4", "model.n_near=0", "model.hidden=8"),
        *("training.batch_size=3", "training.validate_every=4", "training.max_steps=4"),
        "hardware.accelerator=cpu",
    ),
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_frames(path, [label_frame(f, QUICK).frame for f in waters(6)], QUICK.as_dict())
    return path


def run(labels, folder, settings=SETTINGS):
    screen = io.StringIO()
    console = Console(file=screen, width=300)
    return learn([labels], folder, settings, workers=0, console=console), screen.getvalue()


@pytest.fixture(scope="module")
def learnt(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnt") / "learning"
    committees, screen = run(labels, folder)
    return folder, committees, screen


@pytest.mark.slow
def test_what_was_uncertain_is_labelled_and_learnt(labels, learnt):
    folder, committees, screen = learnt
    assert committees == [folder / f"round-{k}" / "committee.eqmm" for k in (0, 1)]
    uncertain = read_frames(folder / "round-1" / "uncertain.h5")
    with ReferenceData(folder / "round-1" / "labels.h5") as data:
        assert data.method["basis"] == "sto-3g"
        labelled = data.load()
    assert len(labelled) == len(uncertain) == 2
    for frame, bare in zip(labelled, uncertain, strict=True):
        assert frame.energy == pytest.approx(label_frame(bare, QUICK).frame.energy, abs=1e-6)
    cards = [load_model(path)[1] for path in committees]
    counts = [card["n_training_frames"] + card["n_validation_frames"] for card in cards]
    assert counts == [6, 8]
    assert cards[1]["fine_tuned_from"]["file"] == "committee.eqmm"
    assert cards[1]["n_members"] == 2
    assert "round 1: 2 of 2 frames labelled" in screen


@pytest.mark.slow
def test_no_frame_is_trained_and_validated_on(learnt):
    folder, _, _ = learnt
    names = [
        {frame.energy for k in (0, 1) for frame in read_frames(folder / f"round-{k}" / name)}
        for name in ("train.h5", "validation.h5")
    ]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 8


@pytest.mark.slow
def test_a_finished_learning_is_found_finished(labels, learnt, monkeypatch):
    folder, committees, _ = learnt
    for name in ("explore", "label_frames", "train"):
        monkeypatch.setattr(learning, name, None)
    assert run(labels, folder)[0] == committees


@pytest.mark.slow
def test_killed_after_labelling_it_does_not_label_again(labels, tmp_path, monkeypatch):
    folder, trained = tmp_path / "learning", []
    real = learning.train

    def killed_in_round_1(files, output, *rest, **options):
        if len(files) > 1 and not trained:
            trained.append(output)
            raise KeyboardInterrupt
        return real(files, output, *rest, **options)

    monkeypatch.setattr(learning, "train", killed_in_round_1)
    with pytest.raises(KeyboardInterrupt):
        run(labels, folder)
    assert not (folder / "round-1" / "committee.eqmm").exists()
    for name in ("explore", "label_frames"):
        monkeypatch.setattr(learning, name, None)
    assert len(run(labels, folder)[0]) == 2


@pytest.mark.slow
def test_killed_while_labelling_it_labels_the_rest(labels, tmp_path, monkeypatch):
    from datagen.campaigns import worker

    folder, calls = tmp_path / "learning", []
    real = worker.label_frame

    def counted(frame, *rest, **options):
        calls.append(frame)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(frame, *rest, **options)

    monkeypatch.setattr(worker, "label_frame", counted)
    with pytest.raises(KeyboardInterrupt):
        run(labels, folder)
    assert not (folder / "round-1" / "labels.h5").exists()
    run(labels, folder)
    assert len(calls) == 3  # the one that was finished is not computed again
    assert len(read_frames(folder / "round-1" / "labels.h5")) == 2


@pytest.mark.slow
def test_more_rounds_go_on_and_one_that_knows_everything_ends_the_learning(
    labels, tmp_path, monkeypatch
):
    folder = tmp_path / "learning"
    run(labels, folder)
    real = learning.explore

    def certain(calculator, starts, settings):
        return real(calculator, starts, replace(settings, force_limit=1e6, energy_limit=1e6))

    monkeypatch.setattr(learning, "explore", certain)
    committees, screen = run(labels, folder, replace(SETTINGS, rounds=5))
    assert len(committees) == 2
    assert "round 2: the committee knew every structure it came to" in screen


@pytest.mark.slow
def test_another_learning_is_refused(labels, learnt, tmp_path):
    folder, _, _ = learnt
    hotter = replace(SETTINGS, exploration=replace(SETTINGS.exploration, temperature=1400.0))
    with pytest.raises(LearningError, match="holds a learning with other exploration; give"):
        run(labels, folder, hotter)
    (tmp_path / "something").write_text("else")
    with pytest.raises(LearningError, match="exists and holds no learning"):
        run(labels, tmp_path)
    with pytest.raises(LearningError, match="rounds is 0"):
        replace(SETTINGS, rounds=0)
    with pytest.raises(RunError, match="frames must be positive"):
        replace(SETTINGS.exploration, frames=0)


def test_labels_of_another_program_are_refused(labels, tmp_path):
    other = tmp_path / "other.h5"
    write_frames(other, read_frames(labels), {"functional": "b3lyp", "program": "orca"})
    with pytest.raises(LearningError, match="made by orca; expected labels of eqmm-datagen"):
        run(other, tmp_path / "learning")


@pytest.mark.slow
def test_frames_that_cannot_be_labelled_end_it_with_their_reason(labels, tmp_path, monkeypatch):
    from datagen.campaigns import worker

    def fails(*_, **__):
        raise SCFNotConvergedError("the SCF did not converge")

    monkeypatch.setattr(worker, "label_frame", fails)
    with pytest.raises(LearningError, match=r"2 frames .*\(SCFNotConvergedError: the SCF"):
        run(labels, tmp_path / "learning")


@pytest.mark.slow
def test_the_command_learns(labels, tmp_path):
    words = ["--rounds", "1", "--committee", "2", "--frames", "1", "--time", "0.03"]
    words += [
        "--force-limit",
        "0.01",
        "--temperature",
        "1500",
        "--workers",
        "1",
        *SETTINGS.training,
    ]
    command = cli.get_command(None, "learn")
    folder = tmp_path / "learning"
    command.main([str(labels), "-o", str(folder), *words], standalone_mode=False)
    committee, _ = load_model(folder / "round-1" / "committee.eqmm")
    assert len(members_of(committee)) == 2
    assert json.loads((folder / "learning.json").read_text())["members"] == 2


@pytest.mark.slow
def test_labels_are_computed_on_the_device_that_is_asked_for(labels, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(learn_command, "run", lambda *_, **options: told.append(options) or [])
    words = [str(labels), "-o", str(tmp_path / "learning"), "--label-device", "gpu"]
    cli.get_command(None, "learn").main(words, standalone_mode=False)
    assert told[0]["label_device"] == "gpu"
    with pytest.raises(click.UsageError, match="--workers has no effect beside --label-device gpu"):
        cli.get_command(None, "learn").main([*words, "--workers", "2"], standalone_mode=False)

    def label_frames(*_, device, **__):
        raise DeviceError(device)

    monkeypatch.setattr(learning, "label_frames", label_frames)
    with pytest.raises(DeviceError, match="gpu"):
        learning._label([], learning.Round(tmp_path, 1), QUICK, 1, "gpu", None)
    with pytest.raises(DeviceError, match="device is 'cuda'; expected cpu or gpu"):
        learn([labels], tmp_path / "learning", SETTINGS, label_device="cuda")


def test_a_folder_of_an_earlier_version_goes_on(tmp_path):
    folder, settings = tmp_path / "learning", learning.LearningSettings()
    learning._claim(folder, settings, "hash")
    mark = folder / "learning.json"
    mark.write_text(mark.read_text().replace('"restraints"', '"walls"'))
    learning._claim(folder, settings, "hash")
    other = replace(settings, exploration=ExplorationSettings(restraints=False))
    with pytest.raises(learning.LearningError, match="with other exploration"):
        learning._claim(folder, other, "hash")
