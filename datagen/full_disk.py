"""A full disk is nobody's bug: it is told in a sentence, and the campaign goes on later."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datagen.errors import DiskFullError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, `ulimit -f`


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error says that there is no room."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


@contextmanager
def full_disk_is_a_sentence(path: Path) -> Iterator[None]:
    """Turn such errors, also as the cause of others, into a `DiskFullError` about ``path``."""
    try:
        yield
    except OSError as error:
        if not is_full_disk(error) and not is_full_disk(error.__cause__):
            raise
        raise DiskFullError(
            f"the disk that holds {path} is full; nothing is lost, run the same command again "
            "once there is room"
        ) from error
