"""Trajectories that hold the MM charges around their atoms, once, in the header of ASE's format.

Atoms remember by a label which charges they were computed in (`eqmm_ase.calculator.embedded`).
`relax` and `run_md` put the charges themselves into the file, so that its images can be read and
computed again (`eqmm_ase.files.stored_charges`); a file that anyone else wrote has the label alone.
"""

from __future__ import annotations

import os
from typing import Any

from ase import Atoms
from ase.io.trajectory import Trajectory

from eqmm_ase.calculator.point_charges import PointCharges
from eqmm_ase.files.stored_charges import CELL, CHARGES, EMBEDDING, POSITIONS


def charges_around(atoms: Atoms) -> PointCharges | None:
    """The charges that the calculator of atoms, or one that it adds up, was given."""
    return _charges_of(atoms.calc)


def _charges_of(calculator: Any) -> PointCharges | None:
    own = getattr(calculator, "point_charges", None)
    if isinstance(own, PointCharges):
        return own
    mixed = getattr(getattr(calculator, "mixer", None), "calcs", ())
    return next((found for part in mixed if (found := _charges_of(part)) is not None), None)


def label_around(atoms: Atoms) -> str:
    """Label of the charges around atoms; empty for vacuum."""
    charges = charges_around(atoms)
    return "" if charges is None else charges.label


def new_trajectory(path: str | os.PathLike[str], atoms: Atoms) -> Any:
    """A writer of a new trajectory of atoms, whose header holds the charges around them."""
    writer = Trajectory(os.fspath(path), "w")
    charges = charges_around(atoms)
    if charges is not None and charges.label:
        assert charges.positions is not None
        stored = {CHARGES: charges.charges.tolist(), POSITIONS: charges.positions.tolist()}
        if charges.cell is not None:
            stored[CELL] = charges.cell.tolist()
        writer.set_description({EMBEDDING: stored})
    return writer
