"""The `eqmm-dataset` format, version 1: which arrays a file holds, and what is refused.

F frames lie end to end without padding; frame f owns the rows ``qm_ptr[f]:qm_ptr[f+1]`` of every
per-atom array and ``mm_ptr[f]:mm_ptr[f+1]`` of every per-charge array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np

FORMAT = "eqmm-dataset"
VERSION = 1
UNITS = {"length": "angstrom", "energy": "eV", "charge": "e", "potential": "V"}

Rows = Literal["frame", "qm", "mm"]
Kind = Literal["real", "double", "integer", "text"]

_KINDS = {
    "real": "float32 or float64",
    "double": "float64",
    "integer": "integers",
    "text": "strings",
}


class DatasetError(ValueError):
    """A dataset file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Field:
    """One array of the file: what its rows are, the shape of a row, and its kind of number."""

    rows: Rows
    item: tuple[int, ...] = ()
    kind: Kind = "real"
    required: bool = False
    label: bool = False
    optional: bool = False
    """No label, but may be unknown as well; left out of a file in which no frame has it."""


FIELDS: Mapping[str, Field] = {
    "atomic_numbers": Field("qm", kind="integer", required=True),
    "qm_positions": Field("qm", (3,), required=True),
    "mm_positions": Field("mm", (3,), required=True),
    "mm_charges": Field("mm", required=True),
    "total_charge": Field("frame", kind="integer", required=True),
    "spin_multiplicity": Field("frame", kind="integer", required=True),
    # A float32 total energy of a few thousand eV is off by 0.005 kcal/mol and more.
    "energy": Field("frame", kind="double", label=True),
    "energy_vacuum": Field("frame", kind="double", label=True),
    "qm_forces": Field("qm", (3,), label=True),
    "mm_forces": Field("mm", (3,), label=True),
    "mm_potential": Field("mm", label=True),
    "dipole": Field("frame", (3,), label=True),
    "cell": Field("frame", (3, 3), label=True),
    "medium": Field("frame", kind="text"),
    "source": Field("frame", kind="text"),
    "frame_id": Field("frame", kind="text"),
    # Only where charges were altered at the cut or covalent bonds were cut; see eqmm_ase.boundary.
    "mm_charges_original": Field("mm", label=True),
    "boundary": Field("frame", kind="text", optional=True),
    "switch_radii": Field("frame", (2,), optional=True),
    # Rows of the topology file that frames were cut from; see eqmm_ase.atom_map.
    "topology": Field("frame", kind="text", optional=True),
    "qm_atom_indices": Field("qm", kind="integer", optional=True),
    "mm_atom_indices": Field("mm", kind="integer", optional=True),
    "mm_residue_indices": Field("mm", kind="integer", optional=True),
}
UNKNOWN_INTEGER = -(2**63)
"""Stands in all rows of a frame that lacks an optional array of integers."""

GROUPS: Mapping[str, Field | None] = {
    "charges": Field("qm", label=True),
    "atomic_dipoles": Field("qm", (3,), label=True),
    "potential_rms": Field("frame", label=True),
    "baseline": None,
}
"""Labels by charge scheme, as `charges/<scheme>`: charges in e, the dipoles in e·Å of atoms that
divide space among them, and in V the RMS error that charges fitted to the potential left at the
points of the fit. And `baseline/<label>`: the `BASELINE` labels by the cheaper method that the
file's `method` names under "baseline", each of the shape of the label of its name."""

BASELINE = ("energy", "qm_forces", "mm_forces", "mm_potential")
"""Labels that a cheaper method may give as well: the energy and its derivatives."""


def field_of(name: str) -> Field:
    """Describe one array by its name in the file."""
    group, _, member = name.partition("/")
    return (GROUPS[group] or FIELDS[member]) if member else FIELDS[name]


def present_fields(file: h5py.File) -> list[str]:
    """Names of the arrays of the format that this file holds, in a fixed order."""
    names = [name for name in FIELDS if name in file]
    for group in GROUPS:
        if isinstance(file.get(group), h5py.Group):
            known = (
                sorted(file[group]) if GROUPS[group] else [n for n in BASELINE if n in file[group]]
            )
            names += [f"{group}/{member}" for member in known]
    return names


