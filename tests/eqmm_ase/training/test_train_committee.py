"""Training a committee: members differ, are resumed, and know how far they are off."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from test_train import METHOD, TINY, assert_same_weights, weights

from eqmm_ase import EqMM, cli
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import load_model
from eqmm_ase.training.config import ConfigError, load_config
from eqmm_ase.training.data import TrainingData
from eqmm_ase.training.fit import fit
from eqmm_ase.training.folder import TrainingFolder
from eqmm_ase.training.learner import Learner
from eqmm_ase.training.train import member_folders, train


def run(data, output, *overrides, n_members=2, console=None, **options):
    config = load_config(None, [*TINY, *overrides])
    console = console or Console(file=io.StringIO())
    return train([data], output, config, n_members=n_members, console=console, **options)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A training of two members that ran through, and what was on the screen."""
    screen = io.StringIO()
    output = tmp_path_factory.mktemp("trained") / "model.eqmm"
    run(data, output, console=Console(file=screen, width=200))
    return output, screen.getvalue()


def member(path, number):
    """Weights of a member of a file, counted from 1."""
    return load_model(path)[0].members[number - 1].state_dict()


@pytest.mark.slow
def test_the_first_member_is_the_single_model_and_the_second_has_another_seed(
    data, trained, tmp_path
):
    output, _ = trained
    single = train(
        [data], tmp_path / "m.eqmm", load_config(None, TINY), console=Console(quiet=True)
    )
    assert_same_weights(weights(single), member(output, 1))
    first, second = member(output, 1), member(output, 2)
    assert torch.equal(first["atomic_energies"], second["atomic_energies"])  # the same frames
    assert (first["embedding.weight"] - second["embedding.weight"]).abs().max() > 0.1


@pytest.mark.slow
def test_the_clock_of_a_member_stands_while_the_others_are_trained(data, tmp_path):
    config = load_config(None, TINY)
    training = TrainingData.load([data], config)
    config = replace(config, model=replace(config.model, elements=training.elements))
    learner = fit(training, config, TrainingFolder(tmp_path / "m.eqmm"), Console(quiet=True))
    seconds = learner.seconds
    time.sleep(0.01)
    assert learner.seconds == seconds > 0


@pytest.mark.slow
def test_progress_says_which_member_is_trained(trained):
    output, screen = trained
    lines = screen.splitlines()
    places = [lines.index(f"member {k} of 2") for k in (1, 2)]
    assert lines[-1].startswith(f"{output} holds a committee of 2")
    rounds = [[int(line.split()[0]) for line in lines[p + 5 : p + 8]] for p in places]
    assert rounds == [[4, 8, 12]] * 2


@pytest.mark.slow
def test_a_committee_interrupted_in_its_second_member_goes_on_there(
    data, trained, tmp_path, monkeypatch
):
    output, taken = tmp_path / "model.eqmm", []
    real = Learner.training_step
    stop_at = 12 + 6

    def counted(learner, batch, number):
        taken.append(learner.config.training.seed)
        if len(taken) == stop_at:
            raise KeyboardInterrupt
        return real(learner, batch, number)

    monkeypatch.setattr(Learner, "training_step", counted)
    with pytest.raises(KeyboardInterrupt):
        run(data, output)
    assert not output.exists()
    taken.clear()
    stop_at = None
    screen = io.StringIO()
    run(data, output, console=Console(file=screen, width=300))
    assert taken == [1] * 8  # the checkpoint of the second member is that of step 4
    assert f"going on from {output}.train/member-2.train/last.ckpt" in screen.getvalue()
    assert_same_weights(weights(output), weights(trained[0]))


@pytest.mark.slow
def test_a_committee_can_grow(data, tmp_path, monkeypatch):
    output, taken = run(data, tmp_path / "m.eqmm"), []
    before = [member(output, number) for number in (1, 2)]
    real = Learner.training_step

    def counted(learner, batch, number):
        taken.append(learner.config.training.seed)
        return real(learner, batch, number)

    monkeypatch.setattr(Learner, "training_step", counted)
    run(data, output, n_members=3)
    assert taken == [2] * 12
    assert len(load_model(output)[0].members) == 3
    for number, expected in enumerate(before, start=1):
        assert all(torch.equal(t, member(output, number)[n]) for n, t in expected.items())


@pytest.mark.slow
def test_another_training_is_refused_until_restarted(data, tmp_path):
    output = run(data, tmp_path / "m.eqmm", "training.max_steps=4")
    with pytest.raises(ValueError, match=r"m\.eqmm\.train holds .* with other settings"):
        run(data, output)
    run(data, output, restart=True)
    assert [folder.checkpoint.is_file() for folder in member_folders(output, 3)] == [
        True,
        True,
        False,
    ]


def test_a_committee_of_one_is_a_single_model_and_one_of_none_is_refused(data, tmp_path):
    output = run(data, tmp_path / "m.eqmm", n_members=1)
    model, card = load_model(output)
    assert isinstance(model, MultiscaleModel)
    assert "n_members" not in card
    assert TrainingFolder(output).checkpoint.is_file()
    with pytest.raises(ConfigError, match="0 members were asked for; expected at least 1"):
        run(data, tmp_path / "none.eqmm", n_members=0)
    with pytest.raises(ConfigError, match="no dataset files"):
        train([], tmp_path / "m.eqmm", n_members=2)


