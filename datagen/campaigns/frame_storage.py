"""Frames as bytes, and the content hash that names them.

A stored frame is a NumPy ``.npz`` archive, readable without this package.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import fields
from typing import Any

import numpy as np

from datagen.errors import CampaignError
from datagen.labels.method import Method
from eqmm_ase.data.boundary import Boundary
from eqmm_ase.data.dataset_format import GROUPS
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.read_guard import read_guard

_ID_LENGTH = 32  # hexadecimal digits: 128 bits, no collisions in any conceivable campaign


def frame_id(frame: Frame, method: Method) -> str:
    """Name of a label: a hash of what it depends on, the QM region, its charges and the method.

    Where the frame came from does not enter; neither do program versions, which are recorded
    beside the labels instead, so that an upgrade does not orphan a campaign.
    """
    settings = json.dumps(method.settings(), sort_keys=True)
    return _hash_inputs(frame, settings)


def inputs_hash(frame: Frame) -> str:
    """Name of what is to be labelled: equal for the same QM region in the same charges."""
    return _hash_inputs(frame, "")


def _hash_inputs(frame: Frame, start: str) -> str:
    digest = hashlib.sha256(start.encode())
    digest.update(f"{frame.total_charge},{frame.spin_multiplicity},{frame.n_qm}".encode())
    digest.update(np.ascontiguousarray(frame.atomic_numbers, dtype="<i8").tobytes())
    for array in (frame.qm_positions, frame.mm_positions, frame.mm_charges):
        exact = np.ascontiguousarray(array, dtype="<f8") + 0.0  # −0.0 and 0.0 are the same place
        digest.update(exact.tobytes())
    return digest.hexdigest()[:_ID_LENGTH]


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
