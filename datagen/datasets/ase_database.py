"""A database of ASE (SQLite): the QM region as a row, its charges and labels in the row's data.

Energy (eV), forces (eV/Å), dipole (e·Å) and charges (e) are the row's own; everything else that the
dataset format has lies in `row.data` under its name there (`mm_charges`, `mm_forces`, …, by charge
scheme as `row.data["charges"]["mbis"]`); the medium and the source are key–value pairs to select
by. The method is the database's metadata.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import str_represents
from ase.db.sqlite import SQLite3Database

from datagen.datasets.extended_xyz import STATE_OPTIONS, check_states, frame_of_atoms
from datagen.datasets.foreign_labels import Found
from datagen.datasets.imported import Imported
from datagen.errors import ExchangeError
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.data.charge_and_spin import states_of
from eqmm_ase.data.dataset_format import GROUPS
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import frame_of_values, known_values
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.files.read_guard import read_guard

_ROW = {
    "atomic_numbers": "numbers",
    "qm_positions": "positions",
    "energy": "energy",
    "qm_forces": "forces",
    "dipole": "dipole",
}
"""Fields that are the row's own, and what ASE calls them."""

_STATE = ("total_charge", "spin_multiplicity")
_NARROW = "float32"


def write_ase_database(data: ReferenceData, target: Path, charge_scheme: str | None) -> None:
    """Write all frames of a dataset; `charge_scheme` is the one of the rows' own charges."""
    from eqmm_ase.data.selection import choose_charge_scheme  # brings torch

    frames = data.load()
    scheme = choose_charge_scheme(frames, charge_scheme)
    with atomic_path(target) as temporary:
        temporary.unlink()  # SQLite makes its own
        database = SQLite3Database(str(temporary), create_indices=True, use_lock_file=False)
        with database:
            for frame in frames:
                _write_row(database, frame, scheme)
        database.metadata = {"method": data.method}


def read_ase_database(
    source: Path, *, total_charge: int | None = None, spin_multiplicity: int | None = None
) -> Imported:
    """Frames of a database, of ours or any other with labels under known names.

    Charge and spin as `read_extended_xyz` finds them.

    Raises
    ------
    ExchangeError, DatasetError, StateError
        When it cannot be read, or a row contradicts itself or the given charge and spin.
    FileNotFoundError
        When there is no such file.
    """
    _refuse_foreign(source)
    frames, found = [], Found()
    with read_guard(str(source), ExchangeError, "a database of ASE"):
        database = SQLite3Database(str(source), create_indices=False, use_lock_file=False)
        with database:
            method = database.metadata.get("method")
            for row in database.select():
                where = f"{source}: row {row.id}"
                if _is_ours(row):
                    frames.append(_read_row(row, where))
                    continue
                atoms = row.toatoms()
                atoms.info |= {**row.key_value_pairs, **row.data}
                (state,) = states_of(
                    [atoms],
                    total_charge=total_charge,
                    spin_multiplicity=spin_multiplicity,
                    name=where,
                    options=STATE_OPTIONS,
                    by_charges=True,
                )
                frames.append(frame_of_atoms(atoms, state, found, where))
    check_states(frames, source, total_charge, spin_multiplicity)
    return Imported(frames, method, found)


def _write_row(database: Any, frame: Frame, charge_scheme: str | None) -> None:
    values = known_values(frame)
    atoms = Atoms(
        numbers=values["atomic_numbers"],
        positions=np.asarray(values["qm_positions"], np.float64),
        cell=values.get("cell"),
    )
    own = {called: values.get(name) for name, called in _ROW.items()}
    own |= {"charges": frame.charges.get(charge_scheme) if charge_scheme else None}
    known = {k: v for k, v in own.items() if v is not None and k not in ("numbers", "positions")}
    if known:
        atoms.calc = SinglePointCalculator(atoms, **known)
    data: dict[str, Any] = {group: {} for group in GROUPS}
    for name, value in values.items():
        group, _, member = name.partition("/")
        if member:
            data[group][member] = value
        elif name not in (*_ROW, *_STATE):
            data[name] = value
    narrow = [n for n in _ROW if getattr(values.get(n), "dtype", None) == np.float32]
    texts = {"medium": frame.medium, "source": frame.source}
    database.write(
        atoms,
        data={**data, _NARROW: narrow},
        **{name: int(values[name]) for name in _STATE},
        **{name: text for name, text in texts.items() if _can_be_selected(text)},
    )


def _is_ours(row: Any) -> bool:
    """Whether any version of EqMM wrote it."""
    return "frame_id" in row.data or _NARROW in row.data


def _read_row(row: Any, where: str) -> Frame:
    data = dict(row.data)
    values: dict[str, Any] = {name: row.get(called) for name, called in _ROW.items()}
    values |= {name: row.key_value_pairs[name] for name in _STATE}
    if np.any(row.cell):
        values["cell"] = row.cell
    for name in data.pop(_NARROW, ()):
        values[name] = np.float32(values[name])
    for name, value in data.items():
        if isinstance(value, Mapping):
            values |= {f"{name}/{member}": entry for member, entry in value.items()}
        else:
            values[name] = value
    return frame_of_values(values, where)


def _refuse_foreign(source: Path) -> None:
    """ASE would make its tables in any file that it opens."""
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    with read_guard(str(source), ExchangeError, "a database of ASE"):
        database = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
        try:
            query = "SELECT count(*) FROM sqlite_master WHERE name = 'systems'"
            if not database.execute(query).fetchone()[0]:
                raise ExchangeError(f"{source} is no database of ASE: it has no table 'systems'")
        finally:
            database.close()


def _can_be_selected(text: str) -> bool:
    """ASE refuses texts that could be numbers or truth values as what rows are selected by."""
    return bool(text) and not any(str_represents(text, kind) for kind in (int, float, bool))
