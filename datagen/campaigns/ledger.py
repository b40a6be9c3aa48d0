"""The ledger of a campaign: one row a frame, in SQLite, so that a kill never leaves it half true.

A row keeps what goes in (the frame as bytes), where it stands (waiting, running, done, failed) and
how it got there. Every change is one transaction. `Ledger` is for the one process that holds the
campaign, `LedgerReader` for anybody at any time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any

from datagen.campaigns import ledger_schema
from datagen.errors import CampaignError, DiskFullError
from eqmm_ase.files.read_guard import read_guard, shortened

_PATIENCE = 60.0  # s; nobody holds the file for more than a moment
_IN_THE_WAY = ("locked", "readonly", "unable to open")


@dataclass(frozen=True)
class Row:
    """What the ledger knows about a frame, without the frame itself."""

    frame_id: str
    state: str
    """waiting, running, done or failed."""

    reason: str | None
    """Type of the error that failed it."""

    message: str | None
    """Sentence of that error."""

    attempts: int
    started: float | None
    """When the last attempt began, s since 1970; None also where an early ledger did not say."""

    finished: float | None
    """When it was done or failed, as ``started``."""

    wall_time: float | None
    """s."""

    host: str | None
    scf_stage: str | None
    warnings: tuple[str, ...]
    versions: Mapping[str, str]
    checksum: str | None
    """SHA-256 of the result file."""


_COLUMNS = {"scf_stage": "rung"}
"""Field of a row → column, where ledgers have an older name for it."""


class LedgerReader:
    """A ledger to look at, also while a campaign runs and also of an earlier version.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    CampaignError
        When there is none, or it is not a ledger, or one of a later version.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise CampaignError(f"there is no campaign in {path.parent}: it has no {path.name}")
        self._path = path
        # Not mode=ro: after a kill, the next reader may have to undo a half-written transaction.
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", _PATIENCE, uri=True)
        with self._closed_on_error():
            self._db.execute("PRAGMA query_only = ON")
            if ledger_schema.is_empty(self._db):
                raise CampaignError(f"there is no campaign in {path.parent} yet")
            self._refuse_later(self._version())

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def known_fact(self, key: str) -> Any:
        """A fact about the whole campaign, or None."""
        query = "SELECT value FROM campaign WHERE key = ?"
        with readable_errors(self._path):
            row = self._db.execute(query, (key,)).fetchone()
        with self._understood(f"its fact {key!r}"):
            return json.loads(row[0]) if row else None

    def rows(self) -> list[Row]:
        """All frames in the order in which they were added."""
        names = [field.name for field in fields(Row)]
        with readable_errors(self._path):
            present = {column[1] for column in self._db.execute("PRAGMA table_info(frames)")}
            stored = [_COLUMNS.get(name, name) for name in names]
            columns = ", ".join(name if name in present else "NULL" for name in stored)
            found = self._db.execute(f"SELECT {columns} FROM frames ORDER BY number").fetchall()
        with self._understood("its rows"):
            return [_row(dict(zip(names, values, strict=True))) for values in found]

    def inputs(self, frame_id: str) -> bytes:
        """The frame as it was added."""
        query = "SELECT inputs FROM frames WHERE frame_id = ?"
        with readable_errors(self._path), self._understood(f"its frame {frame_id}"):
            return bytes(self._db.execute(query, (frame_id,)).fetchone()[0])

    def _version(self) -> int:
        with readable_errors(self._path), self._understood("its version"):
            return ledger_schema.version_of(self._db)

    def _understood(self, what: str) -> AbstractContextManager[None]:
        """What SQLite gives back is what was written, or the ledger is damaged."""
        return read_guard(
            f"{self._path}: {what}", CampaignError, "a campaign ledger", DatabaseError
        )

    def _refuse_later(self, version: int) -> None:
        if version > ledger_schema.VERSION:
            raise CampaignError(
                f"{self._path} has ledger version {version}; this program knows versions up to "
                f"{ledger_schema.VERSION}"
            )

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            with readable_errors(self._path):
                yield
        except BaseException:
            self._db.close()
            raise


