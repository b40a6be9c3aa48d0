"""MM charges that files hold for their atoms.

Trajectories that EqMM wrote have the charges in their header, extended XYZ that it exported in each
image. ASE's databases keep only a label of the charges, with the parameters of the calculator, and
PDB or CIF files keep nothing.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from ase import Atoms
from ase.io.trajectory import Trajectory

from eqmm_ase.arrays import FloatArray

EMBEDDING = "embedding"
"""Where in ``atoms.info`` atoms remember the charges that they were computed in."""
CHARGES, POSITIONS, CELL = "mm_charges", "mm_positions", "mm_cell"
"""Where files have the charges themselves: e, Å; lattice vectors of their box, Å."""


class StoredCharges(NamedTuple):
    """MM charges that a file holds."""

    charges: FloatArray  # (n_mm,) e
    positions: FloatArray  # (n_mm, 3) Å
    cell: FloatArray | None
    """Lattice vectors of the box that they and their images fill, (3, 3) Å; None without one."""


def label_of(
    charges: FloatArray, positions: FloatArray | None, cell: FloatArray | None = None
) -> str:
    """Label by which atoms remember MM charges: number, sum and checksum; empty for vacuum.

    Parameters
    ----------
    charges
        (n_mm,), e.
    positions
        (n_mm, 3), Å.
    cell
        Of a periodic box, (3, 3), Å. In one, no charges at all are no vacuum: images act.
    """
    if positions is None or not (charges.any() or cell is not None):
        return ""
    number = crc32(positions.tobytes(), crc32(charges.tobytes()))
    if cell is not None:
        number = crc32(cell.tobytes(), number)
    box = "" if cell is None else " in a box"
    net = round(float(charges.sum()), 3) + 0.0  # no negative zero
    return f"{len(charges)} MM charges{box}, {net:+.3f} e, checksum {number:08x}"


_MAGIC = b"- of UlmASE-Trajectory"


def label_in_file(path: str | os.PathLike[str], image: Atoms) -> str:
    """Label of the charges that an image of a file was computed in; empty for vacuum."""
    if not os.fspath(path).endswith((".db", ".json")):
        return str(image.info.get(EMBEDDING, ""))
    from ase.db import connect

    with connect(path) as rows:
        parameters = (row.get("calculator_parameters", {}) for row in rows.select())
        return next((found[EMBEDDING] for found in parameters if EMBEDDING in found), "")


def charges_in_file(path: str | os.PathLike[str], image: Atoms) -> StoredCharges | None:
    """MM charges that a file holds for an image, or None."""
    stored: Any = image.info
    with open(path, "rb") as file:
        ours = file.read(len(_MAGIC)) == _MAGIC
    if ours:
        with Trajectory(os.fspath(path)) as images:
            stored = (getattr(images, "description", None) or {}).get(EMBEDDING, stored)
    cell = stored.get(CELL)
    if not np.size(stored.get(CHARGES, ())) and cell is None:
        return None
    # One charge comes back as a number from some files.
    charges = np.array(stored[CHARGES], np.float64).reshape(-1)
    return StoredCharges(
        charges,
        np.array(stored.get(POSITIONS, ()), np.float64).reshape(-1, 3),
        None if cell is None else np.array(cell, np.float64),
    )