def check_header(file: h5py.File, path: str) -> dict[str, Any]:
    """Refuse a file of another format, version or system of units; return its method.

    Raises
    ------
    DatasetError
        Naming the file, the attribute, and what was found and expected.
    """
    found = file.attrs.get("format")
    if found != FORMAT:
        what = "no attribute 'format'" if found is None else f"format {found!r}"
        raise DatasetError(f"{path} has {what}; expected an HDF5 file with format {FORMAT!r}")
    version = file.attrs.get("format_version")
    if version is None or int(version) != VERSION:
        raise DatasetError(
            f"{path} has format_version {version}; this program reads version {VERSION}"
        )
    units = _json_attribute(file, "units", path)
    if units != UNITS:
        raise DatasetError(f"{path} has units {json.dumps(units)}; expected {json.dumps(UNITS)}")
    return _json_attribute(file, "method", path)


def check_arrays(file: h5py.File, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Refuse missing arrays, wrong shapes, wrong kinds of numbers and broken pointers.

    Returns
    -------
    qm_ptr, mm_ptr : (F+1,) int64

    Raises
    ------
    DatasetError
        Naming the file, the dataset, and what was found and expected.
    """
    for name in ("qm_ptr", "mm_ptr", *(n for n, f in FIELDS.items() if f.required)):
        if name not in file:
            raise DatasetError(f"{path} has no dataset {name!r}, which every {FORMAT} file needs")
    qm_ptr, mm_ptr = (_pointers(file, name, path) for name in ("qm_ptr", "mm_ptr"))
    if len(qm_ptr) != len(mm_ptr):
        raise DatasetError(
            f"{path}: dataset 'mm_ptr' has {len(mm_ptr)} entries; "
            f"expected {len(qm_ptr)} as in 'qm_ptr'"
        )
    if np.any(np.diff(qm_ptr) == 0):
        frame = int(np.flatnonzero(np.diff(qm_ptr) == 0)[0])
        raise DatasetError(f"{path}: frame {frame} has no QM atoms; expected at least one")
    rows = {"frame": len(qm_ptr) - 1, "qm": int(qm_ptr[-1]), "mm": int(mm_ptr[-1])}
    for name in present_fields(file):
        _check_array(file[name], name, rows, path)
    return qm_ptr, mm_ptr


def _check_array(array: Any, name: str, rows: Mapping[str, int], path: str) -> None:
    field = field_of(name)
    if not isinstance(array, h5py.Dataset):
        raise DatasetError(f"{path}: {name!r} is a group; expected a dataset")
    expected = (rows[field.rows], *field.item)
    if array.shape != expected:
        raise DatasetError(f"{path}: dataset {name!r} has shape {array.shape}; expected {expected}")
    right = {
        "real": array.dtype in (np.float32, np.float64),
        "double": array.dtype == np.float64,
        "integer": array.dtype.kind in "iu",
        "text": h5py.check_string_dtype(array.dtype) is not None,
    }[field.kind]
    if not right:
        raise DatasetError(
            f"{path}: dataset {name!r} has type {array.dtype}; expected {_KINDS[field.kind]}"
        )


def _pointers(file: h5py.File, name: str, path: str) -> np.ndarray:
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.ndim != 1 or array.dtype.kind not in "iu":
        raise DatasetError(f"{path}: dataset {name!r} is not a one-dimensional array of integers")
    pointers = array[:].astype(np.int64)
    if len(pointers) == 0 or pointers[0] != 0 or np.any(np.diff(pointers) < 0):
        raise DatasetError(
            f"{path}: dataset {name!r} does not start at 0 and rise; expected F+1 row pointers"
        )
    return pointers


def _json_attribute(file: h5py.File, name: str, path: str) -> dict[str, Any]:
    raw = file.attrs.get(name)
    try:
        value = json.loads(raw)
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: attribute {name!r} is {raw!r}; expected a JSON object")
    return value
