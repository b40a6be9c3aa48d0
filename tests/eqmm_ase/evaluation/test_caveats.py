"""What an evaluation says before its figures: frames outside training, levels, missing labels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eqmm_ase import cli
from eqmm_ase.evaluation.caveats import caveats
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.training.scales import fit_statistics
from eqmm_ase.uncertainty.domain import Domain

METHOD = {"functional": "b3lyp", "basis": "6-31g*"}


@pytest.fixture(scope="module")
def frames(methanol_file):
    return read_frames(methanol_file, range(4))


@pytest.fixture(scope="module")
def model(frames, tmp_path_factory):
    """A model of methanol that has learned nothing."""
    torch.manual_seed(0)
    network = MultiscaleModel(
        ModelConfig((1, 6, 8), channels=2, l_hidden=1, l_expansion=1, n_layers=1, n_near=0)
    )
    network.set_statistics(*fit_statistics(frames, 1))
    path = tmp_path_factory.mktemp("caveats") / "model.eqmm"
    card = {"method": METHOD, "charge_scheme": "mulliken", "domain": Domain.of(frames).to_dict()}
    save_model(path, network, card)
    return path


@pytest.fixture
def evaluate(model, tmp_path, capsys):
    """Evaluate frames; returns exit code, standard output, standard error, and warnings in JSON."""

    def run(frames, method=METHOD):
        data, results = tmp_path / "labels[new].h5", tmp_path / "results"
        write_frames(data, frames, method)
        with pytest.raises(SystemExit) as stopped:
            cli.main(["evaluate", str(model), str(data), "-o", str(results)])
        captured = capsys.readouterr()
        found = results / "metrics.json"
        content = json.loads(found.read_text("utf-8")) if found.exists() else {}
        return stopped.value.code, captured.out, captured.err, content.get("warnings")

    return run


def ethanol_like(frame):
    """The same elements in another composition."""
    far = frame.qm_positions[:1] + np.array([0.0, 0.0, 30.0])
    return replace(
        frame,
        atomic_numbers=np.append(frame.atomic_numbers, [8]),
        qm_positions=np.vstack([frame.qm_positions, far]),
        qm_forces=np.vstack([frame.qm_forces, np.zeros((1, 3))]),
        charges={},
    )


@pytest.mark.slow
def test_frames_like_those_of_training_get_no_warning(evaluate, frames):
    code, _, err, warnings = evaluate(frames)
    assert code == 0
    assert err == "QM region: CH4O, total charge 0, singlet\n"
    assert warnings == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (ethanol_like, "the QM region CH4O2 was not in training (seen: CH4O)"),
        (
            lambda f: replace(f, total_charge=2),
            "CH4O with total charge +2: the model knows only +0",
        ),
        (
            lambda f: replace(f, spin_multiplicity=3),
            "CH4O with spin multiplicity 3: the model knows only 1",
        ),
        (
            lambda f: replace(
                f,
                mm_positions=np.vstack(
                    [f.qm_positions[:1] - np.array([0.0, 0.0, 0.7]), f.mm_positions[1:]]
                ),
            ),
            "much closer than any negative charge came to",
        ),
    ],
)
def test_frames_outside_training_are_counted_before_the_table_and_in_the_file(
    evaluate, frames, change, sentence
):
    code, out, err, warnings = evaluate([frames[0], *map(change, frames[1:])])
    assert code == 0
    assert "kcal/mol" in out
    said = [line for line in err.splitlines() if sentence in line]
    assert len(said) == 1
    assert said[0].startswith("warning: 3 of 4 frames are outside what the model was trained on: ")
    assert said[0].removeprefix("warning: ") in warnings


def test_a_file_that_is_not_labelled_is_called_that(evaluate, frames):
    bare = [
        replace(f, energy=None, qm_forces=None, mm_forces=None, dipole=None, charges={})
        for f in frames
    ]
    for method in ({}, METHOD):
        code, out, err, _ = evaluate(bare, method)
        assert code == 2
        assert out == ""
        assert "labels[new].h5 is not labelled: none of its 4 frames has an energy" in err
        assert "None" not in err


@pytest.mark.slow
def test_another_level_and_an_unknown_one_are_told_apart(evaluate, frames):
    _, _, err, warnings = evaluate(frames, {**METHOD, "basis": "sto-3g"})
    assert "labels[new].h5 was labelled with basis 'sto-3g' and not '6-31g*'" in err
    assert len(warnings) == 1
    _, _, err, warnings = evaluate(frames, {"program": "another"})
    assert "does not say at which level of theory it was labelled" in err
    assert "the model learned b3lyp/6-31g*" in err
    assert "None" not in err
    assert len(warnings) == 1


def test_a_model_without_a_card_says_what_is_not_known(frames, methanol_file):
    assert caveats(frames, METHOD, {}, methanol_file) == [
        f"the model does not say which level of theory it learned; {methanol_file} is b3lyp/6-31g*"
    ]
