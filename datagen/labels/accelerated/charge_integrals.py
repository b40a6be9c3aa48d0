"""Integrals of the electron density with point charges, each kind in one pass over the charges.

With D the total density, Z_A the nuclear charges and r_k the sites, in atomic units,

    h_μν = −Σ_k q_k ⟨μ| 1/|r − r_k| |ν⟩                                    (potential_matrix)
    V_k = Σ_A Z_A / |r_k − R_A| − Σ_μν D_μν ⟨μ| 1/|r − r_k| |ν⟩            (site_potential)
    −∂V_k/∂r_k = Σ_A Z_A (r_k − R_A)/|r_k − R_A|³ + 2 Σ_μν D_μν ⟨∇μ| 1/|r − r_k| |ν⟩
    ∂E/∂R_A ∋ 2 Σ_{μ∈A} Σ_ν D_μν Σ_k q_k ⟨∇μ| 1/|r − r_k| |ν⟩             (site_gradients)

The last two need the same integrals, which dominate: a wide QM/MM program goes through them
twice, once of them as three-centre integrals with a sharp Gaussian for every charge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_BLOCK = 104  # sites that the integral library works on at once


@dataclass(frozen=True, eq=False)
class SiteGradients:
    """Derivatives of Σ_k q_k V_k at a fixed density matrix."""

    field: np.ndarray
    """−∂V_k/∂r_k at every site, (n_sites, 3), Hartree/(e·Bohr)."""

    by_atom: np.ndarray
    """Derivative of Σ_k q_k V_k by the nuclei and the basis functions on them, (n_atoms, 3),
    Hartree/Bohr."""


def potential_matrix(molecule: Any, sites: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """Energy operator of an electron in the potential of the charges.

    Parameters
    ----------
    molecule
        PySCF molecule.
    sites : (n_sites, 3)
        Bohr.
    charges : (n_sites,)
        e.

    Returns
    -------
    (nao, nao), Hartree
    """
    matrix = np.zeros(molecule.nao**2)
    for block, integrals in _integrals(molecule, sites, "int1e_grids", hermi=1):
        matrix -= integrals[0] @ charges[block]
    return matrix.reshape(molecule.nao, molecule.nao)


def site_potential(molecule: Any, density: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Electrostatic potential of nuclei and electrons at the sites.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.
    sites : (n_sites, 3)
        Bohr.

    Returns
    -------
    (n_sites,), Hartree/e
    """
    potential = np.empty(len(sites))
    for block, integrals in _integrals(molecule, sites, "int1e_grids", hermi=1):
        potential[block] = -density.ravel() @ integrals[0]
    for charge, position in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        potential += charge / np.linalg.norm(sites - position, axis=1)
    return potential


def site_gradients(
    molecule: Any, density: np.ndarray, sites: np.ndarray, charges: np.ndarray
) -> SiteGradients:
    """What the sites feel, and what they do to nuclei and basis functions.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.
    sites : (n_sites, 3)
        Bohr.
    charges : (n_sites,)
        e.

    Returns
    -------
    SiteGradients
    """
    nao = molecule.nao
    field, matrix = np.empty((len(sites), 3)), np.zeros((3, nao**2))
    for block, integrals in _integrals(molecule, sites, "int1e_grids_ip"):
        for x in range(3):
            field[block, x] = 2.0 * density.ravel() @ integrals[x]
            matrix[x] += integrals[x] @ charges[block]
    # The derivative is on the function of the second index, the slower one in memory.
    by_function = 2.0 * np.einsum("xji,ji->xi", matrix.reshape(3, nao, nao), density)
    by_atom = np.empty((molecule.natm, 3))
    nuclei = zip(
        molecule.atom_charges(), molecule.atom_coords(), molecule.aoslice_by_atom(), strict=True
    )
    for atom, (charge, position, (_, _, start, stop)) in enumerate(nuclei):
        separation = sites - position
        of_nucleus = charge * separation / np.linalg.norm(separation, axis=1, keepdims=True) ** 3
        field += of_nucleus
        by_atom[atom] = by_function[:, start:stop].sum(1) + charges @ of_nucleus
    return SiteGradients(field, by_atom)


def sharp_gaussian_sites(
    molecule: Any, density: np.ndarray, sites: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """V_k and −∂V_k/∂r_k by other integrals: the slow way, to check a few sites against.

    A charge is an s function of an enormous exponent here, and the derivative is by its centre
    rather than by those of the basis functions.

    Parameters
    ----------
    molecule
        PySCF molecule.
    density : (nao, nao)
        Total (spin-summed) density matrix.
    sites : (n_sites, 3)
        Bohr.

    Returns
    -------
    (n_sites,), Hartree/e, and (n_sites, 3), Hartree/(e·Bohr)
    """
    from pyscf.df.incore import aux_e2
    from pyscf.gto import fakemol_for_charges

    sharp = fakemol_for_charges(sites)
    potential = -np.einsum("ijk,ij->k", aux_e2(molecule, sharp, "int3c2e"), density)
    slopes = aux_e2(molecule, sharp, "int3c2e_ip2", comp=3)
    field = -np.einsum("xijk,ij->kx", slopes, density)
    for charge, position in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        separation = sites - position
        distance = np.linalg.norm(separation, axis=1, keepdims=True)
        potential += charge / distance[:, 0]
        field += charge * separation / distance**3
    return potential, field


def _integrals(
    molecule: Any, sites: np.ndarray, kind: str, **options: Any
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of sites and their integrals as they lie in memory, (components, nao · nao, block)."""
    for start in range(0, len(sites), _BLOCK):
        block = slice(start, start + _BLOCK)
        integrals = molecule.intor(kind, grids=sites[block], **options)
        n_sites, nao = integrals.shape[-3], integrals.shape[-1]
        integrals = integrals.reshape(-1, n_sites, nao, nao).transpose(0, 3, 2, 1)
        yield block, integrals.reshape(-1, nao * nao, n_sites)
