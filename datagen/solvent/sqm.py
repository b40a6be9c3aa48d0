"""Bonds that the AM1 optimisation within AM1-BCC changed.

AM1-BCC optimises the molecule in vacuum first. There, a zwitterion is not stable: a proton goes
over, and the charges are those of another molecule (β-alanine: a dipole of 7 D instead of 16).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from datagen.molecules.solute import Solute
from datagen.molecules.valences import bonded_pairs
from eqmm_ase.files.mol_file import bonds_of_mol_block
from eqmm_ase.files.pdb_file import read_pdb

FIXED = "qm_theory='AM1', grms_tol=0.0005, scfconv=1.d-10, ndiis_attempts=700, maxcyc=0,"
"""antechamber's own settings of sqm, without a step of optimisation."""

_BONDED = 1.25
"""Of the sum of radii. O–H is 0.97 Å and may come to 1.21, where a proton is half-way."""


def changed_bonds(solute: Solute, folder: Path) -> str | None:
    """Bonds that sqm's last geometry has lost and formed, in words; None where it kept all.

    Parameters
    ----------
    solute
        As antechamber was given it.
    folder
        Where sqm has run.
    """
    after = read_pdb(folder / "sqm.pdb")[0].positions
    bonds = {(min(i, j), max(i, j)) for i, j, _ in bonds_of_mol_block(solute.mol_block)}
    near_before = _near(solute, solute.positions)
    near_after = _near(solute, after)
    lost = sorted((bonds & near_before) - near_after)
    formed = sorted(near_after - near_before - bonds)
    words = [
        f"{what} {', '.join(_words(solute, pair) for pair in pairs)}"
        for what, pairs in (("lost", lost), ("formed", formed))
        if pairs
    ]
    return " and ".join(words) or None


def _near(solute: Solute, positions: NDArray[np.floating]) -> set[tuple[int, int]]:
    pairs = bonded_pairs(solute.atomic_numbers, positions, _BONDED)
    return {(int(i), int(j)) for i, j in pairs}


def _words(solute: Solute, pair: tuple[int, int]) -> str:
    return "–".join(f"{chemical_symbols[solute.atomic_numbers[atom]]}{atom}" for atom in pair)
