"""The folder beside the output in which an unfinished sampling keeps what it has.

Every file appears completely or not at all, so that a run killed at any moment goes on from the
last trajectory that ended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datagen.solvent.md import Box, Snapshots
from eqmm_ase.atomic_write import atomic_path


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

    def remove(self) -> None:
        """Delete the folder; the run is finished."""
        shutil.rmtree(self.folder)

    def _save(self, name: str, **arrays: np.ndarray) -> None:
        with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
