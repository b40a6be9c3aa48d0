"""Read and write `eqmm-dataset` files: frames with their quantum-mechanical labels.

`read_frames` takes a whole file into memory, `ReferenceData` reads a frame when it is asked for,
`write_frames` writes a file atomically. What the file holds is fixed in
`eqmm_ase.data.dataset_format`, how it is laid out in HDF5 in `eqmm_ase.files.hdf5_layout`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.data.dataset_format import FORMAT, POINTERS, DatasetError, field_of
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.checksums import ArrayDigest
from eqmm_ase.files.flat_arrays import check_arrays, flatten, frame_at, present_names
from eqmm_ase.files.hdf5_heap import refuse_endless_heap, refuse_endless_texts
from eqmm_ase.files.hdf5_layout import Header, image_of, refuse_impossible_sizes
from eqmm_ase.files.read_guard import read_guard, shortened

__all__ = ["DatasetError", "ReferenceData", "read_frames", "write_frames"]

_HASH_ROWS = 1 << 16


class ReferenceData(Sequence[Frame]):
    """An open dataset file; a frame is read when it is asked for.

    Use as a context manager, or call `close`. Frames are NumPy and independent of the open file.

    Parameters
    ----------
    path
        An `eqmm-dataset` file.

    Raises
    ------
    DatasetError
        When the file is not one; the sentence names file, dataset, found and expected. May also be
        raised on reading a frame, when that part of the file is damaged.
    FileNotFoundError
        When there is no such file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._name = str(self.path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no dataset file {self._name}")
        try:
            refuse_endless_heap(self.path)
            self._file = h5py.File(self.path, "r")
        except (DatasetError, PermissionError):
            raise
        except Exception as error:  # h5py has no exception of its own
            raise DatasetError(
                f"{self._name} cannot be opened as HDF5 ({shortened(error)}); "
                f"expected an {FORMAT} file, and this one is foreign or truncated"
            ) from error
        try:
            with read_guard(f"{self._name}: the list of its contents", expected=f"an {FORMAT}"):
                self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        header = Header.read(self._file, self._name)
        self.method: dict[str, Any] = header.method
        names = present_names(self._file)
        arrays = {name: self._file[name] for name in (*POINTERS, *names) if name in self._file}
        refuse_impossible_sizes(arrays, self.path)
        for name, array in arrays.items():
            refuse_endless_texts(name, array, self.path)
        self._pointers = check_arrays(arrays, self._name)
        self._qm_ptr, self._mm_ptr = self._pointers.values()
        self._checksums = header.checksums
        if self._checksums:
            self._checksums.check_header(header.texts, arrays, self._name)
            for name, pointers in self._pointers.items():
                self._checksums.check_array(name, pointers, self._name)
        self._arrays: dict[str, Any] = {
            name: arrays[name].asstr() if field_of(name).kind == "text" else arrays[name]
            for name in names
        }

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ReferenceData:
        """Open a file for reading; the same as calling the class."""
        return cls(path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ReferenceData:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._qm_ptr) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} frames; there is no frame {index}")
        f = index % len(self)
        with read_guard(f"{self._name}: frame {f}"):
            return frame_at(self._arrays, self._pointers, f, self._name)

    def __iter__(self) -> Iterator[Frame]:
        return (self[i] for i in range(len(self)))

    def load(self) -> list[Frame]:
        """All frames, read array by array: far faster than one by one from a compressed file.

        Raises
        ------
        DatasetError
            When anything differs from what was written.
        """
        arrays = {name: self._read(name, slice(None)) for name in self._arrays}
        frames = [frame_at(arrays, self._pointers, f, self._name) for f in range(len(self))]
        if self._checksums:  # last, as the sentences before say more
            for name, array in arrays.items():
                self._checksums.check_array(name, array, self._name)
        return frames

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in the QM regions, ascending."""
        return tuple(int(z) for z in np.unique(self._whole("atomic_numbers")))

    @cached_property
    def media(self) -> tuple[str, ...]:
        """The media that occur, sorted."""
        return self._distinct("medium")

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The trajectories that frames were taken from, sorted."""
        return self._distinct("source")

    @cached_property
    def n_qm(self) -> np.ndarray:
        """QM atoms of each frame, (F,)."""
        return np.diff(self._qm_ptr)

    @cached_property
    def n_mm(self) -> np.ndarray:
        """MM charges of each frame, (F,)."""
        return np.diff(self._mm_ptr)

    @cached_property
    def charge_schemes(self) -> tuple[str, ...]:
        """Names of the charge schemes that the file holds."""
        return tuple(
            key.removeprefix("charges/") for key in self._arrays if key.startswith("charges/")
        )

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the content, independent of floating-point precision and compression."""
        digest = hashlib.sha256(json.dumps(self.method, sort_keys=True).encode())
        for name, pointers in self._pointers.items():
            digest.update(name.encode() + pointers.tobytes())
        for key, array in self._arrays.items():
            digest.update(key.encode())
            stored = self._file[key]
            own = ArrayDigest(stored.dtype, stored.shape)
            for start in range(0, len(array), _HASH_ROWS):
                block = self._read(key, slice(start, start + _HASH_ROWS))
                digest.update(_canonical_bytes(block))
                own.update(block)
            if self._checksums:
                self._checksums.check_digest(key, own.hexadecimal(), self._name)
        return digest.hexdigest()

    def _distinct(self, key: str) -> tuple[str, ...]:
        if key not in self._arrays or len(self) == 0:
            return ()
        return tuple(sorted(set(self._whole(key))))

    def _whole(self, key: str) -> Any:
        array = self._read(key, slice(None))
        if self._checksums:
            self._checksums.check_array(key, array, self._name)
        return array

    def _read(self, key: str, rows: Any) -> Any:
        with read_guard(f"{self._name}: dataset {key!r}"):
            return self._arrays[key][rows]


def read_frames(path: str | os.PathLike[str], indices: Iterable[int] | None = None) -> list[Frame]:
    """Read frames of a dataset file into memory.

    Parameters
    ----------
    path
        An `eqmm-dataset` file.
    indices
        Frame numbers; all frames when None.

    Returns
    -------
    list of Frame
        Labels that are NaN in the file are None. A frame without MM charges has an empty array for
        every per-charge label that the file holds.

    Raises
    ------
    DatasetError
        When the file is foreign, truncated or broken: one sentence.
    FileNotFoundError, IndexError
        When there is no such file or frame.
    """
    with ReferenceData(path) as data:
        return data.load() if indices is None else [data[i] for i in indices]


def write_frames(
    path: str | os.PathLike[str], frames: Sequence[Frame], method: Mapping[str, Any]
) -> None:
    """Write frames to a dataset file, atomically.

    Parameters
    ----------
    path
        The file; one that exists is replaced in a single step.
    frames
        Labels that are None become NaN; a label that no frame has is left out. An array that is
        float32 in every frame is stored as float32.
    method
        How the labels were made: plain JSON values (functional, basis, program, ...).

    Raises
    ------
    DatasetError
        When the frames contradict themselves (shapes, NaN positions).
    OSError
        When the file cannot be written; a file that was there before is unchanged.
    """
    arrays = flatten(list(frames), str(path))
    # The HDF5 library crashes the process when a disk fills up under it, so it writes to memory.
    image = image_of(arrays, method, str(path))
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(image)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"cannot write the dataset file {path}: {error.strerror}") from error


def _canonical_bytes(block: np.ndarray) -> bytes:
    if block.dtype.kind == "f":
        return np.ascontiguousarray(block, dtype="<f8").tobytes()
    if block.dtype.kind in "iu":
        return np.ascontiguousarray(block, dtype="<i8").tobytes()
    return json.dumps([str(text) for text in block]).encode()
