"""A database of ASE (SQLite): the QM region as a row, its charges and labels in the row's data.

Energy (eV), forces (eV/Å), dipole (e·Å) and charges (e) are the row's own; `mm_charges`,
`mm_positions`, `mm_forces`, `mm_potential` and everything by charge scheme lie in `row.data`; the
medium and the source are key–value pairs to select by. The method is the database's metadata.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import str_represents
from ase.db.sqlite import SQLite3Database

from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.dataset_format import GROUPS
from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import ReferenceData

_DATA = ("mm_charges", "mm_positions", "mm_forces", "mm_potential", "energy_vacuum")


def write_ase_database(data: ReferenceData, target: Path, charge_scheme: str | None) -> None:
    """Write all frames of a dataset; `charge_scheme` is the one of the rows' own charges."""
    from eqmm_ase.dataset import choose_charge_scheme  # brings torch

    frames = data.load()
    scheme = choose_charge_scheme(frames, charge_scheme)
    with atomic_path(target) as temporary:
        temporary.unlink()  # SQLite makes its own
        database = SQLite3Database(str(temporary), create_indices=True, use_lock_file=False)
        with database:
            for frame in frames:
                _write_row(database, frame, scheme)
        database.metadata = {"method": data.method}


def _write_row(database: Any, frame: Frame, charge_scheme: str | None) -> None:
    atoms = Atoms(
        numbers=frame.atomic_numbers,
        positions=np.asarray(frame.qm_positions, np.float64),
        cell=frame.cell,
    )
    own = {
        "energy": frame.energy,
        "forces": frame.qm_forces,
        "dipole": frame.dipole,
        "charges": frame.charges.get(charge_scheme) if charge_scheme else None,
    }
    known = {name: value for name, value in own.items() if value is not None}
    if known:
        atoms.calc = SinglePointCalculator(atoms, **known)
    extra = {name: getattr(frame, name) for name in _DATA if getattr(frame, name) is not None}
    extra |= {group: dict(getattr(frame, group)) for group in GROUPS if getattr(frame, group)}
    texts = {"medium": frame.medium, "source": frame.source}
    database.write(
        atoms,
        data={**extra, **texts, "frame_id": frame.frame_id},
        total_charge=int(frame.total_charge),
        spin_multiplicity=int(frame.spin_multiplicity),
        **{name: text for name, text in texts.items() if _can_be_selected(text)},
    )


def _can_be_selected(text: str) -> bool:
    """ASE refuses texts that could be numbers or truth values as what rows are selected by."""
    return bool(text) and not any(str_represents(text, kind) for kind in (int, float, bool))
