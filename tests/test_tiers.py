"""The fast tier: how it is chosen, and that it still looks into every corner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

SHOWS_WHAT_IT_IS_GIVEN = """#!/usr/bin/env bash
printf '%s|' "$@"
echo
"""
COLLECT = """
import json, sys
from pathlib import Path
import pytest

class Report:
    left_out = []

    def pytest_collection_finish(self, session):
        slow = [item.nodeid for item in session.items if item.get_closest_marker("slow")]
        chosen = [item.nodeid for item in session.items]
        found = {"chosen": chosen, "slow": slow, "left out": self.left_out}
        Path(sys.argv[1]).write_text(json.dumps(found))

    def pytest_deselected(self, items):
        self.left_out = [item.nodeid for item in items]

sys.exit(pytest.main(["--collect-only", "-qq", "-m", "not slow"], plugins=[Report()]))
"""


def calls(tmp_path: Path, *arguments: str) -> list[list[str]]:
    """What `scripts/test` starts in an environment whose Python only shows its arguments."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text(SHOWS_WHAT_IT_IS_GIVEN)
    python.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "scripts" / "test"), *arguments],
        env=os.environ | {"VIRTUAL_ENV": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.rstrip("|").split("|") for line in done.stdout.splitlines() if line[:2] == "-m"]


@pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")
def test_fast_leaves_out_what_is_slow_and_nothing_else(tmp_path: Path) -> None:
    everything, fast = calls(tmp_path, "-k", "x"), calls(tmp_path, "--fast", "-k", "x")
    assert [call[1] for call in fast[-4:]] == ["ruff", "ruff", "mypy", "pytest"]
    assert everything[-4:-1] == fast[-4:-1]
    assert everything[-1][-2:] == ["-k", "x"]
    assert fast[-1] == [*everything[-1][:-2], "-m", "not slow", "-k", "x"]
    assert "--durations" in fast[-1]


@pytest.mark.slow  # imports all that any test imports
def test_the_fast_tier_has_tests_of_every_folder_and_none_that_is_slow(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    subprocess.run([sys.executable, "-c", COLLECT, str(report)], cwd=ROOT, check=True)
    found = json.loads(report.read_text())
    assert found["slow"] == []
    assert len(found["chosen"]) > 1000
    assert len(found["left out"]) > 100
    folders = {Path(name.partition("::")[0]).parent for name in found["chosen"]}
    assert {Path(n.partition("::")[0]).parent for n in found["left out"]} <= folders
