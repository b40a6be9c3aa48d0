"""The README: its blocks run, with fewer frames and steps, and what it states is so."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest
from page_kit import PageRun, blocks
from places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = "../../README"  # as the pages of the documentation are named
TWO_SCREENS = 110


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    PageRun(PAGE, tmp_path).all_blocks()
    assert (tmp_path / "evaluation" / "metrics.json").is_file()


def test_the_first_code_is_the_shipped_model_in_a_few_lines() -> None:
    first = next(block for block in blocks(PAGE) if block.language != "text")
    assert first.language == "python"
    assert "EqMM.pretrained(" in first.text
    assert len([line for line in first.text.splitlines() if line]) <= 12


def test_no_block_is_left_out() -> None:
    assert {block.language for block in blocks(PAGE)} == {"python", "bash", "text"}
    for block in blocks(PAGE):
        if block.language == "text":
            assert re.match(r"pip install|scripts/", block.text)


def test_it_has_two_screens() -> None:
    assert len(README.splitlines()) <= TWO_SCREENS


def test_scripts_named_are_executable_and_parse() -> None:
    scripts = set(re.findall(r"^(scripts/\w+) ", README, flags=re.MULTILINE))
    assert scripts == {"scripts/demo", "scripts/test"}
    for script in (*scripts, "scripts/build_docs", "scripts/build_package"):
        path = ROOT / script
        assert os.access(path, os.X_OK), script
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, check=False)
        assert done.returncode == 0, script


def test_extras_named_exist() -> None:
    extras = re.findall(r'pip install "\.\[([\w,]+)\]"', README)
    known = setup_cfg()["options.extras_require"]
    assert extras
    assert {extra for named in extras for extra in named.split(",")} <= set(known)


def test_badges_are_true() -> None:
    badges = re.findall(r"https://img\.shields\.io/badge/([\w.|-]+)-blue", README)
    metadata = setup_cfg()["metadata"]
    classifiers = metadata["classifiers"]
    pythons = re.findall(r"Python :: (3\.\d+)", classifiers)
    assert badges == [
        f"licence-{metadata['license']}",
        f"Python-{'_|_'.join(pythons)}",
        f"version-{metadata['version']}",
    ]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_pictures_pages_and_files_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"`((?:scripts|tests|eqmm_ase|datagen)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def test_figures_are_those_of_the_benchmarks() -> None:
    table = (ROOT / "scripts" / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    stated = re.search(r"held-out trajectory \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) ", table)
    energy, forces, mm_forces = (float(figure) for figure in stated.groups())
    assert f"energy {energy:.2f} kcal/mol, QM forces {forces} kcal/mol/Å" in README
    assert f"MM forces {mm_forces:.1f} %" in README
