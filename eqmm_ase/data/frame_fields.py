"""A frame as plain values by the names of the dataset format, and back.

Everything that stores frames goes through here, so that no format has a list of fields of its own
in which one could be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eqmm_ase.data.boundary import Boundary
from eqmm_ase.data.dataset_format import FIELDS, GROUPS, DatasetError, Field, field_of
from eqmm_ase.data.frame import Frame

_LARGEST = 1e12
"""The electrons of a uranium atom are bound by 10⁶ eV."""


def known_values(frame: Frame) -> dict[str, Any]:
    """What a frame knows: numbers, arrays and texts by name, as ``energy`` or ``charges/mbis``.

    Labels that are None, and texts that are empty, are left out.
    """
    values = {name: getattr(frame, name) for name in FIELDS}
    for group in GROUPS:
        values |= {f"{group}/{member}": v for member, v in getattr(frame, group).items()}
    if frame.boundary is not None:
        values["boundary"] = frame.boundary.to_json()
    return {name: v for name, v in values.items() if v is not None and not _is_empty_text(v)}


def frame_of_values(values: Mapping[str, Any], where: str) -> Frame:
    """The frame of which `known_values` made these.

    Parameters
    ----------
    values
        Required ones and any others; a label that is None is not known.
    where
        File and frame, for errors: begins the sentence.

    Raises
    ------
    DatasetError
        When they contradict each other (shapes, NaN, impossible numbers) or a field is missing.
    """
    check_values(values, where)
    plain: dict[str, Any] = {group: {} for group in GROUPS}
    for name, value in values.items():
        if value is None:
            continue
        field, (group, _, member) = field_of(name), name.partition("/")
        if field.rows == "frame" and field.item == () and field.kind != "text":
            value = int(value) if field.kind == "integer" else float(value)
        if member:
            plain[group][member] = value
        else:
            plain[name] = value
    plain["boundary"] = _boundary(values, where)
    return Frame(**plain)


def check_values(values: Mapping[str, Any], where: str) -> None:
    """Refuse values that make no frame.

    Raises
    ------
    DatasetError
        Naming the field, and what was found and expected.
    """
    for name, field in FIELDS.items():
        if field.required and values.get(name) is None:
            raise DatasetError(f"{where} has no {name!r}, which every frame needs")
    rows = {"qm": np.size(values["atomic_numbers"]), "mm": np.size(values["mm_charges"])}
    if rows["qm"] == 0:
        raise DatasetError(f"{where} has no QM atoms; expected at least one")
    for name, value in values.items():
        try:
            field = field_of(name)
        except DatasetError as error:
            raise DatasetError(f"{where}: {error}") from error
        if value is None:
            continue
        if field.kind == "text":
            _check_text(name, value, where)
            continue
        expected = field.item if field.rows == "frame" else (rows[field.rows], *field.item)
        if np.shape(value) != expected:
            raise DatasetError(
                f"{where} has {name!r} of shape {np.shape(value)}; expected {expected}"
            )
        _check_numbers(name, np.asarray(value), field, where)
    _boundary(values, where)


def _check_numbers(name: str, value: np.ndarray, field: Field, where: str) -> None:
    if value.dtype.kind not in "iufb":
        raise DatasetError(f"{where} has {name!r} of type {value.dtype}; expected plain numbers")
    if not (value.dtype.kind != "f" or np.isfinite(value).all()):
        raise DatasetError(
            f"{where} has NaN or infinite values in {name!r}; expected finite numbers, or None "
            "for what is not known"
        )
    if value.dtype.kind == "f" and value.size and np.abs(value).max() > _LARGEST:
        raise DatasetError(
            f"{where} has {np.abs(value).max():.3g} in {name!r}, which is no size for anything in "
            "eV, Å, e or V"
        )
    if field.kind == "integer" and value.dtype.kind == "f" and (value != np.round(value)).any():
        raise DatasetError(f"{where} has fractions in {name!r}; expected whole numbers")
    if field.limits and value.size:
        low, high = field.limits
        for found in (value.min(), value.max()):
            if not low <= found <= high:
                raise DatasetError(
                    f"{where} has {int(found)} in {name!r}; expected {low} to {high}"
                )


def _check_text(name: str, value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise DatasetError(f"{where} has {name!r} = {value!r}; expected a text")
    if "\0" in value or not _can_be_encoded(value):
        raise DatasetError(f"{where} has a character in {name!r} that no file can hold: {value!r}")


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _boundary(values: Mapping[str, Any], where: str) -> Boundary | None:
    if not (text := values.get("boundary")):
        return None
    try:
        boundary = Boundary.from_json(text)
        boundary.check(np.size(values["atomic_numbers"]), np.size(values["mm_charges"]))
    except ValueError as error:
        raise DatasetError(f"{where} has a 'boundary' that cannot be used: {error}") from error
    return boundary


def _is_empty_text(value: Any) -> bool:
    return isinstance(value, str) and not value
