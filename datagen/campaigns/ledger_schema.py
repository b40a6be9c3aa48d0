"""The tables of a ledger, and the steps that bring ledgers of earlier versions up to date."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping

VERSION = 2

_FACTS = "CREATE TABLE campaign (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
_FRAMES = """
CREATE TABLE frames (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    frame_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    reason TEXT,            -- type of the error, when failed
    message TEXT,           -- its sentence
    attempts INTEGER NOT NULL DEFAULT 0,
    started REAL,           -- of the last attempt, seconds since 1970
    finished REAL,          -- the same; of a frame that is done or failed
    wall_time REAL,         -- s, of the calculation alone
    host TEXT,
    rung TEXT,              -- SCF fallback stage that converged
    warnings TEXT,          -- JSON list
    versions TEXT,          -- JSON object: program -> version
    checksum TEXT,          -- SHA-256 of the result file
    inputs BLOB NOT NULL    -- the frame (`campaigns.storage`); last, as it is large
)
"""
_INDEX = "CREATE INDEX frames_state ON frames (state)"


def create(db: sqlite3.Connection) -> None:
    """Make the tables of an empty ledger, within the open transaction."""
    for statement in (_FACTS, _FRAMES, _INDEX):
        db.execute(statement)
    _set_version(db, VERSION)


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever written to this file."""
    return db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def version_of(db: sqlite3.Connection) -> int:
    """Version of the tables.

    Version 1 made them before it wrote its number, so that a kill in between left none.
    """
    row = db.execute("SELECT value FROM campaign WHERE key = 'version'").fetchone()
    return int(json.loads(row[0])) if row else 1


def upgrade(db: sqlite3.Connection, found: int) -> None:
    """Bring a ledger from an earlier version to this one, within the open transaction."""
    for version in range(found, VERSION):
        _STEPS[version](db)
    _set_version(db, VERSION)


def _to_version_2(db: sqlite3.Connection) -> None:
    """Version 1 knew no running frames and no times; SQLite changes no CHECK in place."""
    kept = (
        "number, frame_id, state, reason, message, attempts, wall_time, host, rung, warnings, "
        "versions, checksum, inputs"
    )
    db.execute("ALTER TABLE frames RENAME TO frames_1")
    db.execute(_FRAMES)
    db.execute(f"INSERT INTO frames ({kept}) SELECT {kept} FROM frames_1 ORDER BY number")
    db.execute("DROP TABLE frames_1")
    db.execute(_INDEX)


_STEPS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _to_version_2}


def _set_version(db: sqlite3.Connection, version: int) -> None:
    db.execute("INSERT OR REPLACE INTO campaign VALUES ('version', ?)", (json.dumps(version),))
