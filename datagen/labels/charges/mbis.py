"""MBIS charges and atomic dipoles: atoms as sums of Slater shells fitted to the density.

An atom's share of the density at a point is its share of the model density of
`datagen.labels.charges.slater_shells` there. Then q_A = Z_A − Σ_i N_Ai. The dipole of the molecule
is Σ_A (q_A R_A + μ_A) with the atomic dipoles μ_A = −∫ ρ_A (r − R_A) dr.

Source: T. Verstraelen et al., J. Chem. Theory Comput. 12, 3894 (2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datagen.errors import InvalidFrameError
from datagen.labels.charges.density import ElectronDensity
from datagen.labels.charges.shares import AtomicCharges, from_shares
from datagen.labels.charges.slater_shells import distances_to, fit_shells


def mbis(density: ElectronDensity) -> AtomicCharges:
    """MBIS charges and atomic dipoles of a molecule that `check_all_electron` accepts.

    Raises
    ------
    LabelCheckError
        When the shells do not converge, or the grid misses electrons.
    """
    numbers, nuclei = density.molecule.atom_charges(), density.molecule.atom_coords()
    shells = fit_shells(numbers, nuclei, density.grid)
    members = np.equal.outer(np.arange(len(numbers)), shells.atoms).astype(float)

    def shares(points: np.ndarray) -> np.ndarray:
        return members @ shells.shares(distances_to(nuclei, points))[0]

    return from_shares(density, shares)


def check_all_electron(molecule: Any) -> None:
    """Refuse a molecule some of whose electrons are replaced by a core potential.

    Raises
    ------
    InvalidFrameError
        Naming the element: the shells describe all electrons.
    """
    for atom in range(molecule.natm):
        if molecule.atom_nelec_core(atom):
            raise InvalidFrameError(
                "MBIS charges need all electrons, and the basis set replaces the core of "
                f"{molecule.atom_pure_symbol(atom)} by a potential; "
                "choose an all-electron basis set, or leave mbis out"
            )
