"""What scripts share: where things lie, the command line, results files and tables of figures.

Scripts are run as modules from the root of the repository, `python -m scripts.studies.ablation`.
Pictures are in `scripts/pictures.py`, which takes matplotlib along.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eqmm_ase.atomic_write import write_text
from scripts.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
FLAGSHIP = ROOT / "scripts" / "flagship"
IMAGES = ROOT / "scripts" / "images"
RESULTS = ROOT / "scripts" / "results"
TEST_DATA = ROOT / "tests" / "data"


def argument_parser(
    about: str | None, output: str | None = None, default: Path | None = None
) -> argparse.ArgumentParser:
    """Command line of a script, described by the first line of its docstring.

    Parameters
    ----------
    about
        The docstring of the script.
    output
        What ``-o`` names, as its help says; without, there is no such option.
    default
        Where ``-o`` may be left out.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    if output is not None:
        text = f"{output} (default: %(default)s)" if default else output
        parser.add_argument(
            *("-o", "--output"), type=Path, default=default, required=default is None, help=text
        )
    return parser


def peak_memory() -> float:
    """Most memory that this process has had at a time, MB.

    Not by getrusage: in a process that another one started, that counts what the other had.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def write_json(path: Path, content: Mapping[str, Any]) -> str:
    """Write plain values for people to read and programs to load; return the text.

    The file is written completely or not at all, its folder made where it is missing.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")
    return text


def write_results(
    path: Path, figures: Mapping[str, Any], packages: Iterable[str] | None = None
) -> str:
    """Write figures with the hardware, versions and commit they were made with; return the text.

    Parameters
    ----------
    path
        JSON file.
    figures
        Plain values; where and with what they were made comes after them.
    packages
        Whose versions matter; None: those of `provenance`.
    """
    facts = provenance() if packages is None else provenance(packages)
    return write_json(path, {**figures, **facts})


def text_table(
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Any]],
    groups: Sequence[tuple[str, int]] = (),
) -> str:
    """Figures in columns that are as wide as they must be, the first one to the left.

    Parameters
    ----------
    columns
        Title and format of each, as in ``("E", ".2f")``.
    rows
        A value for each column; None is shown as a dash.
    groups
        Titles above the columns, and how many columns each of them spans.
    """
    lines = [[title for title, _ in columns]]
    for row in rows:
        cells = zip(row, columns, strict=True)
        lines.append(["–" if value is None else format(value, form) for value, (_, form) in cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    if groups:
        ends = iter(widths)
        spans = [sum(next(ends) + 2 for _ in range(number)) - 2 for _, number in groups]
        above = [title.center(span) for (title, _), span in zip(groups, spans, strict=True)]
        text.insert(0, "  ".join(above).rstrip())
    return "\n".join(text)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    yield cells[0].ljust(widths[0])
    yield from (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
