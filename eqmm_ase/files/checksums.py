"""Checksums of a dataset: of every array, and of everything that gives the arrays their meaning.

HDF5 checks the bytes of its own structures and of every chunk that it reads. That is blind to what
happens above it: a chunk at the place of another, an array that is no longer listed, an entry of
the method changed. A dataset therefore holds one text more, ``checksums``,

    {"header": ..., "arrays": {"qm_ptr": ..., "energy": ..., ...}}

each a BLAKE2b digest of 128 bits in hexadecimal. The one of the header covers the attributes and
the list of arrays and is looked at when a file is opened, that of an array when all of it is read.
Files of earlier versions have none and are read as before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eqmm_ase.data.dataset_format import DatasetError

ATTRIBUTE = "checksums"
_BYTES = 16


@dataclass(frozen=True)
class Checksums:
    """What a file should hold."""

    header: str
    arrays: Mapping[str, str]

    @classmethod
    def of(cls, header: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> Checksums:
        """Checksums of a file that is to be written.

        Parameters
        ----------
        header
            Its attributes as texts.
        arrays
            All arrays by name, with the pointers.
        """
        own = {name: _of_array(array) for name, array in arrays.items()}
        return cls(_of_header(header, own), own)

    @classmethod
    def from_json(cls, text: Any, path: str) -> Checksums:
        """What `to_json` wrote.

        Raises
        ------
        DatasetError
            When it is something else.
        """
        try:
            values = json.loads(text)
            return cls(str(values["header"]), dict(values["arrays"]))
        except (TypeError, KeyError, ValueError, RecursionError) as error:
            raise DatasetError(f"{path}: attribute {ATTRIBUTE!r} {_DAMAGED}") from error

    def to_json(self) -> str:
        """As text."""
        return json.dumps({"header": self.header, "arrays": dict(self.arrays)})

    def check_header(self, header: Mapping[str, str], names: Any, path: str) -> None:
        """Refuse a file whose attributes or list of arrays are not those that were written.

        Raises
        ------
        DatasetError
            Names an array that is missing or was added.
        """
        if different := sorted(set(names) ^ set(self.arrays)):
            what = "there" if different[0] in names else "not there"
            raise DatasetError(f"{path}: dataset {different[0]!r} is {what}, and it {_DAMAGED}")
        if _of_header(header, self.arrays) != self.header:
            raise DatasetError(f"{path}: the list of attributes {_DAMAGED}")

    def check_array(self, name: str, array: np.ndarray, path: str) -> None:
        """Refuse an array that is not the one that was written.

        Raises
        ------
        DatasetError
            Names the file and the array.
        """
        self.check_digest(name, _of_array(array), path)

    def check_digest(self, name: str, digest: str, path: str) -> None:
        """Refuse an array whose `ArrayDigest` is not that of the one that was written.

        Raises
        ------
        DatasetError
            Names the file and the array.
        """
        if digest != self.arrays[name]:
            raise DatasetError(f"{path}: dataset {name!r} {_DAMAGED}")


class ArrayDigest:
    """Digest of an array that comes in blocks of rows.

    Parameters
    ----------
    dtype, shape
        Of the whole array; everything that is no number is text.
    """

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        start = f"{dtype.newbyteorder('<').str}" if dtype.kind in "fiu" else "texts"
        self._digest = hashlib.blake2b(f"{start}{tuple(shape)}".encode(), digest_size=_BYTES)

    def update(self, block: np.ndarray) -> None:
        """Take the next rows."""
        if block.dtype.kind in "fiu":
            content = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
            self._digest.update(content.data)
        else:
            self._digest.update("".join(f"{text}\0" for text in block).encode())

    def hexadecimal(self) -> str:
        """As text."""
        return self._digest.hexdigest()


_DAMAGED = (
    "does not match the checksums that the file was written with: it is damaged, or was changed by "
    f"another program; if the change is meant, delete the file's attribute {ATTRIBUTE!r}, and "
    "read_frames and write_frames make a file with new ones"
)


def _of_header(header: Mapping[str, str], arrays: Mapping[str, str]) -> str:
    content = json.dumps([dict(header), dict(arrays)], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=_BYTES).hexdigest()


def _of_array(array: np.ndarray) -> str:
    digest = ArrayDigest(array.dtype, array.shape)
    digest.update(array)
    return digest.hexadecimal()
