"""Identity of a frame: a hash of all that its labels depend on besides the method."""

from __future__ import annotations

import hashlib

import numpy as np

from eqmm_ase.data.frame import Frame


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
