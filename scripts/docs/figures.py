"""Writes the figures of scripts/results into the pages that show them.

    python -m scripts.docs.figures

Between the marks ``<!-- figures: NAME -->`` and ``<!-- end -->`` of a page belongs the table of
one result (`scripts.docs.results`), with the command, date, commit and hardware that made it. They
stand in the page itself, and not only in what is built from it, because it is read on GitHub too.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from scripts.common import RESULTS as FOLDER
from scripts.common import ROOT
from scripts.docs.results import RESULTS

PAGES = tuple(ROOT / "scripts" / "docs" / name for name in ("benchmarks.md", "howto/gpu.md"))
MARKED = re.compile(r"<!-- figures: ([\w/]+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
_SHOWN = {"eqmm": "EqMM", "torch": "torch", "pyscf": "PySCF", "openmm": "OpenMM"}


def filled(page: str) -> str:
    """A page with all its figures as the results files have them now."""
    return MARKED.sub(
        lambda mark: f"<!-- figures: {mark[1]} -->\n{table(mark[1])}<!-- end -->\n", page
    )


def table(name: str) -> str:
    """One result in Markdown: its table, and where it comes from.

    Parameters
    ----------
    name
        Of a row of `scripts.docs.results.RESULTS`: the results file, and behind a slash which of
        its tables.
    """
    result = RESULTS[name]
    path = FOLDER / f"{name.partition('/')[0]}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    lines = [result.head, ["---"] * len(result.head), *result.rows(content)]
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"\n{rows}\n\n`{result.command}` · {origin(content)} · `{path.name}`\n\n"


def origin(content: Mapping[str, Any]) -> str:
    """Date, commit, hardware and versions of a result.

    Results from before `scripts.provenance` wrote the date have that of their commit.
    """
    facts = content if "commit" in content else next(iter(content["cells"].values()))
    commit = facts["commit"].removesuffix("+")
    changed = " with changes" if facts["commit"].endswith("+") else ""
    date = facts["date"][:10] if "date" in facts else _date_of(commit)
    hardware, versions = facts["hardware"], facts["versions"]
    programs = ", ".join(f"{_SHOWN[name]} {versions[name]}" for name in _SHOWN if name in versions)
    return (
        f"{date} · commit {commit[:10]}{changed} · {hardware['cpu']}, {hardware['cores']} cores · "
        f"{programs}"
    )


@cache
def _date_of(commit: str) -> str:
    command = ["git", "log", "-1", "--format=%cs", commit, "--"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "date unknown"


def main() -> None:
    """Write the pages anew."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
