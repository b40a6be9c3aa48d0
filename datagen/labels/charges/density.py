"""The electron density that charges are taken from: as a matrix, and on an integration grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datagen.errors import LabelCheckError

GRID_LEVEL = 2
"""PySCF's pruned grid of this level: MBIS charges of methanol and of Cl⁻···CH3Cl are within
3e-5 e of those at level 4 (level 1: 5e-4 e, level 3: 3e-5 e)."""

_ELECTRON_TOLERANCE = 1e-3
"""Relative error of the electron count; 1e-6 is usual at this level."""

_NEGLIGIBLE = 1e-15  # electrons at a grid point; all those left out hold less than 1e-9
_BLOCK_MEMORY = 100.0  # MB of basis functions at a time


@dataclass(frozen=True, eq=False)
class DensityGrid:
    """Electrons at the points of an integration grid.

    The grid counts the electrons with an error of about 1e-6; ``electrons`` are scaled by one
    factor to their exact number, so that charges add up to the total charge.
    """

    points: np.ndarray
    """(n_points, 3), Bohr."""

    electrons: np.ndarray
    """(n_points,), density times weight, scaled."""


@dataclass(frozen=True, eq=False)
class ElectronDensity:
    """A converged density of the QM region."""

    field: Any
    """The PySCF mean-field object that it comes from."""

    matrix: np.ndarray
    """(nao, nao), spin-summed."""

    @property
    def molecule(self) -> Any:
        """PySCF molecule."""
        return self.field.mol

    @cached_property
    def overlap(self) -> np.ndarray:
        """Overlap of the basis functions, (nao, nao)."""
        return np.asarray(self.molecule.intor("int1e_ovlp"))

    @cached_property
    def grid(self) -> DensityGrid:
        """The density on the grid that schemes that divide space share; made when first asked for.

        Raises
        ------
        LabelCheckError
            When the grid misses the number of electrons by more than one in a thousand.
        """
        return density_on_grid(self.molecule, self.matrix, GRID_LEVEL)


def density_on_grid(molecule: Any, matrix: np.ndarray, level: int) -> DensityGrid:
    """Evaluate a density on PySCF's pruned grid of a level; see `ElectronDensity.grid`."""
    from pyscf.dft import gen_grid, numint

    grid = gen_grid.Grids(molecule)
    grid.level, grid.verbose = level, 0
    grid.build(with_non0tab=True)
    integrator = numint.NumInt()
    points, electrons = [], []
    for orbitals, mask, weights, coordinates in integrator.block_loop(
        molecule, grid, molecule.nao, deriv=0, max_memory=_BLOCK_MEMORY
    ):
        density = integrator.eval_rho(molecule, orbitals, matrix, non0tab=mask, hermi=1)
        count = density * weights
        keep = np.abs(count) > _NEGLIGIBLE
        points.append(coordinates[keep])
        electrons.append(count[keep])
    counted = np.concatenate(electrons)
    return DensityGrid(np.concatenate(points), counted * _scale(counted.sum(), molecule.nelectron))


def _scale(counted: float, expected: int) -> float:
    if not abs(counted - expected) <= _ELECTRON_TOLERANCE * expected:
        raise LabelCheckError(
            f"the integration grid of the charges counts {counted:.4f} electrons; "
            f"expected {expected}"
        )
    return expected / counted
