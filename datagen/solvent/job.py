"""What every sampling run is made of: trajectories, a folder that keeps those that have ended.

Every file appears completely or not at all, so that a run killed at any moment goes on from the
last trajectory that ended.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.processes.executors import cores
from datagen.solvent.md import Box, Snapshots
from datagen.solvent.parallel import Trajectory, run_trajectories
from eqmm_ase.atomic_write import atomic_path


class SamplingError(ValueError):
    """A setting makes no sense; the message is one sentence for the user."""


class SamplingProgress:
    """What `sample` tells while it runs; this one keeps it to itself."""

    def stage(self, name: str) -> None:
        """Say what is being done now."""

    def advance(self, picoseconds: float) -> None:
        """Count molecular dynamics just done, or found done by an earlier run."""

    def note(self, sentence: str) -> None:
        """Say what the user should know of the preparation."""


@dataclass(frozen=True)
class Run:
    """A trajectory that is to be run, and its length."""

    trajectory: Trajectory
    duration: float
    """ps."""


class UnfinishedError(ValueError):
    """The folder belongs to another run."""


class Unfinished:
    """What is there of a sampling run.

    Parameters
    ----------
    folder
        Created when it does not exist.
    settings
        Plain JSON values that everything in the folder depends on.

    Raises
    ------
    UnfinishedError
        When the folder holds a run with other settings; the sentence names those that differ.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        record = folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if not record.is_file():
            with atomic_path(record) as temporary:
                temporary.write_text(json.dumps(wanted, indent=1))
            return
        found = json.loads(record.read_text())
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        if differing:
            raise UnfinishedError(
                f"{folder} holds an unfinished run that differs in {', '.join(differing)}; finish "
                "it with its own settings or delete the folder"
            )

    @property
    def prmtop(self) -> Path:
        """Where the topology of the box belongs."""
        return self.folder / "system.prmtop"

    @property
    def notes(self) -> list[str]:
        """What the user should know of the preparation, a sentence each."""
        path = self.folder / "notes.json"
        return list(json.loads(path.read_text())) if path.is_file() else []

    @notes.setter
    def notes(self, sentences: Sequence[str]) -> None:
        with atomic_path(self.folder / "notes.json") as temporary:
            temporary.write_text(json.dumps(list(sentences)))

    def load_box(self, n_solute: int) -> Box | None:
        """The equilibrated box, if there is one."""
        path = self.folder / "equilibrated.npz"
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            return Box(self.prmtop, n_solute, arrays["positions"], arrays["cell"])

    def save_box(self, box: Box) -> None:
        """Keep the equilibrated box."""
        self._save("equilibrated.npz", positions=box.positions, cell=box.cell)

    def load_trajectory(self, number: int) -> Snapshots | None:
        """The snapshots of a trajectory, if it has ended."""
        path = self.folder / f"trajectory-{number}.npz"
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            return Snapshots(arrays["positions"], arrays["cells"])

    def save_trajectory(self, number: int, snapshots: Snapshots) -> None:
        """Keep the snapshots of a trajectory."""
        self._save(f"trajectory-{number}.npz", positions=snapshots.positions, cells=snapshots.cells)

    def _save(self, name: str, **arrays: np.ndarray) -> None:
        with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def run_missing(
    unfinished: Unfinished, runs: Mapping[int, Run], workers: int, progress: SamplingProgress
) -> dict[int, Snapshots]:
    """Run the trajectories that have not ended in an earlier run.

    Parameters
    ----------
    unfinished
        Keeps each as soon as it ends.
    runs
        By number.
    workers
        Processes.
    progress
        Told of all of them, also of those found done.

    Returns
    -------
    dict
        Number → snapshots, of all, in their order.

    Raises
    ------
    DynamicsError
        When one breaks down; the others are stopped.
    """
    missing = {n: run for n, run in runs.items() if unfinished.load_trajectory(n) is None}
    progress.advance(sum(run.duration for n, run in runs.items() if n not in missing))
    progress.stage(f"{len(missing)} trajectories")
    run_trajectories(
        {number: run.trajectory for number, run in missing.items()},
        workers,
        done=unfinished.save_trajectory,
        progress=progress.advance,
    )
    ended = {}
    for number in runs:
        snapshots = unfinished.load_trajectory(number)
        assert snapshots is not None
        ended[number] = snapshots
    return ended


@contextmanager
def kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    """The folder, or one that is gone afterwards."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="eqmm-sample-") as name:
        yield Path(name)


def default_workers(platform: str) -> int:
    """Processes for trajectories: the cores of a CPU, one on a GPU."""
    return cores() if platform == "CPU" else 1


def openmm_seed(seed: int, stream: int) -> int:
    """Independent seeds for OpenMM, which takes positive 32-bit integers and reads 0 as random."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0] >> 1) | 1
