"""Files that hold the MM charges of their atoms: trajectories, once, in the header of ASE's format.

Atoms remember by a label which charges they were computed in (`eqmm_ase.calculator.embedded`).
`relax` and `run_md` put the charges themselves into the file, so that its images can be read and
computed again; a file that anyone else wrote has the label alone. ASE's databases keep it with the
parameters of the calculator, and PDB or CIF files not at all. Frames that were exported as extended
XYZ have the charges in each image.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.trajectory import Trajectory
from numpy.typing import NDArray

from eqmm_ase.calculator.point_charges import CHARGES, EMBEDDING, POSITIONS, PointCharges

FloatArray = NDArray[np.float64]

_MAGIC = b"- of UlmASE-Trajectory"


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
        writer.set_description({EMBEDDING: stored})
    return writer


def label_in_file(path: str | os.PathLike[str], image: Atoms) -> str:
    """Label of the charges that an image of a file was computed in; empty for vacuum."""
    if not os.fspath(path).endswith((".db", ".json")):
        return str(image.info.get(EMBEDDING, ""))
    from ase.db import connect

    with connect(path) as rows:
        parameters = (row.get("calculator_parameters", {}) for row in rows.select())
        return next((found[EMBEDDING] for found in parameters if EMBEDDING in found), "")


def charges_in_file(
    path: str | os.PathLike[str], image: Atoms
) -> tuple[FloatArray, FloatArray] | None:
    """Charges (n_mm,) e and positions (n_mm, 3) Å that a file holds for an image, or None."""
    stored: Any = image.info
    with open(path, "rb") as file:
        ours = file.read(len(_MAGIC)) == _MAGIC
    if ours:
        with Trajectory(os.fspath(path)) as images:
            stored = (getattr(images, "description", None) or {}).get(EMBEDDING, stored)
    if not np.size(stored.get(CHARGES, ())):
        return None
    # One charge comes back as a number from some files.
    charges = np.array(stored[CHARGES], np.float64).reshape(-1)
    return charges, np.array(stored.get(POSITIONS, ()), np.float64).reshape(-1, 3)
