"""The ledger of a campaign: one row a frame, in SQLite, so that a kill never leaves it half true.

A row keeps what goes in (the frame as bytes), where it stands (waiting, done, failed) and how it
got there. Every change is one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from datagen.errors import CampaignError, DiskFullError

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS campaign (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS frames (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    frame_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    reason TEXT,            -- type of the error, when failed
    message TEXT,           -- its sentence
    attempts INTEGER NOT NULL DEFAULT 0,
    wall_time REAL,         -- s
    host TEXT,
    rung TEXT,              -- rung of the SCF ladder
    warnings TEXT,          -- JSON list
    versions TEXT,          -- JSON object: program -> version
    checksum TEXT,          -- SHA-256 of the result file
    inputs BLOB NOT NULL    -- the frame, as in datagen.frame_storage
);
CREATE INDEX IF NOT EXISTS frames_state ON frames (state);
"""


@dataclass(frozen=True)
class Row:
    """What the ledger knows about a frame, without the frame itself."""

    frame_id: str
    state: str  # waiting, done or failed
    reason: str | None
    message: str | None
    attempts: int
    rung: str | None
    warnings: tuple[str, ...]
    versions: Mapping[str, str]
    checksum: str | None


class Ledger:
    """An open ledger file.

    Parameters
    ----------
    path
        Made when it does not exist.

    Raises
    ------
    CampaignError
        When the file is not a ledger, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path)
            with _readable_errors(path):
                self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise CampaignError(f"{path} is not a campaign ledger ({error})") from error
        found = self.fact("version", _VERSION)
        if found != _VERSION:
            self.close()
            raise CampaignError(
                f"{path} has ledger version {found}; this program reads version {_VERSION}"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def fact(self, key: str, default: Any) -> Any:
        """A fact about the whole campaign; the first value given to it stays."""
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO campaign VALUES (?, ?)",
                (key, json.dumps(default, sort_keys=True)),
            )
        row = self._db.execute("SELECT value FROM campaign WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0])

    def add(self, frames: Iterable[tuple[str, bytes]]) -> None:
        """Add (frame_id, content) rows; those already there are left as they are."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO frames (frame_id, inputs) VALUES (?, ?)", frames
            )

    def rows(self) -> list[Row]:
        """All frames in the order in which they were added."""
        columns = [field.name for field in fields(Row)]
        found = self._db.execute(f"SELECT {', '.join(columns)} FROM frames ORDER BY number")
        return [_row(dict(zip(columns, values, strict=True))) for values in found]

    def inputs(self, frame_id: str) -> bytes:
        """The frame as it was added."""
        query = "SELECT inputs FROM frames WHERE frame_id = ?"
        return bytes(self._db.execute(query, (frame_id,)).fetchone()[0])

    def started(self, frame_id: str) -> None:
        """Count an attempt."""
        self._update(frame_id, "attempts = attempts + 1")

    def done(
        self,
        frame_id: str,
        *,
        checksum: str,
        wall_time: float,
        host: str,
        rung: str,
        warnings: Sequence[str],
        versions: Mapping[str, str],
    ) -> None:
        """Record a label whose file is safely on disk."""
        self._update(
            frame_id,
            "state='done', reason=NULL, message=NULL, checksum=?, wall_time=?, host=?, rung=?, "
            "warnings=?, versions=?",
            checksum,
            wall_time,
            host,
            rung,
            json.dumps(list(warnings), ensure_ascii=False),
            json.dumps(dict(versions), sort_keys=True),
        )

    def failed(self, frame_id: str, reason: str, message: str) -> None:
        """Record that there is no label, and why."""
        self._update(frame_id, "state='failed', reason=?, message=?", reason, message)

    def wait_again(self, frame_id: str) -> None:
        """Forget the outcome of a frame: it will be computed again."""
        self._update(frame_id, "state='waiting', reason=NULL, message=NULL, checksum=NULL")

    def _update(self, frame_id: str, assignments: str, *values: Any) -> None:
        with self._transaction():
            self._db.execute(
                f"UPDATE frames SET {assignments} WHERE frame_id = ?", (*values, frame_id)
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _readable_errors(self._path), self._db:
            yield


def _row(values: dict[str, Any]) -> Row:
    values["warnings"] = tuple(json.loads(values["warnings"] or "[]"))
    values["versions"] = json.loads(values["versions"] or "{}")
    return Row(**values)


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """SQLite reports a full disk as an error of its own kind."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise DiskFullError(
                f"the disk that holds {path} is full ({error}); nothing is lost, run the same "
                "command again once there is room"
            ) from error
        raise
