"""The script that makes models of two more molecules: its commands, its figures, how it goes on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import datagen.cli
import eqmm_ase.cli
from eqmm_ase.files.dataset_file import read_frames, write_frames
from scripts.demonstration.demo_pipeline import INTERRUPTED, Stage
from scripts.studies import more_molecules

METRICS = {
    "energy": {"mae": 0.123},
    "qm_forces": {"mae": 0.456},
    "mm_forces": {"relative": 0.0789},
    "charges": {"mae": 0.0012},
}


@pytest.fixture
def folder(methanol_file: Path, tmp_path: Path) -> Path:
    """The results of all stages but the last, of a molecule called acetate."""
    place = tmp_path / "acetate"
    place.mkdir()
    frames = read_frames(methanol_file)
    write_frames(place / "train.h5", frames[:3], {})
    write_frames(place / "test.h5", frames[3:5], {})
    return place


def run(folder: Path, *names: str) -> tuple[int, dict[str, dict]]:
    output = folder.parent / "results.json"
    arguments = [*names, "-o", str(output), "--folder", str(folder.parent)]
    code = more_molecules.main(arguments)
    return code, json.loads(output.read_text())["figures"] if output.exists() else {}


def stage(program: str) -> Stage:
    return Stage("Evaluate", f"python -c {shlex.quote(program)}", "evaluation/metrics.json")


WRITE = f"""
import os
os.mkdir("evaluation")
open("evaluation/metrics.json", "x").write({json.dumps({"metrics": {"all": METRICS}})!r})
"""


def test_the_commands_have_options_that_exist() -> None:
    groups = {"eqmm": eqmm_ase.cli.cli, "eqmm-datagen": datagen.cli.cli}
    for molecule in more_molecules.MOLECULES.values():
        for each in more_molecules.stages(molecule, 2):
            program, name, *words = shlex.split(each.command)
            command = groups[program].get_command(None, name)
            command.make_context(name, words)  # raises for what the command does not know


def test_figures_are_kept_and_what_is_done_is_not_done_again(folder, monkeypatch, capsys) -> None:
    monkeypatch.setattr(more_molecules, "stages", lambda *_: [stage(WRITE)])
    code, found = run(folder, "acetate")
    assert code == 0
    assert found["acetate"]["errors"] == METRICS
    assert (found["acetate"]["train_frames"], found["acetate"]["test_frames"]) == (3, 2)
    assert found["acetate"]["qm_atoms"] == 6
    words = capsys.readouterr().out.splitlines()[-1].split()
    assert words == ["acetate", "3", "0.123", "0.456", "7.89%", "0.0012"]
    assert run(folder, "acetate") == (0, found)  # the command would fail a second time


def test_a_stage_that_fails_or_is_interrupted_ends_it(folder, monkeypatch, capsys) -> None:
    for code in (3, INTERRUPTED):
        monkeypatch.setattr(
            more_molecules, "stages", lambda *_, c=code: [stage(f"raise SystemExit({c})")]
        )
        assert run(folder, "acetate") == (code, {})
    assert "the same command goes on from here" in capsys.readouterr().out


def test_a_molecule_without_a_recipe_is_refused_by_name(folder, capsys) -> None:
    with pytest.raises(SystemExit):
        run(folder, "benzene")
    assert "no recipe for benzene; there are acetamide, acetate" in capsys.readouterr().err
