"""Names with brackets, colons and dollar signs come out of every command as they went in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_kit import few_charges

from eqmm_ase import cli
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.training.scales import fit_statistics
from eqmm_ase.uncertainty.domain import Domain

NAME = "labels[new] $x_{1$ :warning: [bold]"
MEDIUM, ABOUT = "[/red]", "c1cnc[nH]1 in [/red] :smile:"
METHOD = {"functional": "b3lyp", "basis": "6-31g*", "sampling": {"molecule": "c1cnc[nH]1"}}


@pytest.fixture(scope="module")
def folder(methanol_file, tmp_path_factory) -> Path:
    """A dataset, a model and a committee whose names and texts look like markup."""
    place = tmp_path_factory.mktemp("texts")
    frames = [replace(f, medium=MEDIUM, source="[/red]-0") for f in few_charges(methanol_file, 3)]
    write_frames(place / f"{NAME}.h5", frames, METHOD)
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(
            MultiscaleModel(
                ModelConfig((1, 6, 8), channels=2, l_hidden=1, l_expansion=1, n_layers=1, n_near=0)
            )
        )
        networks[-1].set_statistics(*fit_statistics(frames, 1))
    card = {
        "about": ABOUT,
        "method": METHOD,
        "charge_scheme": "mulliken",
        "media": [MEDIUM],
        "domain": Domain.of(frames).to_dict(),
    }
    save_model(place / f"model {NAME}.eqmm", networks[0], card)
    save_model(place / f"committee {NAME}.eqmm", Committee(networks), card)
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["info", "DATA"], [f"{NAME}.h5: eqmm-dataset", f"{MEDIUM} (3)", "c1cnc[nH]1"]),
        (["info", "MODEL"], [f"model {NAME}.eqmm: eqmm-model", ABOUT, MEDIUM]),
        (
            ["evaluate", "MODEL", "DATA", "-o", f"results {NAME}"],
            [f"model {NAME}.eqmm on ", f"{NAME}.h5: 3 frames", MEDIUM, f"results {NAME}"],
        ),
        (
            ["evaluate", "COMMITTEE", "DATA", "-o", f"results {NAME}"],
            [f"committee {NAME}.eqmm on ", "reliability.png"],
        ),
        (
            ["md", "MODEL", "DATA:0", "--steps", "2", "-o", f"md {NAME}.traj"],
            [f"{NAME}.h5:0", f"images in md {NAME}.traj"],
        ),
        (
            ["optimize", "MODEL", "DATA:0", "--steps", "1", "-o", f"opt {NAME}.traj"],
            [f"{NAME}.h5:0", f"images in opt {NAME}.traj"],
        ),
        (
            [
                *("explore", "COMMITTEE", "DATA", "-o", f"found {NAME}.h5", "--frames", "1"),
                *("--time", "0.001", "--force-limit", "1e-9", "--trajectories", "1"),
            ],
            ["trajectory 1 of at most 1, from frame"],
        ),
        (
            [
                *("train", "DATA", "-o", f"new {NAME}.eqmm", "training.max_steps=2"),
                *("training.validate_every=1", "model.channels=2", "model.n_layers=1"),
                *("model.l_expansion=1", "model.l_hidden=1", "model.n_near=0"),
            ],
            [f"new {NAME}.eqmm holds the weights of step", MEDIUM],
        ),
    ],
    ids=lambda value: value[0],
)
def test_every_command_writes_user_text_as_it_is(
    folder, tmp_path, monkeypatch, capsys, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    names = {
        "DATA": folder / f"{NAME}.h5",
        "MODEL": folder / f"model {NAME}.eqmm",
        "COMMITTEE": folder / f"committee {NAME}.eqmm",
    }
    words = []
    for argument in arguments:
        head, colon, tail = argument.partition(":")
        words.append(f"{names[head]}{colon}{tail}" if head in names else argument)
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    captured = capsys.readouterr()
    written = captured.out + captured.err
    # Untrained members may agree, and two steps relax nothing: their exit code is 1.
    assert stopped.value.code in (0, 1), written
    for text in expected:
        assert text in written
