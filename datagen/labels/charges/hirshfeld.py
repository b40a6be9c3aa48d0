"""Hirshfeld charges and atomic dipoles: shares of space by the densities of the free atoms.

    w_A(r) = ρ_A⁰(|r − R_A|) / Σ_B ρ_B⁰(|r − R_B|)        q_A = Z_A − ∫ ρ w_A dr

The free atoms are neutral and spherical, computed with the same functional and basis set (and core
potential) with fractional occupations of the open shells, once for each element and process.

Source: F. L. Hirshfeld, Theor. Chim. Acta 44, 129 (1977).
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from datagen.errors import LabelCheckError
from datagen.labels.charges.density import ElectronDensity
from datagen.labels.charges.shares import AtomicCharges, from_shares
from datagen.labels.charges.slater_shells import distances_to

_RADII = np.concatenate([np.linspace(0.0, 0.2, 81), np.geomspace(0.2, 25.0, 401)[1:]])
"""Bohr. The logarithm of the density interpolates between them to 1e-4."""

_SMALLEST = 1e-250
"""Electrons/Bohr³: a positive number that is nothing."""


def hirshfeld(density: ElectronDensity) -> AtomicCharges:
    """Hirshfeld charges and atomic dipoles."""
    molecule, field = density.molecule, density.field
    functional = getattr(field, "xc", "hf")
    logarithms = [
        _free_atom(
            molecule.atom_pure_symbol(atom),
            str(molecule.basis),
            molecule.ecp.get(molecule.atom_symbol(atom)) if molecule.ecp else None,
            functional,
        )
        for atom in range(molecule.natm)
    ]
    nuclei = molecule.atom_coords()

    def shares(points: np.ndarray) -> np.ndarray:
        distances = distances_to(nuclei, points).clip(max=_RADII[-1])
        atoms = np.array([of(r) for of, r in zip(logarithms, distances, strict=True)])
        atoms = np.exp(atoms - atoms.max(0))
        return atoms / atoms.sum(0)

    return from_shares(density, shares)


@lru_cache(maxsize=128)
def _free_atom(symbol: str, basis: str, core_potential: str | None, functional: str) -> Any:
    """Natural logarithm of the density of a neutral spherical atom against the radius in Bohr."""
    from pyscf import gto

    ecp = {symbol: core_potential} if core_potential else {}
    electrons = gto.M(atom=symbol, basis=basis, ecp=ecp, spin=None, verbose=0)
    points = _RADII[:, None] * [0.0, 0.0, 1.0]
    orbitals, occupations = _spherical_orbitals(electrons, functional)
    values = electrons.eval_gto("GTOval_sph", points) @ orbitals
    density = values**2 @ occupations
    return CubicSpline(_RADII, np.log(np.maximum(density, _SMALLEST)))


def _spherical_orbitals(atom: Any, functional: str) -> tuple[np.ndarray, np.ndarray]:
    """Orbitals (nao, nmo) and occupations (nmo,) of PySCF's spherically averaged atom."""
    from pyscf.data.elements import NRSRHFS_CONFIGURATION
    from pyscf.scf.atom_hf import get_atm_nrhf
    from pyscf.scf.atom_ks import AtomSphericAverageRKS
    from pyscf.scf.dispersion import parse_dft

    with warnings.catch_warnings():
        # PySCF's own atomic calculations call a function that PySCF deprecates.
        warnings.filterwarnings("ignore", "remove_linear_dep_", DeprecationWarning)
        ((_, _, orbitals, occupations),) = get_atm_nrhf(atom).values()
        if functional == "hf":
            return orbitals, occupations
        # Not PySCF's get_atm_nrks, whose own starting density knows no core potentials.
        field = AtomSphericAverageRKS(atom, xc=parse_dft(functional)[0])
        field.atomic_configuration = NRSRHFS_CONFIGURATION
        field.nlc = False  # nonlocal correlation costs a minute and leaves the density as it is
        field.kernel(dm0=(orbitals * occupations) @ orbitals.T)
    if not field.converged:
        raise LabelCheckError(
            f"the free {atom.atom_symbol(0)} atom of the Hirshfeld charges did not converge"
        )
    return field.mo_coeff, field.mo_occ
