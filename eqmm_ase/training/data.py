"""What a training takes from its dataset files: frames checked, split, and made tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from eqmm_ase.data.baseline import difference
from eqmm_ase.data.checks import composition, distances_to_charges, qm_positions
from eqmm_ase.data.dataset_format import DatasetError, field_of
from eqmm_ase.data.fingerprints import among, fingerprints
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import known_values
from eqmm_ase.data.level_of_theory import different_level, different_settings, level_of, named
from eqmm_ase.data.selection import choose_charge_scheme, split
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.files.read_guard import shortened
from eqmm_ase.network.batch import FrameDataset
from eqmm_ase.training.config import ConfigError, TrainConfig


@dataclass(frozen=True)
class TrainingData:
    """Training and validation frames of one training, as tensors, with what they have in common."""

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
    notes: tuple[str, ...] = ()
    """Sentences about the data that the user should see."""

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
        notes: list[str] = []
        held_files = [Path(name) for name in config.data.validation]
        frames, held, method, content_hash = _read_parts(files, held_files, notes.append)
        if held:
            training, validation, how = frames, held, "files of their own"
        else:
            chosen, rest, how = split(frames, config.data.validation_fraction, config.training.seed)
            training, validation = [frames[i] for i in chosen], [frames[i] for i in rest]
        if doubles := _said_doubles(training, validation):
            notes.append(doubles)
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
            notes=tuple(notes),
        )


def read_files(
    files: Sequence[Path], say: Callable[[str], None] = lambda sentence: None
) -> tuple[list[Frame], dict[str, Any], str]:
    """Read frames, method and common hash of dataset files that belong together.

    Parameters
    ----------
    files
        Of one level of theory.
    say
        Told what differs between them and is no level of theory.

    Raises
    ------
    DatasetError
        When the levels of theory differ or a geometry is impossible.
    """
    frames, _, method, content_hash = _read_parts(files, (), say)
    return frames, method, content_hash


def _read_parts(
    files: Sequence[Path], held_files: Sequence[Path], say: Callable[[str], None]
) -> tuple[list[Frame], list[Frame], dict[str, Any], str]:
    """Frames of training and of validation files, their method and their common hash."""
    parts: tuple[list[Frame], list[Frame]] = [], []
    digests = hashlib.sha256(), hashlib.sha256()
    methods: dict[Path, dict[str, Any]] = {}
    for part, digest, paths in zip(parts, digests, (files, held_files), strict=True):
        for path in paths:
            with ReferenceData(path) as data:
                own = data.load()
                digest.update(data.content_hash.encode())
            if len(files) + len(held_files) > 1 and own and not any(map(_has_label, own)):
                raise DatasetError(f"{path} has no labels; label its frames first")
            refuse_other_level(path, data.method, methods)
            methods[path] = data.method
            for number, frame in enumerate(own):
                _check_geometry(frame, number, path)
            part += own
    for sentence in _said_settings(methods):
        say(sentence)
    content_hash = digests[0].hexdigest()
    if held_files:
        both = content_hash + digests[1].hexdigest()
        content_hash = hashlib.sha256(both.encode()).hexdigest()
    return *parts, dict(next(iter(methods.values()), {})), content_hash


def refuse_other_level(
    path: Path, method: Mapping[str, Any], others: Mapping[Path, Mapping[str, Any]]
) -> None:
    """Refuse a file whose labels are of another level of theory than those of any other.

    Raises
    ------
    DatasetError
        Names both files and the difference.
    """
    for other, expected in others.items():
        if difference := different_level(method, expected):
            raise DatasetError(
                f"{path} was labelled with {difference} as {other}; "
                "one model learns one level of theory"
            )


def _said_settings(methods: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """What differs from the first file, in one sentence for each other one."""
    (first, expected), *others = methods.items() or [(Path(), {})]
    said = [
        f"note: the labels of {path} and {first} are of one level of theory, but were made with "
        f"{different}"
        for path, method in others
        if (different := different_settings(method, expected))
    ]
    if others and not named(level_of(expected)):
        said.append(
            f"note: neither {first} nor the other files say their level of theory; it must be one"
        )
    return said


def _said_doubles(training: Sequence[Frame], validation: Sequence[Frame]) -> str:
    """A sentence when frames are validated on that were trained on; else empty."""
    if not validation:
        return ""
    same = among(fingerprints(validation), fingerprints(training))
    named_so = {(f.frame_id, composition(f.atomic_numbers)) for f in training if f.frame_id}
    for number, frame in enumerate(validation):
        same[number] |= (frame.frame_id, composition(frame.atomic_numbers)) in named_so
    if not same.any():
        return ""
    return (
        f"warning: {int(same.sum())} of the {len(validation)} validation frames are training "
        "frames as well, so that errors on them say nothing about other frames"
    )


def _has_label(frame: Frame) -> bool:
    return any(field_of(name).label for name in known_values(frame))


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
        name = shortened(frame.frame_id)
        raise DatasetError(f"{path}: frame {number} ({name}): {error}") from error


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
