"""The settings of a run of `nvt_stability.py`, kept beside it and compared when it goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.common import write_json

COLUMNS = (
    ("step", "d", 9),
    ("time/ps", ".3f", 9),
    ("T(QM)/K", ".0f", 8),
    ("T/K", ".0f", 6),
    ("zeta/Å", ".3f", 8),
    ("C–H/Å", ".3f", 7),
    ("contact/Å", ".2f", 10),
    ("dF/eV/Å", ".3f", 8),
    ("ms/step", ".2f", 8),
    ("left", "", 8),
)
"""Of the log; dF is the largest uncertainty of a force."""


@dataclass(frozen=True)
class RunSettings:
    """What defines a run, besides its start and how long it gets."""

    mode: str
    """``held`` or ``moving``."""
    model: str
    """Model file."""
    member: int | None = None
    """Of the committee, whose forces act; None: those of the mean."""
    temperature: float = 350.0
    """K."""
    timestep: float = 2.0
    """fs; the solute's hydrogen atoms are heavy."""
    friction: float = 1.0
    """1/ps."""
    every: int = 50
    """Steps between records."""
    radius: float = 11.0
    """Å, of the droplet; of no meaning in fixed charges."""
    platform: str = "CPU"
    """OpenMM's, for moving solvent."""
    dtype: str = "float32"
    seed: int = 1

    def facts(self) -> dict[str, Any]:
        """Plain values; of the model, what is in the file and not where it lies."""
        digest = hashlib.sha256(Path(self.model).read_bytes()).hexdigest()
        return asdict(self) | {"model": Path(self.model).name, "model_sha256": digest}


def settle(folder: Path, settings: RunSettings) -> dict[str, Any]:
    """Write down what the run is, or make sure that it is the same one.

    Raises
    ------
    ValueError
        The folder holds a run with other settings; names the first that differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, facts = folder / "settings.json", settings.facts()
    if path.exists():
        for name, before in json.loads(path.read_text(encoding="utf-8")).items():
            if facts.get(name) != before:
                raise ValueError(
                    f"{folder} holds a run with {name} = {before!r}, which cannot go on with "
                    f"{facts.get(name)!r}"
                )
    else:
        write_json(path, facts)
    return facts
