"""What a campaign tells about itself: how far it is, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from datagen.campaigns.ledger import Row


@dataclass(frozen=True)
class Progress:
    """How far a run is, in frames."""

    total: int
    done: int
    failed: int


@dataclass(frozen=True)
class Summary:
    """Where a set of frames stands."""

    waiting: int
    running: int
    """Also those whose run was killed; they wait again when the campaign is opened."""

    done: int
    failed: int
    failures: tuple[tuple[str, int, str], ...]
    """(reason, number of frames, one of their messages), most frequent first."""

    warned: int
    """Finished frames that carry a warning."""

    warnings: tuple[tuple[str, int, str], ...] = ()
    """(kind, number of frames, one of their sentences), most frequent first."""

    @property
    def total(self) -> int:
        """All frames of the set."""
        return self.waiting + self.running + self.done + self.failed

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Summary:
        """Count rows of a ledger."""
        states = Counter(row.state for row in rows)
        failed = [row for row in rows if row.state == "failed"]
        example = {row.reason: row.message for row in reversed(failed)}
        reasons = Counter(row.reason for row in failed).most_common()
        warned = [row for row in rows if row.state == "done" and row.warnings]
        sentences = {kind_of(w): w for row in reversed(warned) for w in row.warnings}
        kinds = Counter(kind for row in warned for kind in {kind_of(w) for w in row.warnings})
        return cls(
            waiting=states["waiting"],
            running=states["running"],
            done=states["done"],
            failed=states["failed"],
            failures=tuple((str(r), count, str(example[r])) for r, count in reasons),
            warned=len(warned),
            warnings=tuple((kind, n, sentences[kind]) for kind, n in kinds.most_common()),
        )


def kind_of(warning: str) -> str:
    """What a warning about a frame is about: ``overpolarisation``."""
    return warning.partition(":")[0]
