"""What a training takes from its dataset files: frames checked, split, and made tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from eqmm_ase.config import ConfigError, DataConfig, TrainConfig
from eqmm_ase.dataset import FrameDataset, choose_charge_scheme, split
from eqmm_ase.dataset_format import DatasetError
from eqmm_ase.delta import difference, spoken
from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import ReferenceData
from eqmm_ase.validation import distances_to_charges, qm_positions

LEVEL_OF_THEORY = ("functional", "xc", "basis", "dispersion")
"""Entries of `method` that must agree between files that train one model."""


@dataclass(frozen=True)
class TrainingData:
    """The data of one training."""

    training_frames: list[Frame]
    training: FrameDataset
    validation: FrameDataset
    elements: tuple[int, ...]
    charge_scheme: str | None
    method: dict[str, Any]
    baseline: dict[str, Any] | None
    """The method whose difference from `method` is learned; None: the labels themselves are."""
    content_hash: str
    how_split: str

    @classmethod
    def load(cls, files: Sequence[Path], config: TrainConfig) -> TrainingData:
        """Read, check and split the frames of dataset files.

        Raises
        ------
        DatasetError
            Files without frames or labels, of different levels of theory, or with impossible
            geometries; each names the file.
        ConfigError
            When the settings do not fit the data.
        """
        frames, method, content_hash = read_files(files)
        held, method, content_hash = _read_validation(config.data, method, content_hash)
        if held:
            training, validation, how = frames, held, "files of their own"
        else:
            chosen, rest, how = split(frames, config.data.validation_fraction, config.training.seed)
            training, validation = [frames[i] for i in chosen], [frames[i] for i in rest]
        baseline = method.pop("baseline", None)
        if config.data.baseline:
            training, validation = (
                [difference(f) for f in part] for part in (training, validation)
            )
            baseline = baseline or {}
        _refuse_unlabelled(training, files)
        scheme = choose_charge_scheme(training, config.data.charges)
        dtype = getattr(torch, config.training.dtype)
        media = sorted({frame.medium for frame in frames + held})
        return cls(
            training_frames=training,
            training=FrameDataset(training, scheme, dtype, media),
            validation=FrameDataset(validation, scheme, dtype, media),
            elements=_elements(training, validation, config.model.elements),
            charge_scheme=scheme,
            method=method,
            baseline=baseline if config.data.baseline else None,
            content_hash=content_hash,
            how_split=how,
        )


def read_files(files: Sequence[Path]) -> tuple[list[Frame], dict[str, Any], str]:
    """Read frames, method and common hash of dataset files that belong together.

    Raises
    ------
    DatasetError
        When the levels of theory differ or a geometry is impossible.
    """
    frames: list[Frame] = []
    method: dict[str, Any] = {}
    digest = hashlib.sha256()
    for path in files:
        with ReferenceData(path) as data:
            own = data.load()
            digest.update(data.content_hash.encode())
            method = method or data.method
            _refuse_other_method(path, data.method, files[0], method)
        for number, frame in enumerate(own):
            _check_geometry(frame, number, path)
        frames += own
    return frames, method, digest.hexdigest()


def _read_validation(
    config: DataConfig, method: dict[str, Any], content_hash: str
) -> tuple[list[Frame], dict[str, Any], str]:
    if not config.validation:
        return [], method, content_hash
    paths = [Path(name) for name in config.validation]
    frames, other, other_hash = read_files(paths)
    _refuse_other_method(paths[0], other, Path("the training data"), method)
    return frames, method, hashlib.sha256((content_hash + other_hash).encode()).hexdigest()


def different_level(method: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Say how two levels of theory differ; an empty text when they agree."""
    for key in LEVEL_OF_THEORY:
        if method.get(key) != expected.get(key):
            return f"{key} {method.get(key)!r} and not {expected.get(key)!r}"
    if (own := method.get("baseline")) and (other := expected.get("baseline")):
        return (
            f"the baseline {spoken(own)}, of {found}"
            if (found := different_level(own, other))
            else ""
        )
    return ""


def _refuse_other_method(
    path: Path, method: Mapping[str, Any], first: Path, expected: Mapping[str, Any]
) -> None:
    if difference := different_level(method, expected):
        raise DatasetError(
            f"{path} was labelled with {difference} as {first}; "
            "one model learns one level of theory"
        )


def _check_geometry(frame: Frame, number: int, path: Path) -> None:
    positions = np.asarray(frame.qm_positions, np.float64)
    try:
        qm_positions(positions)
        distances_to_charges(
            positions,
            frame.atomic_numbers,
            np.asarray(frame.mm_positions, np.float64),
            np.asarray(frame.mm_charges, np.float64),
        )
    except ValueError as error:
        raise DatasetError(f"{path}: frame {number} ({frame.frame_id}): {error}") from error


def _refuse_unlabelled(frames: Sequence[Frame], files: Sequence[Path]) -> None:
    names = ", ".join(str(path) for path in files)
    if not frames:
        raise DatasetError(f"there are no frames to train on in {names}")
    if all(frame.energy is None and frame.qm_forces is None for frame in frames):
        raise DatasetError(
            f"none of the {len(frames)} training frames of {names} has an energy or QM forces; "
            "label them first"
        )


def _elements(
    training: Sequence[Frame], validation: Sequence[Frame], wanted: tuple[int, ...]
) -> tuple[int, ...]:
    seen = {int(z) for frame in training for z in frame.atomic_numbers}
    unseen = {int(z) for frame in validation for z in frame.atomic_numbers} - seen
    if unseen:
        raise DatasetError(
            f"the validation frames hold {_symbols(unseen)}, which no training frame has"
        )
    if wanted and set(wanted) != seen:
        raise ConfigError(
            f"setting model.elements is {_symbols(set(wanted))}; "
            f"expected the elements of the training frames, {_symbols(seen)}"
        )
    return tuple(sorted(seen))


def _symbols(numbers: set[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in sorted(numbers))
