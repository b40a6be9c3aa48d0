"""Several datasets as one: only labels of one method, and no frame twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datagen.errors import ContradictingLabelsError, DifferentMethodsError, MissingBaselineError
from eqmm_ase.data.dataset_format import BASELINE, field_of
from eqmm_ase.data.fingerprints import groups_of_same
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import frame_of_values, known_values
from eqmm_ase.data.level_of_theory import LEVEL_ENTRIES, different_level, spoken
from eqmm_ase.files.dataset_file import ReferenceData, write_frames

AGREE = 1e-3
"""eV, eV/Å, V, e, e·Å, Å: labels of one method differ by thresholds, 10⁻⁵ at most."""


@dataclass(frozen=True)
class Origin:
    """Where a frame was read."""

    frame: Frame
    where: str
    """File and number."""


def merge(
    sources: Sequence[Path],
    target: Path,
    baseline: Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[int, int]:
    """Write the frames of several datasets into one, in their order.

    Of frames that are the same QM region in the same charges, up to rounding, one is written with
    everything that any of them knows. Where the same is known twice, and agrees, the frame with
    more labels goes before, then the first.

    Parameters
    ----------
    sources, target
        Dataset files.
    baseline
        The same frames labelled by a cheaper method, whose energies and forces are put beside those
        of the sources (see `eqmm_ase.data.baseline`).
    say
        Told what was put together from several frames, and of a baseline that makes no sense.

    Returns
    -------
    Number of frames written, and of those left out.

    Raises
    ------
    DifferentMethodsError
        When labels were made in different ways; it names the first difference.
    ContradictingLabelsError
        When the same frame has different labels.
    MissingBaselineError
        When the baseline lacks a frame.
    """
    methods: list[Mapping[str, Any]] = []
    origins: list[Origin] = []
    for source in sources:
        with ReferenceData.open(source) as data:
            for before, name in zip(methods, sources, strict=False):
                _compare(before, name, data.method, source)
            methods.append(data.method)
            origins += [Origin(f, f"frame {n} of {source}") for n, f in enumerate(data.load())]
    groups = groups_of_same([origin.frame for origin in origins])
    frames = [together([origins[number] for number in group]) for group in groups]
    _say_what_was_kept(origins, groups, frames, say)
    method = merged_method(methods)
    if baseline is not None:
        with ReferenceData.open(baseline) as data:
            if not different_level(data.method, method):
                say(
                    f"warning: {baseline} is of the level of theory of the labels themselves, "
                    f"{spoken(method)}; the difference to be learned is nothing"
                )
            frames = with_baseline(frames, data.load(), baseline)
            method["baseline"] = data.method
    write_frames(target, frames, method)
    return len(frames), len(origins) - len(frames)


def together(same: Sequence[Origin]) -> Frame:
    """One frame of several that are the same: everything that any of them knows.

    Raises
    ------
    ContradictingLabelsError
        When two of them know the same differently; it names both.
    """
    if len(same) == 1:
        return same[0].frame
    ranked = sorted(same, key=lambda origin: -_count_labels(origin.frame))
    kept: dict[str, Any] = {}
    known_by: dict[str, Origin] = {}
    for origin in ranked:
        for name, value in known_values(origin.frame).items():
            if name not in kept:
                kept[name], known_by[name] = value, origin
            else:
                _refuse_contradiction(name, kept[name], known_by[name], value, origin)
    return frame_of_values(kept, ranked[0].where)


def with_baseline(frames: Sequence[Frame], cheaper: Sequence[Frame], path: Path) -> list[Frame]:
    """Frames with the labels of the same inputs by a cheaper method.

    Raises
    ------
    MissingBaselineError
        Names the file and the first frame that it lacks.
    """
    n = len(frames)
    beside: dict[int, Frame] = {}
    for group in groups_of_same([*frames, *cheaper]):
        answers = [cheaper[number - n] for number in group if number >= n]
        beside |= {number: answers[0] for number in group if number < n and answers}
    missing = [frame for number, frame in enumerate(frames) if number not in beside]
    if missing:
        raise MissingBaselineError(
            f"{path} lacks {len(missing)} of {n} frames, the first being "
            f"{missing[0].frame_id}; label the same frames with the cheaper method"
        )
    return [
        replace(
            frame,
            baseline={k: v for k in BASELINE if (v := getattr(beside[number], k)) is not None},
        )
        for number, frame in enumerate(frames)
    ]


def merged_method(methods: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record of a method for datasets that share it: what may differ stands side by side."""
    merged: dict[str, Any] = {}
    for method in reversed(methods):
        merged |= method
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
    if not (level := different_level(other, first)):
        keys = [key for key in keys if key not in (*LEVEL_ENTRIES, "xc", "baseline")]
    different = [key for key in keys if first.get(key) != other.get(key)]
    if different:
        key = different[0]
        more = f" ({', '.join(different[1:])} differ too)" if different[1:] else ""
        raise DifferentMethodsError(
            f"{other_path} was made with {key} = {other.get(key)!r} and {first_path} with "
            f"{first.get(key)!r}{more}: datasets of different methods cannot be merged"
        )
    if level:
        raise DifferentMethodsError(
            f"{other_path} was made with {level} as {first_path}: datasets of different methods "
            "cannot be merged"
        )


def _refuse_contradiction(
    name: str, kept: Any, kept_by: Origin, value: Any, origin: Origin
) -> None:
    """Texts say where a frame comes from; of everything else there is one truth."""
    if name == "boundary":
        if kept == value:
            return
        by = "describe different bonds that were cut"
    elif field_of(name).kind == "text":
        return
    else:
        difference = float(np.max(np.abs(np.subtract(kept, value, dtype=np.float64)), initial=0.0))
        if difference <= AGREE:
            return
        by = f"differ by {difference:.4g} in {name}"
    raise ContradictingLabelsError(
        f"{kept_by.where} and {origin.where} are the same QM region in the same charges, but "
        f"{by}; one of them is wrong: compute it again, or leave one out"
    )


def _count_labels(frame: Frame) -> int:
    """Labels alone: a cell or the charges before a cut were not computed."""
    return sum(field_of(name).label for name in known_values(frame))


def _say_what_was_kept(
    origins: Sequence[Origin],
    groups: Sequence[Sequence[int]],
    frames: Sequence[Frame],
    say: Callable[[str], None],
) -> None:
    """Name the fields that frames got from their doubles."""
    gained: dict[str, int] = {}
    for group, frame in zip(groups, frames, strict=True):
        everybody = [set(known_values(origins[number].frame)) for number in group]
        most = max(everybody, key=len)
        for name in known_values(frame).keys() - most:
            gained[name] = gained.get(name, 0) + 1
    if gained:
        told = ", ".join(f"{name} of {count}" for name, count in sorted(gained.items()))
        say(f"frames that occur again were put together from what each of them knows: {told}")
