"""Whatever a damaged file makes a library raise is said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eqmm_ase.data.dataset_format import DatasetError

_LONGEST = 120  # characters of another library's message


@contextmanager
def read_guard(
    what: str,
    error: type[Exception] = DatasetError,
    expected: str = "intact data",
    *passing: type[Exception],
) -> Iterator[None]:
    """Turn every exception of a block that reads a file into one of ours.

    h5py, HDF5, NumPy, zlib, SQLite and JSON each have exceptions of their own, and which of them a
    wrong byte ends in depends on where it stands: there is no list of them to catch.

    Parameters
    ----------
    what
        The file, and what of it is read: begins the sentence.
    error
        Raised instead; one that is raised in the block passes.
    expected
        What the file should have held.
    *passing
        Exceptions that pass, for somebody else to turn into a sentence.

    Raises
    ------
    DatasetError
        Or whatever `error` is. A missing file stays a FileNotFoundError.
    """
    missing = (FileNotFoundError, PermissionError)
    as_they_are: tuple[type[Exception], ...] = (*missing, DatasetError, error, *passing)
    try:
        yield
    except as_they_are:
        raise
    except Exception as cause:
        reason = shortened(cause).strip("'") or type(cause).__name__
        raise error(
            f"{what} cannot be read ({reason}); "
            f"expected {expected}, and the file is foreign, damaged or truncated"
        ) from cause


def shortened(text: object) -> str:
    """The first line of another library's message, or of what a file says, for a sentence."""
    line = str(text).strip().partition("\n")[0]
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return printable if len(printable) <= _LONGEST else printable[:_LONGEST] + "…"
