"""What a single frame may take before its process is ended."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path

from datagen.errors import CampaignError

GIGABYTE = 1_000_000_000  # bytes


@dataclass(frozen=True)
class Limits:
    """Limits of one frame; None for none. Raises `CampaignError` when one is not positive."""

    timeout: float | None = None
    """Wall time, s; the start of the worker process does not count."""

    memory: float | None = None
    """Memory of the worker process with all programs it has loaded, GB."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise CampaignError(f"the {field.name} limit is {value}; expected above 0")

    @property
    def any(self) -> bool:
        """Whether there is a limit to watch."""
        return self.timeout is not None or self.memory is not None


def resident_memory(pid: int) -> float:
    """Memory that a process holds now, GB; 0 where the system does not tell or it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / GIGABYTE
