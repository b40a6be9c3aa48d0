"""Run the programs of AmberTools and Packmol, and turn what they print into one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_COMPLAINT = re.compile(
    r"\b(no|not|cannot|could|unknown|unsupported|error|fatal|odd|few)\b", re.IGNORECASE
)
_NOISE = re.compile(
    r"Exiting LEaP|Error!$|Warning!$|not saved|Cannot properly run|ENOENT|^Info:|^Warning:"
)


class ParameterError(RuntimeError):
    """An external program found no parameters or failed; the message quotes it."""


def run_program(
    program: str,
    options: Sequence[str],
    folder: Path,
    *,
    makes: str,
    log: str | None = None,
) -> str:
    """Run a program in ``folder`` and return what it printed; it must leave the file ``makes``.

    Raises
    ------
    ParameterError
        When the program is missing or fails.
    """
    beside = Path(sys.executable).parent / program  # a virtual environment that is not activated
    path = str(beside) if beside.is_file() else shutil.which(program)
    if path is None:
        raise ParameterError(
            f"the program {program} is not installed; pip install 'eqmm[sampling]' brings it"
        )
    done = subprocess.run(
        [path, *options],
        cwd=folder,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 0 and (folder / makes).is_file():
        return done.stdout
    output = done.stdout
    if log and (folder / log).is_file():
        output += (folder / log).read_text(errors="replace")
    raise ParameterError(f"{program} failed: {first_complaint(output)}")


def first_complaint(output: str) -> str:
    """The first line that says what went wrong, for the later ones follow from it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not _NOISE.search(line)]
    complaints = [line for line in lines if _COMPLAINT.search(line)]
    return complaints[0] if complaints else (lines or ["it printed nothing"])[-1]
