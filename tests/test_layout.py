"""How the code is laid out: what may import what, how long things are, what they are called."""

import ast
import re
from pathlib import Path

import pytest
from places import ROOT

import datagen
import eqmm_ase

# Imports go down these lists only; modules beside the folders are the ground they stand on.
LAYERS = {
    "eqmm_ase": (
        "cli",
        "commands",
        "engines",
        "simulation",
        "training",
        "evaluation",
        "calculator",
        "periodic",
        "cuda",
        "network",
        "kernels",
        "uncertainty",
        "files",
        "models",
        "cutting",
        "topology",
        "data",
    ),
    "datagen": (
        "cli",
        "commands",
        "learning",
        "campaigns",
        "solvent",
        "labels",
        "molecules",
        "datasets",
        "processes",
    ),
}
WORDS_NOBODY_SEARCHES_FOR = re.compile(r"(utils?|helpers?|misc|common|tools?|stuff|base)\.py")
PACKAGES = sorted(
    path for package in ("eqmm_ase", "datagen") for path in (ROOT / package).rglob("*.py")
)
PYTHON = sorted(
    path
    for folder in ("eqmm_ase", "datagen", "scripts", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def layer(package: str, module: str) -> int:
    """Height of a module, 0 on the ground."""
    names = LAYERS[package]
    part = module.split(".")[1] if "." in module else ""
    return len(names) - names.index(part) if part in names else 0


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules of our own that a file imports, and whether only for the type checker."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [(name, id(node) in typing_only) for name in names]
    return [(name, typed) for name, typed in found if name.split(".")[0] in LAYERS]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def upward(path: Path) -> list[str]:
    """Imports of a file that go up the layers, or from the potential to the reference data."""
    module, package = module_name(path), path.relative_to(ROOT).parts[0]
    if module == package:  # the shop window
        return []
    wrong = []
    for imported, typed in imports(path):
        other = imported.split(".")[0]
        if other != package:
            up = package == "eqmm_ase"
        else:
            up = not typed and layer(package, imported) > layer(package, module)
        if up:
            wrong.append(f"{module} imports {imported}")
    return wrong


@pytest.mark.parametrize("path", PACKAGES, ids=module_name)
def test_imports_go_down_the_layers_only(path: Path) -> None:
    assert upward(path) == []


def test_every_folder_has_a_place_in_the_layers() -> None:
    for package, names in LAYERS.items():
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert folders <= set(names)


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 80, f"{node.name} has {length} lines"


def test_a_folder_is_a_subject_and_a_name_says_what_is_inside() -> None:
    for package in LAYERS:
        names = [path.name for path in PACKAGES if path.relative_to(ROOT).parts[0] == package]
        assert [name for name in names if WORDS_NOBODY_SEARCHES_FOR.fullmatch(name)] == []
        folders = [path.parent for path in PACKAGES]
        crowded = {f for f in folders if len(list(f.glob("*.py"))) > 19}
        assert crowded == set()


@pytest.mark.parametrize("package", [eqmm_ase, datagen])
def test_what_a_package_offers_is_there_and_described(package) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert re.search(rf"^{name} +\w", package.__doc__, re.MULTILINE), name
    assert set(package.__all__) <= set(dir(package))


EXAMPLES = [
    ROOT / "README.md",
    *sorted((ROOT / "scripts/docs").rglob("*.md")),
    *sorted((ROOT / "scripts/examples").rglob("*.py")),
]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda path: path.name)
def test_readme_pages_and_examples_import_from_the_two_packages_only(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^\s*(?:from|import) +((?:eqmm_ase|datagen)\.\S+)", text, re.MULTILINE) == []
