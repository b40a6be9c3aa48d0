"""Names of frames: hashes of what their labels depend on.

`frame_id` names a label, by its inputs and its method, in campaigns and datasets; `frame_hash` a
frame that has no method yet, until it is labelled. Both read the same inputs, in different bytes:
the names that earlier versions gave must stay.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from eqmm_ase.data.frame import Frame

if TYPE_CHECKING:
    from datagen.labels.method import Method

_ID_LENGTH = 32  # hexadecimal digits: 128 bits, no collisions in any conceivable campaign


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


def frame_hash(frame: Frame) -> str:
    """SHA-256 of everything that a label of the frame depends on besides the method."""
    digest = hashlib.sha256()
    for array, kind in (
        (frame.atomic_numbers, "<i8"),
        (frame.qm_positions, "<f8"),
        (frame.mm_positions, "<f8"),
        (frame.mm_charges, "<f8"),
        ([frame.total_charge, frame.spin_multiplicity], "<i8"),
    ):
        block = np.ascontiguousarray(array, dtype=kind)
        digest.update(str(block.shape).encode() + block.tobytes())
    return digest.hexdigest()
