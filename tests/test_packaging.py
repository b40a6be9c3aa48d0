"""What gets installed, what the calculator imports, and what lies at the top of the repository."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version

import pytest
import yaml
from places import ROOT

TOP_LEVEL = {
    "eqmm_ase",
    "datagen",
    "tests",
    "scripts",
    "setup.cfg",
    "README.md",
    "pyproject.toml",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
}
HEAVY = ("pyscf", "openmm", "lightning", "rdkit", "matplotlib", "numba", "datagen", "yaml")


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter that sees this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def tracked_files() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_calculator_imports_neither_trainer_nor_reference_programs() -> None:
    code = "import json, sys; from eqmm_ase import EqMM; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(run_python(code))}
    assert not loaded.intersection(HEAVY)


@pytest.mark.slow
def test_the_calculator_imports_in_less_than_twice_the_time_of_torch() -> None:
    # A ratio of processor times: they depend on the processor and on what else runs on it.
    code = (
        "import time; start = time.process_time(); import torch; half = time.process_time(); "
        "from eqmm_ase import EqMM; print((time.process_time() - half) / (half - start))"
    )
    assert min(float(run_python(code)) for _ in range(3)) < 2.0


@pytest.mark.parametrize("command", ["eqmm_ase.cli", "datagen.cli"])
def test_help_of_a_command_line_imports_nothing_slow(command: str) -> None:
    code = (
        f"import json, sys; from {command} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = {name.partition(".")[0] for name in json.loads(run_python(code).splitlines()[-1])}
    assert not loaded.intersection({*HEAVY, "torch"} - {"datagen", "yaml"})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that pip would install, built from the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in tracked_files():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # No build isolation: setuptools is here already, and the tests need no network.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("eqmm-*.whl")))


@pytest.mark.slow
def test_only_the_two_packages_get_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"eqmm_ase", "datagen"}


@pytest.mark.slow
def test_every_module_model_and_type_marker_gets_installed(wheel: zipfile.ZipFile) -> None:
    wanted = {
        name
        for name in tracked_files()
        if re.match(r"(eqmm_ase|datagen)/.*(\.py|py\.typed|\.eqmm)$", name)
        and (ROOT / name).is_file()
    }
    assert wanted <= set(wheel.namelist())
    assert {"eqmm_ase/py.typed", "datagen/py.typed"} <= set(wheel.namelist())


@pytest.mark.slow
def test_every_folder_of_the_packages_is_a_subpackage_of_the_wheel(wheel: zipfile.ZipFile) -> None:
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for package in ("eqmm_ase", "datagen")
        for path in (ROOT / package).rglob("*.py")
    }
    assert len(folders) > 20
    installed = {name.removesuffix("/__init__.py") for name in wheel.namelist()}
    assert folders <= installed


def test_the_version_is_the_same_everywhere() -> None:
    import eqmm_ase

    stated = setup_cfg()["metadata"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {stated}\n" in citation
    assert version("eqmm") == eqmm_ase.__version__ == stated


def test_entry_points_exist() -> None:
    import importlib

    for line in setup_cfg()["options.entry_points"]["console_scripts"].strip().splitlines():
        module, _, function = line.partition("=")[2].strip().partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_dependencies_have_lower_bounds_only_and_a_tested_version() -> None:
    config = setup_cfg()
    lines = config["options"]["install_requires"].splitlines()
    for extra in config["options.extras_require"].values():
        lines += extra.splitlines()
    tested = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").lower()
    for line in filter(None, lines):
        if line.startswith(("%", "#")):
            continue
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(.*)", line).groups()
        assert re.fullmatch(r" >= [\d.]+", bound), line
        if name not in ("gpu4pyscf-cuda12x", "build", "pre-commit"):
            assert f"\n{name}==" in tested, line


def test_the_changelog_begins_with_this_version_and_its_date() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (.+)$", changelog, flags=re.MULTILINE)[1]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    date = re.search(r"^date-released: (\d{4}-\d{2}-\d{2})$", citation, flags=re.MULTILINE)[1]
    assert first == f"{setup_cfg()['metadata']['version']} – {date}"


def test_workflows_call_scripts_that_exist_on_every_python_that_is_stated() -> None:
    folder = ROOT / ".github" / "workflows"
    flows = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("*.yml")}
    called = {
        step["run"]
        for flow in flows.values()
        for job in flow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    }
    assert called == {"scripts/test", "scripts/build_package", "scripts/build_docs"}
    assert all(os.access(ROOT / script, os.X_OK) for script in called)
    pythons = re.findall(r"Python :: (3\.\d+)", setup_cfg()["metadata"]["classifiers"])
    assert flows["tests"]["jobs"]["tests"]["strategy"]["matrix"]["python"] == pythons


def test_the_top_level_holds_nothing_else() -> None:
    tops = {name.partition("/")[0] for name in tracked_files()}
    assert {top for top in tops if not top.startswith(".")} == TOP_LEVEL


def test_no_tracked_file_is_large_but_the_flagship_data() -> None:
    present = [ROOT / name for name in tracked_files() if (ROOT / name).is_file()]
    sizes = {path: path.stat().st_size for path in present}
    flagship = set((ROOT / "scripts" / "flagship").glob("*.h5"))
    assert [path.name for path in present if sizes[path] > 1_000_000 and path not in flagship] == []
    assert all(sizes[path] < 10_000_000 for path in flagship)
    assert sum(sizes.values()) < 40_000_000
