"""Runs the pages of the documentation: every fenced block, in order, as it stands there.

What a block's language means:

- ``bash``: a line that begins with ``eqmm`` or ``eqmm-datagen`` is called in this process, with the
  options of `SMALLER` at its end, which override what the page says; other lines go to bash.
- ``python``: all blocks of a page share one namespace, and warnings are errors, but for those of
  small models about their domain. Numbers of `SHORTER` replace those of assignments on the page.
- A block whose paragraph ends with a file name, "`campaign.yaml`:", is written to that file;
  ``yaml`` always is.
- ``text``: what the block before it printed.
- ``console``: commands that no test can run; each is in `NOT_RUN`.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from places import DATA, ROOT

from datagen.cli import cli as datagen_cli
from eqmm_ase import DomainWarning
from eqmm_ase.cli import cli as eqmm_cli
from eqmm_ase.command_line import run as run_command

DOCS = ROOT / "scripts" / "docs"
PROGRAMS = {"eqmm": eqmm_cli, "eqmm-datagen": datagen_cli}

SMALLER = {
    "eqmm-datagen sample": (
        "--frames 7 --trajectories 7 --interval 0.02 --radius 3 --equilibration 0.5 "
        "--decorrelation 0 --workers 1"
    ),
    "eqmm-datagen path": "--sweeps 4 --frames 2 --interval 0.002",
    "eqmm-datagen solvate": (
        "--relaxation 0.02 --settling 0 --equilibration 0.5 --radius 3 --workers 1"
    ),
    "eqmm-datagen cut": "--radius 5",
    "eqmm-datagen label": "--functional hf --basis sto-3g --no-density-fit --workers 1",
    "eqmm-datagen run": (
        "method.functional=hf method.basis=sto-3g method.density_fit=false executor.workers=1"
    ),
    "eqmm-datagen learn": (
        "--rounds 2 --committee 2 --frames 1 --trajectories 3 --time 0.03 --force-limit 0.001 "
        "--workers 1 training.max_steps=2 training.validate_every=1 model.channels=4"
    ),
    "eqmm train": "training.max_steps=2 training.validate_every=1 model.channels=4",
    "eqmm explore": "--frames 1 --trajectories 1 --time 0.001",
    "eqmm optimize": "--steps 2",
    "eqmm md": "--time 0.002",
    "eqmm md --topology": "--time 0.004 --heating 0.01 --interval 2",
}
"""Options that make a command small: cheap labels, few frames, few steps."""

EXIT_CODES = {
    "eqmm optimize": (1, "two steps do not relax anything"),
    "eqmm explore": (1, "one step of dynamics finds no frame"),
    "eqmm-datagen retry": (2, "no frame of the campaign has failed"),
}
"""Commands that end otherwise in small than on the page, and why."""

SHORTER = {
    "tutorials/own_simulation": {"equilibration": 20, "production": 20, "every": 10},
}
"""Numbers of assignments in Python blocks, by page."""

NOT_RUN = {
    (
        "getting_started",
        "$ pip install .                        # run and train models",
    ): "a network",
    (
        "tutorials/own_simulation",
        "$ eqmm-datagen cut topol.tpr run.xtc -o frames.h5 --medium protein \\",
    ): "a GROMACS run",
    (
        "tutorials/whole_system",
        "$ python -m scripts.systems.villin -o villin",
    ): "half an hour",
    (
        "tutorials/whole_system",
        "$ eqmm-datagen cut villin.pdb run/trajectory.dcd -o again.h5 --system system.xml "
        "--medium protein --frames ::2 \\",
    ): "the run before it",
    ("howto/cluster", "$ cp scripts/examples/slurm/* campaign/"): "a cluster",
    (
        "howto/gpu",
        '$ pip install ".[gpu]"                                          # CUDA 12',
    ): "a network",
    (
        "howto/gpu",
        "$ eqmm-datagen label frames.h5 -o labels.h5 --functional b3lyp --basis '6-31g*' "
        "--device gpu",
    ): "a GPU",
    ("howto/gpu", "$ cp scripts/examples/slurm_gpu/* campaign/"): "a cluster",
    ("howto/gpu", "$ scripts/gpu_check            # at most eight minutes"): "a GPU",
}
"""Page and first line of each ``console`` block, and what a test lacks to run it."""

MOLECULE, SIMULATION = "tutorials/molecule_in_solvent", "tutorials/own_simulation"
START_AFTER = {
    "howto/charges": MOLECULE,
    "howto/cluster": MOLECULE,
    "howto/delta_learning": MOLECULE,
    "howto/fine_tuning": MOLECULE,
    "howto/labels": MOLECULE,
    "howto/link_atoms": SIMULATION,
    "howto/training": MOLECULE,
    "howto/uncertainty": MOLECULE,
    "tutorials/whole_system": MOLECULE,
}
"""Pages that go on in the folder that another page leaves behind, as they say themselves."""

TRAINED = {"tutorials/whole_system": {"model.eqmm": DATA / "methanol.eqmm"}}
"""Pages that run a model in moving surroundings, which two steps of training do not make."""

EXACT = ("concepts/units", "getting_started", "howto/link_atoms", "tutorials/calculator")
"""Pages on which nothing is made smaller that is printed: their output is compared."""

FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=fence)$", re.M | re.S
)
FILE = re.compile(r"`([\w./-]+\.\w+)`:\s*\Z")
NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    """Of its first line of text, from 1."""
    file: str
    """The file that the paragraph before it names at its end, or nothing."""


def pages() -> list[str]:
    """Names of all pages, as links write them without suffix."""
    return sorted(str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md"))


def blocks(page: str) -> list[Block]:
    """Fenced blocks of a page, directives of Sphinx left out."""
    source = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(source):
        if match["language"].startswith("{"):
            continue
        line = source.count("\n", 0, match.start("text")) + 1
        named = FILE.search(source[: match.start()])
        found.append(Block(match["language"], match["text"], line, named[1] if named else ""))
    return found


@dataclass
class PageRun:
    """A page being run in a folder."""

    page: str
    folder: Path
    namespace: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def all_blocks(self) -> None:
        """Run every block; an assertion names page and line of the one that fails."""
        try:
            with _inside(self.folder):
                for block in blocks(self.page):
                    self._block(block)
        finally:
            self._forget()

    def _forget(self) -> None:
        """Let go of what the page made, here and not in the middle of another test."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # log files of ASE's optimisers
            self.namespace.clear()
            gc.collect()

    def _block(self, block: Block) -> None:
        where = f"{self.page}.md:{block.line}"
        if block.file or block.language == "yaml":
            assert block.file, f"{where} is a file; the paragraph before it ends with no name"
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.language == "bash":
            self._bash(block, where)
        elif block.language == "python":
            self._python(block)
        elif block.language == "text" and self.page in EXACT:
            assert_same_output(self.printed, block.text, where)

    def _bash(self, block: Block, where: str) -> None:
        self.printed = ""
        for part in _commands(block.text):
            program = part.split()[0]
            if program in PROGRAMS:
                self._call(part, where)
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", part],
                cwd=self.folder, env=_environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{where}\n{part}\n{done.stdout}{done.stderr}"
            self.printed += done.stdout

    def _call(self, command: str, where: str) -> None:
        program, *words = shlex.split(command, comments=True)
        name = f"{program} {words[0]}" + " --topology" * (
            words[0] == "md" and "--topology" in words
        )
        settles = {"--help", "--show-config"} & set(words)
        words += [] if settles else shlex.split(SMALLER.get(name, ""))
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = run_command(PROGRAMS[program], program, words)
        expected = EXIT_CODES.get(name, (0, ""))[0]
        assert code == expected, f"{where}\n{command}\nexit code {code}\n{output.getvalue()}"
        self.printed += output.getvalue()

    def _python(self, block: Block) -> None:
        source = _shorter(block.text, SHORTER.get(self.page, {}))
        code = compile("\n" * (block.line - 1) + source, str(DOCS / f"{self.page}.md"), "exec")
        output = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(output):
            warnings.simplefilter("error")
            if self.page not in EXACT:  # two steps on six frames: everything is strange
                warnings.simplefilter("ignore", DomainWarning)
            exec(code, self.namespace)
        self.printed = output.getvalue()


