"""Data on which a training takes a second; a test file may have others of these names."""

from __future__ import annotations

import pytest
from training_kit import METHOD, few_charges, run_training

from eqmm_ase.files.dataset_file import write_frames


@pytest.fixture(scope="module")
def frames(methanol_file):
    """Frames with few charges, so that a step takes milliseconds."""
    return few_charges(methanol_file, 12)


@pytest.fixture(scope="module")
def data(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    write_frames(path, frames, METHOD)
    return path


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A training that ran through."""
    return run_training(data, tmp_path_factory.mktemp("trained") / "model.eqmm")
