"""Frames laid end to end as the arrays of the dataset format, and single frames out of them.

The arrays are NumPy's, or those of an open HDF5 file, of which only the rows asked for are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from eqmm_ase.data.dataset_format import (
    BASELINE,
    FIELDS,
    FORMAT,
    GROUPS,
    KIND_NAMES,
    POINTERS,
    UNKNOWN_INTEGER,
    DatasetError,
    Field,
    field_of,
)
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import check_values, frame_of_values, known_values
from eqmm_ase.files.read_guard import read_guard

Arrays = dict[str, Any]


def flatten(frames: Sequence[Frame], name: str) -> dict[str, np.ndarray]:
    """All frames as arrays by name, the row pointers first.

    Parameters
    ----------
    frames
        Labels that are None become NaN; a label that no frame has is left out. An array that is
        float32 in every frame stays float32.
    name
        Of the file, for errors.

    Raises
    ------
    DatasetError
        When a frame contradicts itself.
    """
    values = [known_values(frame) for frame in frames]
    for number, own in enumerate(values):
        check_values(own, f"{name}: frame {number}")
    sizes = {
        "frame": [1] * len(frames),
        "qm": [frame.n_qm for frame in frames],
        "mm": [frame.n_mm for frame in frames],
    }
    arrays = {
        f"{rows}_ptr": np.concatenate([[0], np.cumsum(sizes[rows])]).astype(np.int64)
        for rows in ("qm", "mm")
    }
    for key in _names(values):
        field = field_of(key)
        arrays[key] = _column([own.get(key) for own in values], field, sizes[field.rows])
    return arrays


def frame_at(arrays: Mapping[str, Any], pointers: Mapping[str, Any], f: int, name: str) -> Frame:
    """Frame f of flat arrays.

    Raises
    ------
    DatasetError
        When its values contradict themselves; names the file, the array and the frame.
    """
    own = {"frame": f} | {
        rows: slice(pointers[f"{rows}_ptr"][f], pointers[f"{rows}_ptr"][f + 1])
        for rows in ("qm", "mm")
    }
    values = {}
    for key, array in arrays.items():
        field = field_of(key)
        value = array[own[field.rows]]
        values[key] = value if field.kind == "text" else _known(value, key, field, name, f)
    return frame_of_values(values, f"{name}: frame {f}")


def present_names(names: Mapping[str, Any]) -> list[str]:
    """Names of the arrays of the format that a file holds, in a fixed order, without pointers."""
    present = [name for name in FIELDS if name in names]
    for group in GROUPS:
        members: Any = names.get(group)
        if hasattr(members, "keys"):
            known = sorted(members) if GROUPS[group] else [m for m in BASELINE if m in members]
            present += [f"{group}/{member}" for member in known]
    return present


def check_arrays(arrays: Mapping[str, Any], path: str) -> dict[str, np.ndarray]:
    """Refuse missing arrays, wrong shapes, wrong kinds of numbers and broken pointers.

    Parameters
    ----------
    arrays
        By name, with `POINTERS`; NumPy's or those of HDF5.
    path
        For errors.

    Returns
    -------
    qm_ptr, mm_ptr : (F+1,) int64, by name

    Raises
    ------
    DatasetError
        Naming the file, the dataset, and what was found and expected.
    """
    for name in (*POINTERS, *(n for n, f in FIELDS.items() if f.required)):
        if name not in arrays:
            raise DatasetError(f"{path} has no dataset {name!r}, which every {FORMAT} file needs")
    pointers = {name: _pointers(arrays[name], name, path) for name in POINTERS}
    qm_ptr, mm_ptr = pointers.values()
    if len(qm_ptr) != len(mm_ptr):
        raise DatasetError(
            f"{path}: dataset 'mm_ptr' has {len(mm_ptr)} entries; "
            f"expected {len(qm_ptr)} as in 'qm_ptr'"
        )
    if np.any(np.diff(qm_ptr) == 0):
        frame = int(np.flatnonzero(np.diff(qm_ptr) == 0)[0])
        raise DatasetError(f"{path}: frame {frame} has no QM atoms; expected at least one")
    rows = {"frame": len(qm_ptr) - 1, "qm": int(qm_ptr[-1]), "mm": int(mm_ptr[-1])}
    for name, array in arrays.items():
        if name not in POINTERS:
            _check_array(array, name, rows, path)
    return pointers


def _names(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Arrays that a file of these frames has, in the order of the format."""
    known = {name for own in values for name in own}
    always = [
        name
        for name, field in FIELDS.items()
        if name in known or field.required or not field.may_be_unknown
    ]
    return always + [name for g in GROUPS for name in sorted(known) if name.startswith(f"{g}/")]