class Ledger(LedgerReader):
    """An open ledger; only the process that holds the campaign's lock may have one.

    Parameters
    ----------
    path
        Made when it does not exist, brought up to date when it is of an earlier version.

    Raises
    ------
    CampaignError
        When the file is not a ledger, or one of a later version.
    DiskFullError
        When there is no room to bring it up to date.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Transactions begin and end where this class says: Python's own begin too late for DDL.
        self._db = sqlite3.connect(path, _PATIENCE, isolation_level=None)
        with self._closed_on_error(), self._transaction():
            if ledger_schema.is_empty(self._db):
                ledger_schema.create(self._db)
            version = self._version()
            self._refuse_later(version)
            if version < ledger_schema.VERSION:
                ledger_schema.upgrade(self._db, version)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Make the changes of a block one transaction: all of them stay, or none."""
        with self._transaction():
            yield

    def fact(self, key: str, default: Any) -> Any:
        """A fact about the whole campaign; the first value given to it stays."""
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO campaign VALUES (?, ?)",
                (key, json.dumps(default, sort_keys=True)),
            )
        return self.known_fact(key)

    def set_fact(self, key: str, value: Any) -> None:
        """Replace a fact about the whole campaign."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO campaign VALUES (?, ?)",
                (key, json.dumps(value, sort_keys=True)),
            )

    def add(self, frames: Iterable[tuple[str, bytes]]) -> None:
        """Add (frame_id, content) rows; those already there are left as they are."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO frames (frame_id, inputs) VALUES (?, ?)", frames
            )

    def started(self, frame_id: str, when: float) -> None:
        """Count an attempt that began at this time, s since 1970."""
        self._update(
            frame_id,
            "state='running', attempts = attempts + 1, started=?, finished=NULL",
            when,
        )

    def done(
        self,
        frame_id: str,
        *,
        checksum: str,
        wall_time: float,
        host: str,
        scf_stage: str,
        warnings: Sequence[str],
        versions: Mapping[str, str],
    ) -> None:
        """Record a label whose file is safely on disk."""
        self._update(
            frame_id,
            "state='done', reason=NULL, message=NULL, finished=?, checksum=?, wall_time=?, "
            "host=?, rung=?, warnings=?, versions=?",
            time.time(),
            checksum,
            wall_time,
            host,
            scf_stage,
            json.dumps(list(warnings), ensure_ascii=False),
            json.dumps(dict(versions), sort_keys=True),
        )

    def failed(self, frame_id: str, reason: str, message: str) -> None:
        """Record that there is no label, and why."""
        now = time.time()
        self._update(
            frame_id,
            "state='failed', reason=?, message=?, finished=?, wall_time = ? - started",
            reason,
            message,
            now,
            now,
        )

    def wait_again(self, frame_id: str) -> None:
        """Forget the outcome of a frame: it will be computed again."""
        self._update(
            frame_id, "state='waiting', reason=NULL, message=NULL, finished=NULL, checksum=NULL"
        )

    def nothing_runs(self) -> None:
        """Send frames that were running when a run ended back to waiting."""
        with self._transaction():
            self._db.execute("UPDATE frames SET state='waiting' WHERE state='running'")

    def _update(self, frame_id: str, assignments: str, *values: Any) -> None:
        with self._transaction():
            self._db.execute(
                f"UPDATE frames SET {assignments} WHERE frame_id = ?", (*values, frame_id)
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:
            yield
            return
        with readable_errors(self._path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield


def _row(values: dict[str, Any]) -> Row:
    values["warnings"] = tuple(json.loads(values["warnings"] or "[]"))
    values["versions"] = dict(json.loads(values["versions"] or "{}"))
    values["attempts"] = int(values["attempts"])
    for name in ("started", "finished", "wall_time"):
        values[name] = None if values[name] is None else float(values[name])
    return Row(**values)


@contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """SQLite reports a full disk and a foreign or damaged file as errors of its own kind."""
    try:
        yield
    except DatabaseError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise DiskFullError(
                f"the disk that holds {path} is full ({error}); nothing is lost, run the same "
                "command again once there is room"
            ) from error
        if any(words in str(error) for words in _IN_THE_WAY):
            raise CampaignError(
                f"{path} cannot be used ({error}); is another program holding it, or is the folder "
                "not writable?"
            ) from error
        if isinstance(error, sqlite3.ProgrammingError):
            raise
        raise CampaignError(
            f"{path} is not a campaign ledger, or damaged ({shortened(error)}); labels in the "
            "folder results are taken over when it is moved away and the frames are given again"
        ) from error
