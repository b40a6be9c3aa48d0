"""Atomic charges and the dipole moment of a converged density.

Mulliken:  q_A = Z_A − Σ_{μ∈A} (D S)_μμ
Löwdin:    q_A = Z_A − Σ_{μ∈A} (S^½ D S^½)_μμ

Sources: R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955);
P.-O. Löwdin, J. Chem. Phys. 18, 365 (1950).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eqmm_ase.units import BOHR


def atomic_charges(molecule: Any, density: np.ndarray) -> dict[str, np.ndarray]:
    """Charges of the QM atoms by scheme.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.

    Returns
    -------
    dict
        ``mulliken`` and ``lowdin``, each (n_qm,) in e, each adding up to the total charge.
    """
    overlap = molecule.intor("int1e_ovlp")
    root = _square_root(overlap)
    populations = {
        "mulliken": np.einsum("ij,ji->i", density, overlap),
        "lowdin": np.einsum("ij,jk,ki->i", root, density, root, optimize=True),
    }
    return {scheme: _by_atom(molecule, p) for scheme, p in populations.items()}


def dipole(molecule: Any, density: np.ndarray) -> np.ndarray:
    """Dipole moment about the coordinate origin.

    For a charged QM region it depends on the origin, which is why the origin is fixed and stated.

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


def _by_atom(molecule: Any, populations: np.ndarray) -> np.ndarray:
    slices = molecule.aoslice_by_atom()[:, 2:]
    electrons = np.array([populations[start:stop].sum() for start, stop in slices])
    return molecule.atom_charges() - electrons
