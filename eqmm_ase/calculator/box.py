"""The periodic box of embedded charges: what is given for one, and atoms that are given in one."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data import checks
from eqmm_ase.data.unwrapping import make_whole
from eqmm_ase.periodic.cell import Box
from eqmm_ase.periodic.nufft import finufft

_SAME = 1e-6
"""Å, up to which two boxes are one: far below any strain that somebody would apply."""


def box_of(cell: Any, n_mm: int) -> FloatArray:
    """Lattice vectors of a box that charges can fill, as a new array (3, 3), Å.

    Parameters
    ----------
    cell
        Whatever `ase.cell.Cell.new` takes: vectors as rows, lengths, lengths and angles.
    n_mm
        Number of charges.

    Raises
    ------
    ValueError
        When it spans no volume, or one too small for so many charges.
    ImportError
        When finufft is not installed.
    """
    try:
        vectors = Cell.ascell(cell).array.astype(np.float64)
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"cell must be three lattice vectors as rows, three lengths, or lengths and angles, in "
            f"Å and degrees, got {cell!r}"
        ) from error
    checks.not_too_dense_in_box(n_mm, Box.of(vectors).volume)
    finufft()  # before anything is computed
    return vectors


def check_same_box(atoms: Atoms, cell: FloatArray) -> None:
    """Refuse periodic atoms that repeat in another box than the charges around them.

    Raises
    ------
    ValueError
        Names both boxes.
    """
    if not atoms.pbc.any():
        return
    if not atoms.pbc.all():
        raise ValueError(
            f"the atoms are periodic along some directions (pbc = {atoms.pbc.tolist()}), and the "
            "MM charges along all three: set atoms.pbc to True, or to False"
        )
    if np.abs(atoms.cell.array - cell).max() > _SAME:
        own, around = (_text(vectors) for vectors in (atoms.cell.array, cell))
        raise ValueError(
            f"the atoms repeat in a cell of {own} Å, and the MM charges around them in one of "
            f"{around} Å: give both the same (point_charges.set_cell, atoms.set_cell)"
        )


def cluster_of(positions: FloatArray, cell: FloatArray | None) -> FloatArray:
    """Positions of QM atoms as one cluster, each next to its nearest image; the first stays.

    Parameters
    ----------
    positions
        (n_qm, 3), Å, wrapped in any way.
    cell
        (3, 3), Å, or None: they are taken where they are.

    Raises
    ------
    ValueError
        Not finite, or two nuclei on top of each other.
    """
    positions = checks.qm_positions(positions)
    return positions if cell is None else checks.qm_positions(make_whole(positions, cell))


def _text(vectors: FloatArray) -> str:
    if np.array_equal(vectors, np.diag(np.diag(vectors))):
        return " × ".join(f"{length:.7g}" for length in np.diag(vectors))
    return ", ".join(str([round(x, 6) for x in row]) for row in vectors.tolist())
