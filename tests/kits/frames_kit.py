"""Frames with something in every field, as tests of files need them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eqmm_ase.data.boundary import Boundary, ChargeSite, LinkAtom
from eqmm_ase.data.dataset_format import (
    BASELINE,
    FIELDS,
    FORMAT,
    GROUPS,
    UNITS,
    VERSION,
    Field,
    field_of,
)
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.flat_arrays import flatten

AWKWARD = "Å \"a\" \\b {c} [d] %22 é\n\tß,=_JSON 1e5 'e' 水"
BOUNDARY = Boundary(
    'r"cd',
    (LinkAtom(2, 0, "fixed", 1.09, (0.1, -1.0 / 3.0, 2e-17), 0.0337),),
    (ChargeSite(0, 0, 1, 0.5),),
)


def full_frame(n_mm: int = 5, seed: int = 0, dtype: Any = np.float64) -> Frame:
    """A frame in which every field that the format knows is set, whatever fields there are.

    Raises
    ------
    AssertionError
        When the class `Frame` has a field that the format does not know.
    """
    names = {field.name for field in fields(Frame)}
    unknown = names - FIELDS.keys() - GROUPS.keys()
    assert not unknown, f"dataset_format has no entry for the fields {sorted(unknown)} of a frame"
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {n: value_of(n, 3, n_mm, rng, dtype) for n in FIELDS}
    members = {"baseline": BASELINE, "potential_rms": ("resp",)}
    for group in GROUPS:
        values[group] = {
            member: value_of(f"{group}/{member}", 3, n_mm, rng, dtype)
            for member in members.get(group, ("mbis", "iao-b 2%"))
        }
    values["boundary"] = BOUNDARY if n_mm > 1 else None
    return Frame(**values)


def value_of(name: str, n_qm: int, n_mm: int, rng: np.random.Generator, dtype: Any) -> Any:
    """A made-up value of the right shape and kind for a field."""
    field: Field = field_of(name)
    if field.kind == "text":
        return f"{name} {AWKWARD}"
    shape = {"frame": (), "qm": (n_qm,), "mm": (n_mm,)}[field.rows] + field.item
    if name == "atomic_numbers":
        return np.array([8, 1, 1])
    if name in ("total_charge", "spin_multiplicity"):  # what 11 electrons allow
        return {"total_charge": -1, "spin_multiplicity": 2}[name]
    if name.endswith("_positions"):  # nothing on top of anything else
        place = np.arange(3.0 * (n_qm if field.rows == "qm" else n_mm)).reshape(-1, 3)
        away = 0.0 if field.rows == "qm" else 20.0
        return (place + rng.normal(0.0, 0.05, place.shape) + away).astype(dtype)
    if field.kind == "integer":
        numbers = rng.integers(1, 100, shape)
        return int(numbers) if shape == () else numbers
    numbers = rng.normal(size=shape) * 10.0 ** rng.integers(-9, 3, shape)
    if name.startswith("charges/"):
        numbers[0] = -1.0 - numbers[1:].sum()
    return float(numbers) if shape == () else numbers.astype(dtype)


def frames_of_every_kind() -> list[Frame]:
    """Full frames of 5, 0, 1, 3 and 9 charges, one in float32, and one that knows nothing."""
    bare = Frame(np.array([17]), np.zeros((1, 3)), total_charge=-1)
    full = [full_frame(n, seed=n) for n in (5, 0, 1, 3, 9)]
    return [*full[:2], bare, *full[2:]]


def write_as_before(path: Path, frames: Sequence[Frame], method: Mapping[str, Any]) -> None:
    """A file as the first version of the program wrote them: plain arrays, no checksums."""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = VERSION
        file.attrs["units"], file.attrs["method"] = json.dumps(UNITS), json.dumps(dict(method))
        for name, array in flatten(frames, str(path)).items():
            if array.dtype.kind == "O":
                file.create_dataset(name, data=list(array), dtype=h5py.string_dtype())
            else:
                file[name] = array
