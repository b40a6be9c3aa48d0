"""Read and write `eqmm-dataset` files: frames with their quantum-mechanical labels.

`read_frames` takes a whole file into memory, `ReferenceData` reads a frame when it is asked for,
`write_frames` writes a file completely or not at all. What the file holds is fixed in
`eqmm_ase.dataset_format`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.boundary import Boundary
from eqmm_ase.dataset_format import (
    FIELDS,
    FORMAT,
    GROUPS,
    UNITS,
    UNKNOWN_INTEGER,
    VERSION,
    DatasetError,
    check_arrays,
    check_header,
    field_of,
    present_fields,
)
from eqmm_ase.frame import Frame

__all__ = ["DatasetError", "ReferenceData", "read_frames", "write_frames"]

_HASH_ROWS = 1 << 16
_CHUNK_ROWS = 8192
_COMPRESS_ABOVE = 4096


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
        When the file is not one; the sentence names file, dataset, found and expected.
    FileNotFoundError
        When there is no such file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        name = str(self.path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no dataset file {name}")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise DatasetError(
                f"{name} cannot be opened as HDF5 ({error}); expected an {FORMAT} file, "
                "and this one is foreign or truncated"
            ) from error
        try:
            self.method: dict[str, Any] = check_header(self._file, name)
            self._qm_ptr, self._mm_ptr = check_arrays(self._file, name)
        except BaseException:
            self._file.close()
            raise
        self._arrays: dict[str, Any] = {
            key: self._file[key].asstr() if field_of(key).kind == "text" else self._file[key]
            for key in present_fields(self._file)
        }

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ReferenceData:
        """Open a file for reading; the same as calling the class."""
        return cls(path)

    def close(self) -> None:
        """Let go of the file."""
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
        return self._frame(self._arrays, index % len(self))

    def __iter__(self) -> Iterator[Frame]:
        return (self[i] for i in range(len(self)))

    def load(self) -> list[Frame]:
        """All frames, read array by array: far faster than one by one from a compressed file."""
        arrays = {key: self._read(key, slice(None)) for key in self._arrays}
        return [self._frame(arrays, f) for f in range(len(self))]

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in the QM regions, ascending."""
        return tuple(int(z) for z in np.unique(self._read("atomic_numbers", slice(None))))

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
        """SHA-256 of everything the file says, blind to float width and compression."""
        digest = hashlib.sha256(json.dumps(self.method, sort_keys=True).encode())
        for name, pointers in (("qm_ptr", self._qm_ptr), ("mm_ptr", self._mm_ptr)):
            digest.update(name.encode() + pointers.tobytes())
        for key, array in self._arrays.items():
            digest.update(key.encode())
            for start in range(0, len(array), _HASH_ROWS):
                block = self._read(key, slice(start, start + _HASH_ROWS))
                digest.update(_canonical_bytes(block))
        return digest.hexdigest()

    def _distinct(self, key: str) -> tuple[str, ...]:
        if key not in self._arrays or len(self) == 0:
            return ()
        return tuple(sorted(set(self._read(key, slice(None)))))

    def _read(self, key: str, rows: Any) -> Any:
        return _read(self._arrays[key], rows, key, self.path)

    def _frame(self, arrays: Mapping[str, Any], f: int) -> Frame:
        own = {
            "frame": f,
            "qm": slice(self._qm_ptr[f], self._qm_ptr[f + 1]),
            "mm": slice(self._mm_ptr[f], self._mm_ptr[f + 1]),
        }
        values: dict[str, Any] = {}
        for key, array in arrays.items():
            field = field_of(key)
            value = _read(array, own[field.rows], key, self.path)
            if field.kind in ("real", "double"):
                value = self._checked(value, key, f)
            elif field.kind == "integer" and field.optional:
                value = None if np.size(value) and np.all(value == UNKNOWN_INTEGER) else value
            values[key] = value
        values |= {group: {} for group in GROUPS}
        for key in [key for key in values if "/" in key]:
            group, _, scheme = key.partition("/")
            if (value := values.pop(key)) is not None:
                values[group][scheme] = value
        for name in ("total_charge", "spin_multiplicity"):
            values[name] = int(values[name])
        values["boundary"] = self._boundary(values, f)
        return Frame(**values)

    def _boundary(self, values: Mapping[str, Any], f: int) -> Boundary | None:
        text = values.get("boundary")
        if not text:
            return None
        try:
            boundary = Boundary.from_json(text)
            boundary.check(len(values["atomic_numbers"]), len(values["mm_charges"]))
        except ValueError as error:
            raise DatasetError(
                f"{self.path}: dataset 'boundary' of frame {f} cannot be used: {error}"
            ) from error
        return boundary

    def _checked(self, value: Any, key: str, f: int) -> Any:
        """NaN means a missing label; a partly known label or a NaN position is an error."""
        finite = np.isfinite(value)
        if finite.all():
            return float(value) if np.ndim(value) == 0 else value
        may_be_unknown = field_of(key).label or field_of(key).optional
        if may_be_unknown and np.isnan(value).all():
            return None
        expected = "all numbers or all NaN (unknown)" if may_be_unknown else "finite numbers"
        raise DatasetError(
            f"{self.path}: dataset {key!r} has {int((~finite).sum())} NaN or infinite values in "
            f"frame {f}; expected {expected}"
        )


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
    """Write frames to a dataset file, completely or not at all.

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
    frames = list(frames)
    for number, frame in enumerate(frames):
        _check_frame(frame, number, str(path))
    # The HDF5 library crashes the process when a disk fills up under it, so it writes to memory.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = VERSION
        file.attrs["units"] = json.dumps(UNITS)
        file.attrs["method"] = json.dumps(dict(method))
        _write_arrays(file, frames)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(image.getbuffer())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"cannot write the dataset file {path}: {error.strerror}") from error


def _write_arrays(file: h5py.File, frames: Sequence[Frame]) -> None:
    for name, sizes in (("qm_ptr", [f.n_qm for f in frames]), ("mm_ptr", [f.n_mm for f in frames])):
        file[name] = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    for name, field in FIELDS.items():
        values = [getattr(frame, name) for frame in frames]
        if name == "boundary":
            values = [value.to_json() if value else "" for value in values]
        if field.optional and not any(value is not None and len(value) for value in values):
            continue
        if field.kind == "text":
            file.create_dataset(name, data=values, dtype=h5py.string_dtype(), shape=(len(frames),))
        elif field.kind == "integer":
            _write_integers(file, name, values, frames)
        elif field.required or any(value is not None for value in values):
            _write_real(file, name, values, frames)
    for group in GROUPS:
        labels = [getattr(frame, group) for frame in frames]
        for scheme in sorted({scheme for label in labels for scheme in label}):
            _write_real(file, f"{group}/{scheme}", [label.get(scheme) for label in labels], frames)


def _write_integers(
    file: h5py.File, name: str, values: Sequence[Any], frames: Sequence[Frame]
) -> None:
    field = field_of(name)
    rows = [{"frame": 1, "qm": frame.n_qm, "mm": frame.n_mm}[field.rows] for frame in frames]
    blocks = [
        np.full(n, UNKNOWN_INTEGER) if value is None else np.ravel(value).astype(np.int64)
        for n, value in zip(rows, values, strict=True)
    ]
    numbers = np.concatenate(blocks) if blocks else np.zeros(0, np.int64)
    compressed = {"compression": "gzip", "shuffle": True} if len(numbers) > _COMPRESS_ABOVE else {}
    file.create_dataset(name, data=numbers, **compressed)


def _write_real(file: h5py.File, name: str, values: Sequence[Any], frames: Sequence[Frame]) -> None:
    field = field_of(name)
    known = [np.asarray(v) for v in values if v is not None]
    narrow = field.kind == "real" and bool(known) and all(v.dtype == np.float32 for v in known)
    dtype = np.dtype(np.float32 if narrow else np.float64)
    blocks = []
    for value, frame in zip(values, frames, strict=True):
        rows = {"frame": 1, "qm": frame.n_qm, "mm": frame.n_mm}[field.rows]
        shape = (rows, *field.item)
        blocks.append(
            np.full(shape, np.nan, dtype)
            if value is None
            else np.asarray(value, dtype).reshape(shape)
        )
    flat = np.concatenate(blocks) if blocks else np.zeros((0, *field.item), dtype)
    options: dict[str, Any] = {}
    if len(flat) > _COMPRESS_ABOVE:
        chunks = (_CHUNK_ROWS if len(flat) > _CHUNK_ROWS else len(flat), *field.item)
        options = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "chunks": chunks}
    file.create_dataset(name, data=flat, **options)


def _check_frame(frame: Frame, number: int, path: str) -> None:
    rows = {"qm": frame.n_qm, "mm": frame.n_mm}
    if frame.boundary:
        try:
            frame.boundary.check(frame.n_qm, frame.n_mm)
        except ValueError as error:
            raise DatasetError(f"{path}: 'boundary' of frame {number} is wrong: {error}") from error
    arrays = {name: getattr(frame, name) for name in FIELDS}
    for group in GROUPS:
        arrays |= {f"{group}/{scheme}": v for scheme, v in getattr(frame, group).items()}
    for name, value in arrays.items():
        field = field_of(name)
        if value is None or field.kind == "text":
            continue
        expected = field.item if field.rows == "frame" else (rows[field.rows], *field.item)
        if np.shape(value) != expected:
            raise DatasetError(
                f"{path}: frame {number} has {name!r} of shape {np.shape(value)}; "
                f"expected {expected}"
            )
        if field.kind != "integer" and not np.isfinite(value).all():
            raise DatasetError(
                f"{path}: frame {number} has NaN or infinite values in {name!r}; "
                "expected finite numbers, or None for a label that is not known"
            )


def _read(array: Any, rows: Any, key: str, path: Path) -> Any:
    try:
        return array[rows]
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(
            f"{path}: dataset {key!r} cannot be read ({error}); "
            "expected intact data, and the file is damaged or truncated"
        ) from error


def _canonical_bytes(block: np.ndarray) -> bytes:
    if block.dtype.kind == "f":
        return np.ascontiguousarray(block, dtype="<f8").tobytes()
    if block.dtype.kind in "iu":
        return np.ascontiguousarray(block, dtype="<i8").tobytes()
    return json.dumps([str(text) for text in block]).encode()
