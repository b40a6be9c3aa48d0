"""The showcases: labels are counted, timed, and failures told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from places import DATA

pytest.importorskip("pyscf")

import numpy as np

from datagen.labels.method import Method
from eqmm_ase.files.dataset_file import read_frames
from scripts.benchmarks import showcase_peptides

METHANOL = DATA / "methanol.h5"


def test_labels_of_a_showcase_are_counted_and_failures_told() -> None:
    frame = read_frames(METHANOL, [0])[0]
    near = np.linalg.norm(frame.mm_positions - frame.qm_positions[0], axis=1).argsort()[:9]
    small = replace(
        frame,
        mm_positions=frame.mm_positions[near],
        mm_charges=frame.mm_charges[near],
        mm_forces=None,
        mm_potential=None,
    )
    wrong = replace(small, total_charge=1)
    labels = showcase_peptides.label([small, wrong], Method(functional="hf", basis="sto-3g"))
    assert len(labels.frames) == len(labels.wall_seconds) == len(labels.cpu_seconds) == 1
    (failure,) = labels.failures
    assert failure.startswith("InvalidFrameError: ")
    assert showcase_peptides.sum_of_projected_forces(labels.frames[0]) < 1e-5
