"""The folder beside a model file in which its training keeps its state, so that it can go on.

``model.eqmm.train/`` holds the last checkpoint, the settings, the metrics of every round and the
curve. A training is recognised by the hash of its settings and its data.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from eqmm_ase.atomic_write import atomic_path, write_text
from eqmm_ase.training.config import TrainConfig

CHECKPOINT = "last.ckpt"
_MARK = "training.json"


class TrainingFolder:
    """Folder with checkpoint, settings and history of a training.

    Parameters
    ----------
    output
        The model file to be made; the folder is called after it.
    """

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = Path(output)
        self.path = Path(f"{self.output}.train")
        self.checkpoint = self.path / CHECKPOINT
        self.history = self.path / "history.csv"
        self.outliers = self.path / "outliers.txt"

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint to go on from, if there is one."""
        return self.checkpoint if self.checkpoint.is_file() else None

    def prepare(self, config: TrainConfig, content_hash: str, *, restart: bool) -> Path | None:
        """Make the folder, or find in it what an earlier run of the same training left.

        Parameters
        ----------
        config, content_hash
            Settings and data; both must be those of the earlier run.
        restart
            Throw the earlier run away instead.

        Returns
        -------
        Path or None
            The checkpoint to go on from.

        Raises
        ------
        ValueError
            When the folder belongs to another training or to something else.
        """
        mark = self.path / _MARK
        if self.path.exists() and not mark.is_file() and any(self.path.iterdir()):
            raise ValueError(f"{self.path} exists and is not a training's folder; move it away")
        if restart and self.path.exists():
            shutil.rmtree(self.path)
        wanted = {"settings": settings_hash(config), "data": content_hash}
        if mark.is_file():
            found = json.loads(mark.read_text(encoding="utf-8"))
            changed = [name for name in wanted if found.get(name) != wanted[name]]
            if changed:
                raise ValueError(
                    f"{self.path} holds a training with other {' and '.join(changed)}; "
                    "choose another output, or use --restart to throw that training away"
                )
            return self.last_checkpoint
        self.path.mkdir(exist_ok=True)
        write_text(self.path / "config.yaml", config.to_yaml())
        write_text(mark, json.dumps(wanted, indent=1))
        return None


def settings_hash(config: TrainConfig) -> str:
    """Hash of the settings that a result depends on; where it runs is not one of them."""
    values = config.to_dict()
    del values["hardware"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_history(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table of all rounds as CSV; columns are the union of the rows' keys."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that a kill or a full disk leaves as they were before."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write beside the old checkpoint and replace it in one step."""
        try:
            with atomic_path(path) as temporary:
                image = io.BytesIO()
                torch.save(checkpoint, image)
                temporary.write_bytes(image.getbuffer())
        except OSError as error:
            raise OSError(
                f"cannot write the checkpoint {path}: {error.strerror or error}; "
                "the one before it is intact, and the same command goes on from there"
            ) from error

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: Any = None
    ) -> dict[str, Any]:
        """Read a checkpoint without running any code it may hold."""
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded
