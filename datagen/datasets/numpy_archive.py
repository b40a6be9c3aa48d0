"""A NumPy archive with the arrays of the dataset format, under the same names and in its units.

`charges/mbis` and the like are names as any other; `qm_ptr` and `mm_ptr` say which rows belong to a
frame; `format`, `units` and `method` are texts, the last two of them JSON. The zip archive around
them has a checksum for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from datagen.datasets.extended_xyz import check_states
from datagen.datasets.imported import Imported
from datagen.errors import ExchangeError
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.data.dataset_format import FORMAT, POINTERS, UNITS, VERSION
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.files.flat_arrays import check_arrays, flatten, frame_at
from eqmm_ase.files.read_guard import read_guard

_HEADER = ("format", "units", "method")


def write_numpy_archive(data: ReferenceData, target: Path, charge_scheme: str | None) -> None:
    """Write all arrays of a dataset; all charge schemes are kept, whatever `charge_scheme` says."""
    arrays = flatten(data.load(), str(data.path))
    texts = (f"{FORMAT} {VERSION}", json.dumps(UNITS), json.dumps(data.method))
    content: dict[str, Any] = dict(zip(_HEADER, map(np.array, texts), strict=True))
    content |= {n: a.astype(str) if a.dtype.kind == "O" else a for n, a in arrays.items()}
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **content)


def read_numpy_archive(
    source: Path, *, total_charge: int | None = None, spin_multiplicity: int | None = None
) -> Imported:
    """Frames of an archive that `write_numpy_archive` made.

    Raises
    ------
    ExchangeError, DatasetError
        When it is something else, or damaged.
    StateError
        When its charge or spin differs from the given one.
    FileNotFoundError
        When there is no such file.
    """
    with (
        read_guard(str(source), ExchangeError, "the archive of a dataset"),
        source.open("rb") as file,
    ):
        with np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
        header = {name: str(arrays.pop(name)) for name in _HEADER}
        if header["format"] != f"{FORMAT} {VERSION}" or json.loads(header["units"]) != UNITS:
            raise ExchangeError(
                f"{source} has format {header['format']!r} and units {header['units']}; expected "
                f"'{FORMAT} {VERSION}' and {json.dumps(UNITS)}"
            )
        pointers = check_arrays(arrays, str(source))
        for name in POINTERS:
            del arrays[name]
        frames = [
            frame_at(arrays, pointers, f, str(source)) for f in range(len(pointers["qm_ptr"]) - 1)
        ]
        check_states(frames, source, total_charge, spin_multiplicity)
        return Imported(frames, dict(json.loads(header["method"])))