@pytest.mark.slow
def test_the_card_holds_errors_of_the_mean_and_what_makes_spreads_as_large(data, frames, tmp_path):
    held = tmp_path / "held.h5"
    write_frames(held, frames[:4], METHOD)
    output = run(data, tmp_path / "m.eqmm", f"data.validation={held}")
    committee, card = load_model(output)
    assert isinstance(committee, Committee)
    assert card["n_members"] == 2
    assert card["training"]["training"]["seed"] == 0
    again = evaluate(committee, frames[:4], card["charge_scheme"], batch_size=3)
    found = card["metrics"]["validation"]["all"]
    for name, errors in again.metrics["all"].items():
        assert found[name] == pytest.approx(errors, rel=1e-4), name
    for name, pairs in again.deviations.items():
        ratio = np.sqrt((pairs.error**2).sum() / (pairs.spread**2).sum())
        assert card["calibration"]["factors"][name] == pytest.approx(ratio, rel=1e-4)
        assert card["calibration"]["limits"][name] > 0


@pytest.mark.slow
def test_all_members_are_validated_on_the_same_frames(data, tmp_path, monkeypatch):
    seen: dict[int, set[float]] = {0: set(), 1: set()}
    real = Learner.validation_step

    def watched(learner, batch, number):
        seen[learner.config.training.seed] |= set(batch.labels.energy.tolist())
        return real(learner, batch, number)

    monkeypatch.setattr(Learner, "validation_step", watched)
    run(data, tmp_path / "m.eqmm", "training.max_steps=4", "data.validation_fraction=0.3")
    assert seen[0] == seen[1]
    assert len(seen[0]) > 2


@pytest.mark.slow
def test_without_validation_frames_nothing_is_calibrated(data, frames, tmp_path):
    overrides = ["data.validation_fraction=0", "training.max_steps=4"]
    output = run(data, tmp_path / "m.eqmm", *overrides)
    assert load_model(output)[1]["calibration"] == {"factors": {}, "limits": {}}
    atoms = atoms_of_frame(frames[0])
    atoms.calc = EqMM(output)
    atoms.get_forces()
    assert not atoms.calc.uncertainty.calibrated


@pytest.mark.slow
def test_the_folder_of_a_committee_holds_one_folder_per_member(trained):
    folder = Path(f"{trained[0]}.train")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "member-1.train",
        "member-2.train",
        "training.json",
    ]


@pytest.mark.slow
def test_each_member_starts_from_its_own_weights(data, trained, tmp_path):
    frozen = ["optimizer.learning_rate=1e-12", "optimizer.ema_decay=0"]
    output = run(data, tmp_path / "next.eqmm", *frozen, "training.max_steps=4", start=trained[0])
    for number in (1, 2):
        before = member(trained[0], number)
        for name, tensor in member(output, number).items():
            if name != "atomic_energies":  # fitted anew
                torch.testing.assert_close(tensor, before[name], msg=f"{name} of {number}")
    card = load_model(output)[1]
    assert card["fine_tuned_from"]["file"] == "model.eqmm"
    assert set(card["calibration"]["factors"]) == {"energy", "qm_forces"}


@pytest.mark.slow
def test_a_committee_starts_only_from_one_of_as_many_members(data, trained, tmp_path):
    single = train(
        [data], tmp_path / "s.eqmm", load_config(None, TINY), console=Console(quiet=True)
    )
    with pytest.raises(ConfigError, match=r"s\.eqmm is a single model; members that all start"):
        run(data, tmp_path / "m.eqmm", start=single)
    with pytest.raises(ConfigError, match="is a committee of 2, but one of 3 was asked for"):
        run(data, tmp_path / "m.eqmm", n_members=3, start=trained[0])
    with pytest.raises(ConfigError, match="is a committee of 2; expected a single model to start"):
        run(data, tmp_path / "m.eqmm", n_members=1, start=trained[0])
    with pytest.raises(ConfigError, match=r"setting model\.channels is 3; expected 2"):
        run(data, tmp_path / "m.eqmm", "model.channels=3", start=trained[0])
    assert not Path(f"{tmp_path / 'm.eqmm'}.train").exists()


@pytest.mark.slow
def test_a_committee_that_starts_elsewhere_is_another_training(data, trained, tmp_path):
    output = run(data, tmp_path / "m.eqmm", start=trained[0])
    with pytest.raises(ValueError, match="holds a training with other data"):
        run(data, tmp_path / "m.eqmm", start=output)


@pytest.mark.slow
def test_the_command_line_goes_on_with_as_many_members_as_the_file(data, trained, tmp_path, capsys):
    command = ["train", str(data), "-o", str(tmp_path / "next.eqmm"), "--from", str(trained[0])]
    short = [setting for setting in TINY if not setting.startswith("model")]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, *short, "training.max_steps=4"])
    assert stopped.value.code == 0, capsys.readouterr().err
    assert load_model(tmp_path / "next.eqmm")[1]["n_members"] == 2
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, *short, "--committee", "3"])
    assert stopped.value.code == 2
    assert "one of 3 was asked for" in capsys.readouterr().err.replace("\n", " ")
