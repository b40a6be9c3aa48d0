"""What tests of training share: frames on which a step takes milliseconds, and a small network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.model import ModelConfig

NETWORK = ModelConfig(
    (1, 6, 8), l_expansion=1, l_hidden=1, channels=2, n_layers=1, n_radial=4, n_near=0, hidden=8
)


def few_charges(path: Path, number: int) -> list[Frame]:
    """The first frames of a file, each with 30 of its charges."""
    return [
        replace(
            frame,
            mm_positions=frame.mm_positions[:30],
            mm_charges=frame.mm_charges[:30],
            mm_forces=frame.mm_forces[:30],
        )
        for frame in read_frames(path, range(number))
    ]
