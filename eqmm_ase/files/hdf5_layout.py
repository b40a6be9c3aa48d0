"""How the arrays of a dataset lie in HDF5.

Every array is cut into chunks, compressed, and each chunk carries HDF5's own checksum (fletcher32),
so that reading a single frame notices damage without reading the rest. Compression is there for
small arrays too: that checksum takes zeros and runs of ones for the same, which whole numbers have
(−1) and compressed ones have not. The structures between the arrays are those of HDF5 1.10, which
has checksums for them, but not for texts of variable length: damaged, those can send the library
into a loop without end. All texts have a fixed length, as wide as the longest, and h5py gives them
as bytes. What the file says as a whole is checked by `eqmm_ase.files.checksums`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eqmm_ase.data.dataset_format import FORMAT, UNITS, VERSION, DatasetError
from eqmm_ase.files.checksums import ATTRIBUTE, Checksums
from eqmm_ase.files.read_guard import shortened

_CHUNK_ROWS = 8192
_CHUNK_BYTES = 1 << 20
_BEST_COMPRESSION = 1032
"""Bytes that gzip can make of one, at most."""


@dataclass(frozen=True)
class Header:
    """What a file says of its arrays."""

    method: dict[str, Any]
    texts: dict[str, str]
    """Its attributes, as they stand there."""
    checksums: Checksums | None

    @classmethod
    def read(cls, file: h5py.File, path: str) -> Header:
        """Refuse a file of another format, version or system of units.

        Raises
        ------
        DatasetError
            Naming the file, the attribute, and what was found and expected.
        """
        found = _text(file.attrs.get("format"))
        if found != FORMAT:
            what = "no attribute 'format'" if found is None else f"format {shortened(repr(found))}"
            raise DatasetError(f"{path} has {what}; expected an HDF5 file with format {FORMAT!r}")
        version = file.attrs.get("format_version")
        if not isinstance(version, np.integer | int) or version != VERSION:
            raise DatasetError(
                f"{path} has format_version {version}; this program reads version {VERSION}"
            )
        units = _json_attribute(file, "units", path)
        if units != UNITS:
            found = shortened(json.dumps(units))
            raise DatasetError(f"{path} has units {found}; expected {json.dumps(UNITS)}")
        method = _json_attribute(file, "method", path)
        texts = {name: str(_text(file.attrs[name])) for name in _ATTRIBUTES}
        found = _text(file.attrs.get(ATTRIBUTE))
        return cls(method, texts, None if found is None else Checksums.from_json(found, path))


_ATTRIBUTES = ("format", "format_version", "units", "method")


def image_of(arrays: Mapping[str, np.ndarray], method: Mapping[str, Any], path: str) -> bytes:
    """The bytes of a dataset file.

    Parameters
    ----------
    arrays
        As `eqmm_ase.files.flat_arrays.flatten` makes them.
    method
        Plain JSON values.
    path
        For errors.

    Raises
    ------
    DatasetError
        When the method holds something else.
    """
    try:
        header = {
            "format": FORMAT,
            "format_version": str(VERSION),
            "units": json.dumps(UNITS),
            "method": json.dumps(dict(method)),
        }
    except (TypeError, ValueError) as error:
        raise DatasetError(f"the method of {path} must hold plain JSON values ({error})") from error
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        for name, text in {**header, ATTRIBUTE: Checksums.of(header, arrays).to_json()}.items():
            if name == "format_version":
                file.attrs[name] = VERSION
            else:
                encoded = text.encode()
                file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", len(encoded)))
        for name, array in arrays.items():
            _write(file, name, array)
    return image.getvalue()


def refuse_impossible_sizes(arrays: Mapping[str, Any], path: Path) -> None:
    """Refuse arrays larger than any compression could make of the file, before memory is taken.

    Raises
    ------
    DatasetError
        Names the array.
    """
    limit = _BEST_COMPRESSION * path.stat().st_size
    for name, array in arrays.items():
        if isinstance(array, h5py.Dataset) and (array.size or 0) * array.dtype.itemsize > limit:
            raise DatasetError(
                f"{path}: dataset {name!r} has shape {array.shape}, more than a file of this size "
                "can hold; the file is damaged"
            )


def _write(file: h5py.File, name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "O":
        encoded = [text.encode() for text in array]
        length = max([len(text) for text in encoded], default=0) or 1
        array = np.array(encoded, h5py.string_dtype("utf-8", length))
    options: dict[str, Any] = {}
    if array.size:
        row = array.nbytes // len(array)
        rows = max(min(len(array), _CHUNK_ROWS, _CHUNK_BYTES // row), 1)
        options = {
            "chunks": (rows, *array.shape[1:]),
            "shuffle": True,
            "compression": "gzip",
            "compression_opts": 4,
            "fletcher32": True,
        }
    file.create_dataset(name, data=array, dtype=array.dtype, **options)


def _json_attribute(file: h5py.File, name: str, path: str) -> dict[str, Any]:
    raw = _text(file.attrs.get(name))
    try:
        value = json.loads(raw)
    except (TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        found = shortened(repr(raw))
        raise DatasetError(f"{path}: attribute {name!r} is {found}; expected a JSON object")
    return value


def _text(value: Any) -> Any:
    """An attribute as a text, also where earlier versions wrote one of variable length."""
    return value.decode() if isinstance(value, bytes) else value
