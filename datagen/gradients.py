"""Derivatives of the QM/MM energy: forces on QM atoms and MM sites, potential at the MM sites.

With D the total density, Z_A the nuclear charges and r_k the MM sites, in atomic units,

    V_k = dE/dq_k = Σ_A Z_A / |r_k − R_A| − Σ_μν D_μν ⟨μ| 1/|r − r_k| |ν⟩
    dE/dr_k = −q_k Σ_A Z_A (r_k − R_A) / |r_k − R_A|³ − 2 q_k Σ_μν D_μν ⟨∇μ| 1/|r − r_k| |ν⟩

where the derivative of the integral has been moved onto the basis functions. The integrals of
many sites come from one call, which is faster than going through three-centre integrals with a
sharp Gaussian for every charge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf.qmmm.itrf import QMMMGrad

from datagen.errors import LabelCheckError
from eqmm_ase.units import HARTREE, HARTREE_PER_BOHR

_INTEGRAL_MEMORY = 64e6  # bytes in one block of integrals; larger blocks are not faster


def qm_forces(field: Any) -> np.ndarray:
    """Forces on the QM atoms.

    The integration grid and the auxiliary basis move with the atoms, and their response is
    included: without it forces are not the derivative of the energy (3e-5 Hartree/Bohr at grid
    level 3) and momentum is not conserved.

    Parameters
    ----------
    field
        A converged PySCF mean-field object, with or without MM charges.

    Returns
    -------
    (n_qm, 3), eV/Å

    Raises
    ------
    LabelCheckError
        When the charges were wrapped in an order that loses their gradient.
    """
    gradient = field.nuc_grad_method()
    if hasattr(field, "mm_mol") and not isinstance(gradient, QMMMGrad):
        raise LabelCheckError(
            f"PySCF made the gradient {type(gradient).__name__}, which leaves out the MM charges"
        )
    gradient.verbose = 0
    if hasattr(gradient, "grid_response"):
        gradient.grid_response = True
    if hasattr(gradient, "auxbasis_response"):
        gradient.auxbasis_response = True
    return -np.asarray(gradient.kernel()) * HARTREE_PER_BOHR


def mm_potential(molecule: Any, density: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Electrostatic potential of the QM region at the MM sites, dE/dq_k.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.
    sites : (n_mm, 3)
        Bohr.

    Returns
    -------
    (n_mm,), V
    """
    potential = np.empty(len(sites))
    for block in _blocks(molecule, len(sites), components=1):
        integrals = molecule.intor("int1e_grids", hermi=1, grids=sites[block])
        potential[block] = -np.einsum("kij,ij->k", integrals, density, optimize=True)
    for charge, position in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        potential += charge / np.linalg.norm(sites - position, axis=1)
    return potential * HARTREE


def mm_forces(
    molecule: Any, density: np.ndarray, sites: np.ndarray, charges: np.ndarray
) -> np.ndarray:
    """Forces of the QM region on the MM sites, −dE/dr_k.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.
    sites : (n_mm, 3)
        Bohr.
    charges : (n_mm,)
        e.

    Returns
    -------
    (n_mm, 3), eV/Å
    """
    field = np.empty((len(sites), 3))  # −dV/dr_k
    for block in _blocks(molecule, len(sites), components=3):
        integrals = molecule.intor("int1e_grids_ip", grids=sites[block])
        field[block] = 2.0 * np.einsum("xkij,ji->kx", integrals, density, optimize=True)
    for charge, position in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        separation = sites - position
        field += charge * separation / np.linalg.norm(separation, axis=1, keepdims=True) ** 3
    return charges[:, None] * field * HARTREE_PER_BOHR


def _blocks(molecule: Any, n_sites: int, components: int) -> list[slice]:
    bytes_per_site = 8 * components * molecule.nao**2
    size = max(1, int(_INTEGRAL_MEMORY / bytes_per_site))
    return [slice(start, start + size) for start in range(0, n_sites, size)]
