"""What an import gives: frames, their method, and an account of what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datagen.datasets.foreign_labels import Found, looked_for
from eqmm_ase.data.dataset_format import field_of
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import frame_of_values, known_values


@dataclass(frozen=True)
class Imported:
    """Frames from a file of another program."""

    frames: Sequence[Frame]
    method: dict[str, Any] | None
    """As the file says; None where it does not."""
    found: Found = field(default_factory=Found)

    @property
    def has_labels(self) -> bool:
        """Whether any frame has a label."""
        return any(field_of(name).label for frame in self.frames for name in known_values(frame))

    def without_labels(self) -> Imported:
        """Geometries and charges alone."""
        frames = [
            frame_of_values(
                {k: v for k, v in known_values(frame).items() if not field_of(k).label},
                "a frame",
            )
            for frame in self.frames
        ]
        return replace(self, frames=frames)

    def account(self) -> str:
        """``6 frames: energy 6, qm_forces 6 (from 'forces')``, and what was not read."""
        total = len(self.frames)
        counts: dict[str, int] = {}
        for frame in self.frames:
            for name in known_values(frame):
                if field_of(name).label:
                    counts[name] = counts.get(name, 0) + 1
        keys: dict[str, list[str]] = {}
        for name, key in self.found.taken:
            keys.setdefault(name, []).append(repr(key))
        labels = [
            f"{name} {count}" + (f" (from {', '.join(keys[name])})" if name in keys else "")
            for name, count in counts.items()
        ]
        unread = self.found.unread()
        return f"{total} frames: {', '.join(labels) or 'no labels'}" + (
            f"; not read: {unread}" if unread else ""
        )

    def nothing_found(self) -> str:
        """The sentence for a file without any label."""
        seen = self.found.unread()
        return (
            f"holds no label in {len(self.frames)} frames: looked for {looked_for()} and found "
            f"{seen or 'geometries alone'}; --frames-only imports frames without labels"
        )