def _column(values: Sequence[Any], field: Field, sizes: Sequence[int]) -> np.ndarray:
    """One array; frames that lack it have NaN, `UNKNOWN_INTEGER` or an empty text."""
    if field.kind == "text":
        return np.array([value or "" for value in values], dtype=object)
    known = [np.asarray(value) for value in values if value is not None and np.size(value)]
    narrow = field.kind == "real" and bool(known) and all(v.dtype == np.float32 for v in known)
    dtype: Any = np.float32 if narrow else np.float64
    missing: float = np.nan
    if field.kind == "integer":
        dtype, missing = np.int64, UNKNOWN_INTEGER
    blocks = [np.zeros((0, *field.item), dtype)]
    for value, size in zip(values, sizes, strict=True):
        shape = (size, *field.item)
        blocks.append(
            np.full(shape, missing, dtype)
            if value is None
            else np.asarray(value).astype(dtype).reshape(shape)
        )
    return np.concatenate(blocks)


def _known(value: Any, key: str, field: Field, name: str, f: int) -> Any:
    """NaN means not known; a partly known label or a NaN position is an error."""
    is_whole = field.kind == "integer"
    unknown = np.equal(value, UNKNOWN_INTEGER) if is_whole else ~np.isfinite(value)
    if not unknown.any():
        return value
    if field.may_be_unknown and (unknown if is_whole else np.isnan(value)).all():
        return None
    expected = "all numbers or all NaN (unknown)" if field.may_be_unknown else "finite numbers"
    raise DatasetError(
        f"{name}: dataset {key!r} has {int(unknown.sum())} NaN or infinite values in "
        f"frame {f}; expected {expected}"
    )


def _check_array(array: Any, name: str, rows: Mapping[str, int], path: str) -> None:
    field = field_of(name)
    if not hasattr(array, "dtype"):
        raise DatasetError(f"{path}: {name!r} is a group; expected a dataset")
    expected = (rows[field.rows], *field.item)
    if array.shape != expected:
        raise DatasetError(f"{path}: dataset {name!r} has shape {array.shape}; expected {expected}")
    right = {
        "real": array.dtype in (np.float32, np.float64),
        "double": array.dtype == np.float64,
        "integer": array.dtype.kind in "iu",
        "text": array.dtype.kind == "U" or h5py.check_string_dtype(array.dtype) is not None,
    }[field.kind]
    if not right:
        raise DatasetError(
            f"{path}: dataset {name!r} has type {array.dtype}; expected {KIND_NAMES[field.kind]}"
        )


def _pointers(array: Any, name: str, path: str) -> np.ndarray:
    if not hasattr(array, "dtype") or array.ndim != 1 or array.dtype.kind not in "iu":
        raise DatasetError(f"{path}: dataset {name!r} is not a one-dimensional array of integers")
    with read_guard(f"{path}: dataset {name!r}"):
        pointers = array[:].astype(np.int64)
    if len(pointers) == 0 or pointers[0] != 0 or np.any(np.diff(pointers) < 0):
        raise DatasetError(
            f"{path}: dataset {name!r} does not start at 0 and rise; expected F+1 row pointers"
        )
    return pointers
