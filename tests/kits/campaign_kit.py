"""What the tests of campaigns share: cheap frames, labels in no time, a look into the ledger."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from label_kit import water_in_charges

from datagen.campaigns.worker import Outcome
from datagen.labels.method import Method
from eqmm_ase.data.frame import Frame

QUICK = Method(functional="hf", basis="sto-3g")
OPTIONS = ["--functional", "hf", "--basis", "sto-3g", "--workers", "1"]


def waters(count: int) -> list[Frame]:
    """Different frames of one water molecule in 20 charges."""
    return [water_in_charges(seed) for seed in range(count)]


def fake_label(frame: Frame, method: Method) -> Outcome:
    """A label in no time: its energy tells which frame it was."""
    labelled = replace(frame, energy=float(frame.qm_positions[0, 0]))
    return Outcome(labelled, "minao", (), 0.0, "here", {"pyscf": "0"})


def ledger(folder: Path, columns: str = "frame_id, state, attempts") -> list[tuple]:
    """Rows of a campaign's ledger, read with SQLite alone."""
    database = sqlite3.connect(folder / "ledger.sqlite", timeout=30)
    try:
        return database.execute(f"SELECT {columns} FROM frames ORDER BY number").fetchall()
    finally:
        database.close()


def results(folder: Path) -> list[Path]:
    """Result files of a campaign."""
    return sorted(folder.glob("results/*/*.npz"))


def children(pid: int) -> list[str]:
    """Processes that any thread of a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def alive(pid: Any) -> bool:
    """Whether a process runs; one that has ended and was not asked about yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], process: Any = None, patience: float = 300.0) -> None:
    """Wait until something is so, and no longer than ``process`` lives."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
