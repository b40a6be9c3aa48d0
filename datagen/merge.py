"""Several datasets as one: only labels of one method, and no frame twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datagen.errors import DifferentMethodsError, MissingBaselineError
from datagen.frame_storage import inputs_hash
from eqmm_ase.dataset_format import BASELINE, FIELDS, GROUPS
from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import ReferenceData, write_frames

_LABELS = [name for name, field in FIELDS.items() if field.label]


def merge(sources: Sequence[Path], target: Path, baseline: Path | None = None) -> tuple[int, int]:
    """Write the frames of several datasets into one, in their order.

    A frame that occurs again, with the same QM region in the same charges, is left out; of the two
    the one with more labels is kept.

    Parameters
    ----------
    sources, target
        Dataset files.
    baseline
        The same frames labelled by a cheaper method, whose energies and forces are put beside those
        of the sources (see `eqmm_ase.delta`).

    Returns
    -------
    Number of frames written, and of those left out.

    Raises
    ------
    DifferentMethodsError
        When labels were made in different ways; it names the first difference.
    MissingBaselineError
        When the baseline lacks a frame.
    """
    kept: dict[str, Frame] = {}
    methods: list[Mapping[str, Any]] = []
    total = 0
    for source in sources:
        with ReferenceData.open(source) as data:
            if methods:
                _compare(methods[0], sources[0], data.method, source)
            methods.append(data.method)
            total += len(data)
            for frame in data.load():
                name = inputs_hash(frame)
                if name not in kept or _count_labels(frame) > _count_labels(kept[name]):
                    kept[name] = frame  # in the place of the first one
    method = merged_method(methods)
    if baseline is not None:
        with ReferenceData.open(baseline) as data:
            kept = with_baseline(kept, data.load(), baseline)
            method["baseline"] = data.method
    write_frames(target, list(kept.values()), method)
    return len(kept), total - len(kept)


def with_baseline(
    frames: Mapping[str, Frame], cheaper: Sequence[Frame], path: Path
) -> dict[str, Frame]:
    """Frames by the hash of their inputs, with the labels of the same inputs by a cheaper method.

    Raises
    ------
    MissingBaselineError
        Names the file and the first frame that it lacks.
    """
    known = {inputs_hash(frame): frame for frame in cheaper}
    missing = [frame for name, frame in frames.items() if name not in known]
    if missing:
        raise MissingBaselineError(
            f"{path} lacks {len(missing)} of {len(frames)} frames, the first being "
            f"{missing[0].frame_id}; label the same frames with the cheaper method"
        )
    return {
        name: replace(
            frame,
            baseline={n: v for n in BASELINE if (v := getattr(known[name], n)) is not None},
        )
        for name, frame in frames.items()
    }


def merged_method(methods: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record of a method for datasets that share it: what may differ stands side by side."""
    merged = dict(methods[0])
    for key, combine in _MAY_DIFFER.items():
        entries = [method[key] for method in methods if key in method]
        if entries:
            merged[key] = combine(entries)
    return merged


def merged_versions(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """One entry a program; several versions side by side where there was an upgrade."""
    programs = sorted({program for entry in versions for program in entry})
    return {
        program: ", ".join(
            sorted({v for entry in versions for v in entry.get(program, "").split(", ") if v})
        )
        for program in programs
    }


def _all_names(entries: Sequence[Sequence[str]]) -> list[str]:
    return sorted({name for entry in entries for name in entry})


def _distinct(entries: Sequence[Any]) -> Any:
    """The one entry, or a list of them; those of earlier merges are lists already."""
    flat = [e for entry in entries for e in (entry if isinstance(entry, list) else [entry])]
    distinct = list({json.dumps(entry, sort_keys=True): entry for entry in flat}.values())
    return distinct if len(distinct) > 1 else distinct[0]


_MAY_DIFFER: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "versions": merged_versions,
    "charges": _all_names,
    "vacuum_energy": any,
    "sampling": _distinct,
}
"""Which labels there are, how geometries were made, and program versions: not the level."""


def _compare(
    first: Mapping[str, Any], first_path: Path, other: Mapping[str, Any], other_path: Path
) -> None:
    keys = sorted((set(first) | set(other)) - set(_MAY_DIFFER))
    different = [key for key in keys if first.get(key) != other.get(key)]
    if different:
        key = different[0]
        more = f" ({', '.join(different[1:])} differ too)" if different[1:] else ""
        raise DifferentMethodsError(
            f"{other_path} was made with {key} = {other.get(key)!r} and {first_path} with "
            f"{first.get(key)!r}{more}: datasets of different methods cannot be merged"
        )


def _count_labels(frame: Frame) -> int:
    plain = sum(getattr(frame, name) is not None for name in _LABELS)
    return plain + sum(len(getattr(frame, group)) for group in GROUPS)
