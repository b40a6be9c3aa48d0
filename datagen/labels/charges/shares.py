"""Charges and dipoles of atoms from their shares of space, as Hirshfeld and MBIS define them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datagen.labels.charges.density import ElectronDensity
from eqmm_ase.units import BOHR

_BLOCK = 4096  # grid points at a time


@dataclass(frozen=True, eq=False)
class AtomicCharges:
    """Charges of one scheme and what else it has to say."""

    charges: np.ndarray
    """(n_qm,), e."""

    dipoles: np.ndarray | None = None
    """(n_qm, 3), e·Å, each about its own nucleus, where the scheme divides space."""

    potential_rms: float | None = None
    """V, of a scheme that fits the potential: the RMS error of the charges at those points."""


def from_shares(
    density: ElectronDensity, shares: Callable[[np.ndarray], np.ndarray]
) -> AtomicCharges:
    """Charges and dipoles of atoms that divide the density among them.

    Parameters
    ----------
    density
        Its grid carries the integration.
    shares
        Points (n, 3) in Bohr → share of each atom, (n_qm, n), that add up to 1.
    """
    grid, nuclei = density.grid, density.molecule.atom_coords()
    populations, centres = np.zeros(len(nuclei)), np.zeros((len(nuclei), 3))
    for start in range(0, len(grid.points), _BLOCK):
        block = slice(start, start + _BLOCK)
        electrons = shares(grid.points[block]) * grid.electrons[block]  # (n_qm, n)
        populations += electrons.sum(1)
        centres += electrons @ grid.points[block]
    dipoles = populations[:, None] * nuclei - centres
    return AtomicCharges(density.molecule.atom_charges() - populations, dipoles * BOHR)
