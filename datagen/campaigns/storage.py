"""The files that keep labelled frames: written in one step, recognised when damaged.

A frame is stored as a NumPy ``.npz`` archive, readable without this package. A file is that
archive with a record of how the label came about as its comment, which NumPy skips. The SHA-256 of
the file stands in the ledger; the record has that of the archive alone, so that results can be
taken over when the ledger is lost.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datagen.errors import CampaignError
from datagen.labels.method import Method
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.data.boundary import Boundary
from eqmm_ase.data.dataset_format import GROUPS
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.read_guard import read_guard

_ID_LENGTH = 32  # hexadecimal digits: 128 bits, no collisions in any conceivable campaign
_MARK = b'{"eqmm-label": '
_RENAMED = {"rung": "scf_stage"}
"""Keys of records as earlier versions wrote them → what they are called now."""
_NO_COMMENT = b"\0\0"  # a zip archive ends with the length of its comment and the comment


def frame_id(frame: Frame, method: Method) -> str:
    """Name of a label: a hash of what it depends on, the QM region, its charges and the method.

    Where the frame came from does not enter; neither do program versions, which are recorded
    beside the labels instead, so that an upgrade does not orphan a campaign.
    """
    digest = hashlib.sha256(json.dumps(method.settings(), sort_keys=True).encode())
    digest.update(f"{frame.total_charge},{frame.spin_multiplicity},{frame.n_qm}".encode())
    digest.update(np.ascontiguousarray(frame.atomic_numbers, dtype="<i8").tobytes())
    for array in (frame.qm_positions, frame.mm_positions, frame.mm_charges):
        exact = np.ascontiguousarray(array, dtype="<f8") + 0.0  # −0.0 and 0.0 are the same place
        digest.update(exact.tobytes())
    return digest.hexdigest()[:_ID_LENGTH]


class Result(NamedTuple):
    """What a result file says."""

    frame: Frame
    record: dict[str, Any]
    checksum: str


def result_path(folder: Path, name: str) -> Path:
    """Where a campaign keeps the label with this ``frame_id``."""
    return folder / "results" / name[:2] / f"{name}.npz"


def write_result(path: Path, frame: Frame, name: str, record: dict[str, Any]) -> str:
    """Write a labelled frame under its ``frame_id``, completely or not at all.

    Parameters
    ----------
    path
        The file; folders are made.
    frame
        With its labels.
    name
        The ``frame_id``.
    record
        Plain JSON values to keep with it.

    Returns
    -------
    The checksum of the file.

    Raises
    ------
    OSError
        When it cannot be written; nothing is left behind.
    """
    archive = to_bytes(replace(frame, frame_id=name))
    said = {"eqmm-label": {**record, "sha256": _sha256(archive)}}
    comment = json.dumps(said, ensure_ascii=False).encode()
    content = archive.removesuffix(_NO_COMMENT) + struct.pack("<H", len(comment)) + comment
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return _sha256(content)


def read_result(path: Path, expected_checksum: str) -> Frame | None:
    """The labelled frame in a file, or None when the file is missing or not what was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return from_bytes(content) if _sha256(content) == expected_checksum else None


def whole_result(path: Path) -> Result | None:
    """What a file says that no ledger vouches for; None when it is missing or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    start = content.rfind(_MARK)
    if start < 0:
        return None
    try:
        record = json.loads(content[start:])["eqmm-label"]
    except ValueError:
        return None
    archive = content[: start - len(_NO_COMMENT)] + _NO_COMMENT
    if _sha256(archive) != record.pop("sha256", None):
        return None
    record = {_RENAMED.get(key, key): value for key, value in record.items()}
    return Result(from_bytes(archive), record, _sha256(content))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def to_bytes(frame: Frame) -> bytes:
    """The frame with all labels that it has, as an uncompressed ``.npz`` archive."""
    known: dict[str, Any] = {
        f.name: getattr(frame, f.name)
        for f in fields(frame)
        if f.name not in GROUPS and getattr(frame, f.name) is not None
    }
    if frame.boundary is not None:
        known["boundary"] = frame.boundary.to_json()
    for group in GROUPS:
        known |= {f"{group}/{scheme}": v for scheme, v in getattr(frame, group).items()}
    buffer = io.BytesIO()
    np.savez(buffer, **known)
    return buffer.getvalue()


def from_bytes(content: bytes) -> Frame:
    """The frame that `to_bytes` stored.

    Raises
    ------
    CampaignError
        When it is damaged.
    """
    with read_guard("a stored frame", CampaignError, "the archive of a frame"):
        return _frame(content)


def _frame(content: bytes) -> Frame:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        stored = {name: archive[name] for name in archive.files}
    values: dict[str, Any] = {group: {} for group in GROUPS}
    for name, value in stored.items():
        group, _, scheme = name.rpartition("/")
        if group:
            values[group][scheme] = _plain(value)
        else:
            values[name] = _plain(value)
    if "boundary" in values:
        values["boundary"] = Boundary.from_json(values["boundary"])
    return Frame(**values)


def _plain(value: np.ndarray) -> Any:
    return value.item() if value.ndim == 0 else value
