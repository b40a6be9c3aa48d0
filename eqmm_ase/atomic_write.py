"""Write a file completely or not at all.

A full disk or a kill in the middle of a write must leave the previous file as it was: the new one
grows beside it under another name and takes its place in one step.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Path of a temporary file that becomes ``path`` when the block ends without an error.

    Parameters
    ----------
    path
        The file to be written; its folder must exist.

    Raises
    ------
    OSError
        When the folder is missing, not writable or full; ``path`` is then unchanged.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the folder {target.parent} does not exist")
    descriptor, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part"
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes files only their owner can read; a result is shared like any other file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Find out before hours of work that their result could not be written.

    Raises
    ------
    OSError
        When the folder is missing or not writable, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"cannot write {target}: no permission in {target.parent.resolve()}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
