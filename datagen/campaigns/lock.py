"""The lock of a campaign folder: one process at a time works on it, others may look.

filelock's locks cannot be looked at without being taken, and without the right to write.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from datagen.errors import CampaignError

_GLANCE = 0.5  # s; longer than anybody looks whether the lock is held


def hold(folder: Path) -> int:
    """Take the lock; the system gives it back when this process ends in any way.

    Returns
    -------
    A file descriptor; closing it gives the lock back.

    Raises
    ------
    CampaignError
        When another process has it.
    """
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o666)
    end = time.monotonic() + _GLANCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            os.close(descriptor)
            raise CampaignError(f"another process works on the campaign {folder}") from error
        return descriptor


def is_held(folder: Path) -> bool:
    """Whether a process works on the campaign now."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