def _commands(text: str) -> Iterator[str]:
    """Calls of our programs one by one, and what is between them as scripts for bash."""
    script = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines(keepends=True):
        if line.split(" ")[0].strip() in PROGRAMS:
            if script.strip():
                yield script
            yield line
            script = ""
        elif not line.startswith("#"):
            script += line
    if script.strip():
        yield script


def _shorter(source: str, numbers: Mapping[str, float]) -> str:
    for name, number in numbers.items():
        source = re.sub(rf"^{name} = [\d_.]+", f"{name} = {number}", source, flags=re.M)
    return source


def assert_same_output(printed: str, stated: str, where: str) -> None:
    """The words of the page, and its numbers within one per cent or its last digit."""
    assert printed, f"{where}: nothing was printed"
    assert _words(printed) == _words(stated), f"{where}\n{printed}"
    for found, expected in zip(_numbers(printed), _numbers(stated), strict=True):
        digits = len(expected.partition(".")[2])
        allowed = max(abs(float(expected)) * 0.01, 1.5 * 10.0**-digits)
        assert abs(float(found) - float(expected)) <= allowed, f"{where}: {found}, not {expected}"


def _words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def _numbers(text: str) -> list[str]:
    return [number.replace("−", "-") for number in NUMBER.findall(text)]


def _environment() -> dict[str, str]:
    """With the programs beside this interpreter, as in an activated environment."""
    beside = os.fspath(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", "")])
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
