"""Charges from populations of basis functions, and the dipole moment.

Mulliken:  q_A = Z_A − Σ_{μ∈A} (D S)_μμ
Löwdin:    q_A = Z_A − Σ_{μ∈A} (S^½ D S^½)_μμ

Sources: R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955);
P.-O. Löwdin, J. Chem. Phys. 18, 365 (1950).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datagen.labels.charges.density import ElectronDensity
from datagen.labels.charges.shares import AtomicCharges
from eqmm_ase.units import BOHR


def mulliken(density: ElectronDensity) -> AtomicCharges:
    """Mulliken charges: overlap populations are halved between the two atoms."""
    populations = np.einsum("ij,ji->i", density.matrix, density.overlap)
    return AtomicCharges(density.molecule.atom_charges() - by_atom(density.molecule, populations))


def lowdin(density: ElectronDensity) -> AtomicCharges:
    """Löwdin charges: populations of the symmetrically orthogonalised basis functions."""
    root = _square_root(density.overlap)
    populations = np.einsum("ij,jk,ki->i", root, density.matrix, root, optimize=True)
    return AtomicCharges(density.molecule.atom_charges() - by_atom(density.molecule, populations))


def dipole(molecule: Any, density: np.ndarray) -> np.ndarray:
    """Dipole moment about the coordinate origin.

    For a charged QM region it depends on the origin, which is why the origin is fixed and stated.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.

    Returns
    -------
    (3,), e·Å
    """
    with molecule.with_common_origin((0.0, 0.0, 0.0)):
        positions = molecule.intor_symmetric("int1e_r", comp=3)
    electrons = np.einsum("xij,ji->x", positions, density)
    return (molecule.atom_charges() @ molecule.atom_coords() - electrons) * BOHR


def _square_root(overlap: np.ndarray) -> np.ndarray:
    # A nearly dependent basis has eigenvalues of zero within rounding, on either side.
    values, vectors = np.linalg.eigh(overlap)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


def by_atom(molecule: Any, populations: np.ndarray) -> np.ndarray:
    """Electrons of each atom (n_qm,) from those of its basis functions (nao,)."""
    slices = molecule.aoslice_by_atom()[:, 2:]
    return np.array([populations[start:stop].sum() for start, stop in slices])
