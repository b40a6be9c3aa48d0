"""Every code block of the README runs, as it stands there, with fewer frames and steps."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT

from eqmm_ase import read_frames
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.uncertainty.domain import Domain

README = (ROOT / "README.md").read_text(encoding="utf-8")

# Added to the end of a command, where they override what the README says.
SMALLER = {
    "eqmm-datagen sample": (
        "--frames 7 --trajectories 7 --interval 0.02 --radius 3 --equilibration 0.5 "
        "--decorrelation 0"
    ),
    "eqmm-datagen path": "--sweeps 1 --frames 2 --interval 0.002",
    "eqmm-datagen solvate": "--relaxation 0.02 --settling 0 --equilibration 0.5 --radius 3",
    "eqmm-datagen label": "--functional hf --basis sto-3g --no-density-fit",
    "eqmm-datagen learn": (
        "--rounds 1 --committee 2 --frames 1 --trajectories 1 --time 0.001 "
        "training.max_steps=2 training.validate_every=1 model.channels=4"
    ),
    "eqmm train": "training.max_steps=2 training.validate_every=1 model.channels=4",
    "eqmm optimize": "--steps 2",
    "eqmm md": "--time 0.002",
}
EXIT_CODES = {"eqmm optimize": 1, "eqmm-datagen retry": 2}
"""Two steps do not relax anything, and no frame of the campaign fails."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).splitlines()
    return [line for line in lines if line and not line.startswith(("#", "scripts/"))]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, methanol_file: Path) -> Path:
    """A folder that looks like a clone after `scripts/demo`, with an untrained model."""
    place = tmp_path_factory.mktemp("clone")
    (place / "scripts").symlink_to(ROOT / "scripts")
    results = place / "demo_results"
    results.mkdir()
    shutil.copy(methanol_file, results / "test.h5")
    torch.manual_seed(0)
    card = {"domain": Domain.of(read_frames(methanol_file)).to_dict()}
    save_model(results / "model.eqmm", MultiscaleModel(ModelConfig(elements=(1, 6, 8))), card)
    (place / "campaign").mkdir()
    (campaign,) = blocks("yaml")
    smaller = campaign.replace("b3lyp, basis: 6-31g*", "hf, basis: sto-3g")
    assert smaller != campaign
    (place / "campaign" / "campaign.yaml").write_text(smaller, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def used(folder: Path) -> Path:
    """The same folder after all commands."""
    for line in commands():
        program, *words = shlex.split(line)
        name = f"{program} {words[0]}"
        module = {"eqmm": "eqmm_ase.cli", "eqmm-datagen": "datagen.cli"}[program]
        words += shlex.split(SMALLER.get(name, ""))
        start = ["-c", f"from {module} import main; main()"]
        done = run([sys.executable, *start, *words], folder)
        expected = EXIT_CODES.get(name, 0)
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.mark.slow
def test_commands_run_one_after_the_other(used: Path) -> None:
    assert len(commands()) > 20
    for name in (
        *("evaluation/metrics.json", "md.traj", "campaign_labels.h5", "labels.png"),
        *("learning/round-0/committee.eqmm", "other_level.eqmm"),
    ):
        assert (used / name).exists(), name


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_runs(number: int, used: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", blocks("python")[number]], used)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    "script",
    [
        line.split()[0]
        for b in blocks("bash")
        for line in b.splitlines()
        if line.startswith("scripts/")
    ],
)
def test_scripts_of_the_first_screen_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert run(["bash", "-n", str(path)], ROOT).returncode == 0


def test_the_rest_of_the_blocks_install_extras_that_exist() -> None:
    extras = re.findall(r'pip install "\.\[([\w,]+)\]"', "".join(blocks("text")))
    known = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert extras
    for extra in ",".join(extras).split(","):
        assert re.search(rf"^{extra} =$", known, flags=re.MULTILINE), extra


def test_pictures_and_files_named_exist() -> None:
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"`(scripts/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
