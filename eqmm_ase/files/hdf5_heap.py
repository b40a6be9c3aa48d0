"""Damage in files of earlier versions that the HDF5 library does not survive.

Their texts have variable length and lie in HDF5's global heap, which has no checksum. The library
(2.0) walks along the objects of such a heap by their sizes; where a wrong byte has made one of them
zero, it stays there for ever. And it takes as much memory as the length of a text says, up to 4 GB,
before it looks whether the text is there. Files that are written now have no such heap
(`hdf5_layout`).

Source: HDF5 File Format Specification, version 3, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eqmm_ase.data.dataset_format import DatasetError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LAST_WITHOUT_CHECKSUM = 1
"""Version of the superblock up to which HDF5's structures have none."""

_COLLECTION = b"GCOL\x01\x00\x00\x00"
_OBJECT = struct.Struct("<HHIQ")  # index, references, nothing, size
_WRAP = 1 << 64


_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("object", "<u4")])


def refuse_endless_heap(path: Path) -> None:
    """Refuse a file in which HDF5 would not come to an end.

    Raises
    ------
    DatasetError
        When a global heap has an object of no size.
    """
    with path.open("rb") as file:
        start = file.read(len(_SIGNATURE) + 1)
        if start[:-1] != _SIGNATURE or start[-1] > _LAST_WITHOUT_CHECKSUM:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place = content.find(_COLLECTION)
            while place >= 0:
                if _is_endless(content, place):
                    raise DatasetError(
                        f"{path} is damaged: its texts, at byte {place}, cannot be told apart"
                    )
                place = content.find(_COLLECTION, place + 1)


def refuse_endless_texts(name: str, array: Any, path: Path) -> None:
    """Refuse texts that would be longer than their file.

    Raises
    ------
    DatasetError
        Names the array.
    """
    info = isinstance(array, h5py.Dataset) and h5py.check_string_dtype(array.dtype)
    if not info or info.length is not None or (start := array.id.get_offset()) is None:
        return
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(array.size * _REFERENCE.itemsize)
    whole = content[: len(content) // _REFERENCE.itemsize * _REFERENCE.itemsize]
    if (np.frombuffer(whole, _REFERENCE)["length"] > path.stat().st_size).any():
        raise DatasetError(
            f"{path}: dataset {name!r} has texts longer than the file, which is damaged"
        )


def _is_endless(content: mmap.mmap, start: int) -> bool:
    head = start + len(_COLLECTION)
    size = int.from_bytes(content[head : head + 8], "little")
    place, end = head + 8, min(start + size, len(content))
    while place + _OBJECT.size <= end:
        index, _, _, size = _OBJECT.unpack_from(content, place)
        # Index 0 is free space, whose size includes this head; others are padded to eight bytes.
        step = size if index == 0 else (_OBJECT.size + -(-size // 8) * 8) % _WRAP
        if step == 0:
            return True
        place += step
    return False
