"""A NumPy archive with the arrays of the dataset format, under the same names and in its units.

`charges/mbis` and the like are names as any other; `qm_ptr` and `mm_ptr` say which rows belong to a
frame; `format`, `units` and `method` are texts, the last two of them JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.dataset_format import FORMAT, UNITS, VERSION, field_of, present_fields
from eqmm_ase.reference_data import ReferenceData


def write_numpy_archive(data: ReferenceData, target: Path, charge_scheme: str | None) -> None:
    """Write all arrays of a dataset; all charge schemes are kept, whatever `charge_scheme` says."""
    arrays: dict[str, Any] = {}
    with h5py.File(data.path, "r") as file:
        for name in ("qm_ptr", "mm_ptr"):
            arrays[name] = file[name][:]
        for name in present_fields(file):
            text = field_of(name).kind == "text"
            arrays[name] = np.array(file[name].asstr()[:], dtype=str) if text else file[name][:]
    arrays["format"] = np.array(f"{FORMAT} {VERSION}")
    arrays["units"], arrays["method"] = (
        np.array(json.dumps(UNITS)),
        np.array(json.dumps(data.method)),
    )
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
