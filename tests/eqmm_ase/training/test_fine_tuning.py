"""Fine-tuning: weights go on; elements and the energy of each are those of the new data."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from calculator_kit import ROUNDING
from rich.console import Console
from training_kit import NETWORK, few_charges

from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.evaluation.metrics import ALL
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.batch import FrameDataset
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import load_model, save_model
from eqmm_ase.network.prediction import predict
from eqmm_ase.training.config import ConfigError, load_config
from eqmm_ase.training.fine_tuning import Start
from eqmm_ase.training.train import train
from eqmm_ase.uncertainty.domain import Domain

OLD_METHOD = {"functional": "b3lyp", "basis": "6-31g*"}
NEW_METHOD = {"functional": "hf", "basis": "sto-3g"}
SHORT = [
    *("training.batch_size=3", "training.validate_every=4", "training.max_steps=4"),
    *("data.validation_fraction=0", "hardware.accelerator=cpu"),
]


@pytest.fixture(scope="module")
def frames(methanol_file):
    """Frames with few charges, so that a step takes milliseconds."""
    return few_charges(methanol_file, 8)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A model with weights and scales that no fit would give."""
    torch.manual_seed(3)
    model = MultiscaleModel(NETWORK)
    with torch.no_grad():
        model.atomic_energy.mlp[2].bias.fill_(0.5)
        model.atomic_energy.mlp[2].weight.mul_(30.0)
    model.set_statistics(torch.tensor([-10.0, -900.0, -1800.0]), 3.25, torch.tensor([0.7, 0.4]))
    path = tmp_path_factory.mktemp("old") / "old.eqmm"
    domain = Domain(compositions=("C2H6O",))
    card = {"method": OLD_METHOD, "training_set_hash": "abc", "domain": domain.to_dict()}
    save_model(path, model, card)
    return path


def tune(frames, old, output, *overrides):
    write_frames(output.with_suffix(".h5"), frames, NEW_METHOD)
    config = load_config(None, [*SHORT, *overrides], Start.of_members(old)[0].settings())
    return train(
        [output.with_suffix(".h5")],
        output,
        config,
        start=old,
        console=Console(file=io.StringIO()),
    )


def test_before_the_first_step_it_is_the_old_model_but_for_the_energies_per_element(frames, old):
    start = Start.of_members(old)[0]
    shifted = [replace(frame, energy=frame.energy + 1234.0) for frame in frames]
    model = start.model_for(shifted, (1, 6, 8))
    batch = FrameDataset(shifted[:1])[0].frames
    was, now = predict(start.model, batch), predict(model, batch)
    for name in ("qm_forces", "mm_forces", "charges", "dipole"):
        # float32; the energy scale and everything else that was trained has effects of order one.
        torch.testing.assert_close(
            getattr(now, name), getattr(was, name), rtol=0.0, atol=ROUNDING["float32"]
        )
    assert model.energy_scale == 3.25
    assert torch.equal(model.environment.potential_scale, torch.tensor([0.7, 0.4]))
    # What is left of the energies, network included, has no mean: one composition has one offset.
    energies = [float(predict(model, FrameDataset([f])[0].frames).energy) for f in shifted]
    assert np.mean(energies) == pytest.approx(np.mean([f.energy for f in shifted]), abs=1e-6)


def test_a_new_element_gets_a_row_and_one_without_frames_goes(frames, old):
    start = Start.of_members(old)[0]
    thiols = [replace(f, atomic_numbers=np.where(f.atomic_numbers == 8, 16, f.atomic_numbers))
              for f in frames]  # fmt: skip
    torch.manual_seed(5)
    model = start.model_for(thiols, (1, 6, 16))
    rows, was = model.embedding.weight, start.model.embedding.weight
    assert torch.equal(rows[:2], was[:2])
    assert not torch.isclose(rows[2], was[2]).any()
    assert model.config == replace(NETWORK, elements=(1, 6, 16))
    assert torch.isfinite(predict(model, FrameDataset(thiols[:1])[0].frames).energy)


def test_the_card_says_what_it_came_from_and_knows_the_new_data_only(frames, old, tmp_path):
    _, card = load_model(tune(frames, old, tmp_path / "new.eqmm"))
    origin = card["fine_tuned_from"]
    assert origin["file"] == "old.eqmm"
    assert origin["sha256"] == hashlib.sha256(old.read_bytes()).hexdigest()
    assert (origin["method"], origin["training_set_hash"]) == (OLD_METHOD, "abc")
    assert card["method"] == NEW_METHOD
    assert card["domain"]["compositions"] == ["CH4O"]


def test_the_network_of_the_file_is_taken_and_another_one_refused(frames, old, tmp_path):
    model, _ = load_model(tune(frames, old, tmp_path / "new.eqmm", "model.channels=2"))
    assert model.config == NETWORK
    with pytest.raises(ConfigError, match=r"model\.channels is 24; expected 2 as in .*old\.eqmm"):
        tune(frames, old, tmp_path / "other.eqmm", "model.channels=24")
    assert not (tmp_path / "other.eqmm.train").exists()


def test_a_training_that_starts_elsewhere_is_another_training(frames, old, tmp_path):
    tune(frames, old, tmp_path / "new.eqmm")
    other = tmp_path / "other.eqmm"
    save_model(other, MultiscaleModel(NETWORK), {})
    with pytest.raises(ValueError, match="holds a training with other data"):
        tune(frames, other, tmp_path / "new.eqmm")


@pytest.mark.slow
def test_a_trained_model_needs_few_steps_for_another_level(frames, old, tmp_path):
    """The level of theory differs by 50 eV and by ten per cent from what the old model gives."""
    teacher, others = Start.of_members(old)[0].model, []
    for frame in frames:
        answer = predict(teacher, FrameDataset([frame])[0].frames)
        changed = replace(
            frame.in_vacuum(),
            mm_positions=frame.mm_positions,
            mm_charges=frame.mm_charges,
            energy=1.1 * float(answer.energy[0]) + 50.0,
            qm_forces=1.1 * answer.qm_forces.numpy(),
            mm_forces=1.1 * answer.mm_forces.numpy(),
        )
        others.append(changed)
    tuned = tune(others, old, tmp_path / "tuned.eqmm", "training.max_steps=20")
    network = [f"model.{k}={v}" for k, v in NETWORK.to_dict().items() if k != "elements"]
    scratch = train(
        [tmp_path / "tuned.h5"],
        tmp_path / "scratch.eqmm",
        load_config(None, [*network, *SHORT, "training.max_steps=20"]),
        console=Console(file=io.StringIO()),
    )
    errors = {
        path.stem: evaluate(load_model(path)[0], others).metrics[ALL]["qm_forces"]["mae"]
        for path in map(Path, (tuned, scratch))
    }
    assert errors["tuned"] < 0.5 * errors["scratch"]


@pytest.mark.slow
def test_the_command_line_starts_from_a_file(frames, old, tmp_path, capsys):
    from eqmm_ase import cli

    write_frames(tmp_path / "new.h5", frames, NEW_METHOD)
    command = [
        "train",
        str(tmp_path / "new.h5"),
        "-o",
        str(tmp_path / "new.eqmm"),
        "--from",
        str(old),
    ]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, *SHORT])
    assert stopped.value.code == 0, capsys.readouterr().err
    assert load_model(tmp_path / "new.eqmm")[1]["fine_tuned_from"]["file"] == "old.eqmm"
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--restart", "model.cutoff=4"])
    assert stopped.value.code == 2
    assert "setting model.cutoff is 4.0; expected 5.0" in capsys.readouterr().err.replace("\n", " ")
