"""Pages that are made from the code and from results say what those say now."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from places import ROOT

import datagen
import eqmm_ase
from eqmm_ase.data.dataset_format import FIELDS, GROUPS, POINTERS
from eqmm_ase.settings_help import field_help
from eqmm_ase.training.config import TrainConfig
from scripts.docs import figures, reference_pages
from scripts.docs.result_rows import number
from scripts.docs.results import RESULTS

PAGES = ROOT / "scripts" / "docs"


def is_whole_clone() -> bool:
    """Whether git knows the commits of the results, and so their dates."""
    command = ["git", "rev-parse", "--is-shallow-repository"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "false"


@pytest.mark.parametrize("path", figures.PAGES, ids=lambda path: path.stem)
def test_figures_of_a_page_are_those_of_the_results(path: Path) -> None:
    if not is_whole_clone():
        pytest.skip("the dates of results are those of commits that are not here")
    page = path.read_text(encoding="utf-8")
    assert figures.filled(page) == page, "run python -m scripts.docs.figures"


def test_every_result_is_on_one_of_the_pages() -> None:
    pages = [path.read_text(encoding="utf-8") for path in figures.PAGES]
    shown = [mark[1] for page in pages for mark in figures.MARKED.finditer(page)]
    assert sorted(shown) == sorted(RESULTS)
    kept = {path.stem for path in figures.FOLDER.glob("*.json")}
    assert {name.partition("/")[0] for name in shown} == kept


@pytest.mark.parametrize("name", RESULTS)
def test_the_command_of_a_result_exists(name: str) -> None:
    word = RESULTS[name].command
    module = re.match(r"python -m ([\w.]+)", word)
    script = module[1].replace(".", "/") + ".py" if module else word.split()[-1]
    if not word.startswith("eqmm "):
        assert (ROOT / script).is_file()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.03524, "0.035"), (-0.055, "−0.055"), (14603.0, "15000"), (6.7e-10, "6.7·10⁻¹⁰"), (0, "0")],
)
def test_numbers_are_rounded_to_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_every_setting_of_a_training_has_its_meaning_on_the_page() -> None:
    page = reference_pages.filled((PAGES / "reference" / "settings.md").read_text("utf-8"))
    assert "<!-- settings" not in page
    wanted = re.findall(r"^(\w+\.\w+) : ", TrainConfig.__doc__ or "", re.MULTILINE)
    assert len(wanted) > 30
    for name in wanted:
        assert re.search(rf"^`{name}`\n: \*.+, default `.+`\.\* \S+ \S", page, re.MULTILINE), name


@pytest.mark.parametrize("package", ["eqmm_ase", "datagen"])
def test_every_public_name_is_documented_from_its_package(package: str) -> None:
    module = __import__(package)
    page = reference_pages.names(package)
    for name in module.__all__:
        assert re.search(rf"^\.\. auto\w+:: {package}\.{name}$", page, re.MULTILINE), name


def test_the_page_of_file_formats_has_every_array_of_a_dataset() -> None:
    page = (PAGES / "reference" / "files.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name.partition("/")[0] for row in rows for name in re.findall(r"`([\w/<>]+)`", row)}
    assert named >= {*FIELDS, *GROUPS, *POINTERS}


def test_marks_are_replaced_and_other_text_stays() -> None:
    page = "# Title\n\n<!-- settings: datagen.campaigns.config.ExecutorConfig -->\n\nAn end.\n"
    found = reference_pages.filled(page)
    assert found.startswith("# Title\n\n`name`\n: ")
    assert found.endswith("\n\nAn end.\n")
    assert "`parsl_config`\n: *str | None, default `null`.*" in found


def described(thing: object) -> set[str]:
    """Parameters or fields that a docstring describes."""
    doc = inspect.getdoc(thing) or ""
    heads = re.findall(r"^([\w*, ]+?)(?: : .*)?\n    \S", doc, re.MULTILINE)
    found = {name.strip(" *") for head in heads for name in head.split(",")}
    return found | (set(field_help(thing)) if dataclasses.is_dataclass(thing) else set())


@pytest.mark.parametrize(
    "name",
    [f"{package.__name__}.{name}" for package in (eqmm_ase, datagen) for name in package.__all__],
)
def test_every_parameter_of_a_public_name_is_described(name: str) -> None:
    package, _, attribute = name.partition(".")
    thing = getattr(sys.modules[package], attribute)
    if isinstance(thing, types.ModuleType) or attribute.endswith(("Error", "Warning")):
        return
    assert set(inspect.signature(thing).parameters) <= described(thing)
