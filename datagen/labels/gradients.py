"""Derivatives of the QM/MM energy: forces on QM atoms and MM sites, potential at the MM sites.

The gradient of a converged energy at the nuclei is taken apart:

    one-electron and nuclear terms, dispersion       PySCF
    fitted Coulomb and exchange                      datagen.labels.accelerated.fitted_gradient
    functional, with points and weights of the grid  datagen.labels.accelerated.xc_grid
    point charges                                    datagen.labels.accelerated.charge_integrals

What the middle two do not cover (four-centre integrals, range separation, meta-GGA, non-local
correlation) is left to PySCF altogether, which comes to the same numbers in two to three times
the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf.qmmm.itrf import QMMMGrad

from datagen.errors import LabelCheckError
from datagen.labels.accelerated.charge_integrals import SiteGradients, site_potential
from datagen.labels.accelerated.fitted_gradient import fitted_gradient
from datagen.labels.accelerated.two_grids import TwoGridIntegrator
from eqmm_ase.units import HARTREE, HARTREE_PER_BOHR


def qm_forces(field: Any, in_charges: SiteGradients | None = None) -> np.ndarray:
    """Forces on the QM atoms.

    The integration grid and the auxiliary basis move with the atoms, and their response is
    included: without it forces are not the derivative of the energy (3e-5 Hartree/Bohr at grid
    level 3) and momentum is not conserved.

    Parameters
    ----------
    field
        A converged PySCF mean-field object, with or without MM charges.
    in_charges
        The part of the charges, from `datagen.labels.accelerated.charge_integrals.site_gradients`;
        None without any.

    Returns
    -------
    (n_qm, 3), eV/Å

    Raises
    ------
    LabelCheckError
        When the charges were wrapped in an order that loses their gradient.
    """
    bare = field
    if hasattr(field, "mm_mol"):
        gradient = field.nuc_grad_method()
        if not isinstance(gradient, QMMMGrad):
            raise LabelCheckError(
                f"PySCF made the gradient {type(gradient).__name__}, "
                "which leaves out the MM charges"
            )
        bare = field.undo_qmmm()
    total = _gradient_by_parts(bare) if _is_covered(bare) else _gradient_of_pyscf(bare)
    if in_charges is not None:
        total = total + in_charges.by_atom
    return -total * HARTREE_PER_BOHR


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
    return site_potential(molecule, density, sites) * HARTREE


def mm_forces(in_charges: SiteGradients, charges: np.ndarray) -> np.ndarray:
    """Forces of the QM region on the MM sites, −dE/dr_k.

    Parameters
    ----------
    in_charges
        From `datagen.labels.accelerated.charge_integrals.site_gradients`.
    charges : (n_mm,)
        e.

    Returns
    -------
    (n_mm, 3), eV/Å
    """
    return charges[:, None] * in_charges.field * HARTREE_PER_BOHR


def _is_covered(bare: Any) -> bool:
    if getattr(bare, "with_df", None) is None:
        return False
    integrator = getattr(bare, "_numint", None)
    if integrator is None:
        return True
    return isinstance(integrator, TwoGridIntegrator) and _range_and_exchange(bare)[0] == 0.0


def _range_and_exchange(bare: Any) -> tuple[float, float]:
    """Range separation parameter and fraction of exact exchange."""
    omega, _, fraction = bare._numint.rsh_and_hybrid_coeff(bare.xc, spin=bare.mol.spin)
    return omega, fraction


def _gradient_by_parts(bare: Any) -> np.ndarray:
    molecule, gradient = bare.mol, bare.nuc_grad_method()
    orbitals, energies = _occupied(bare)
    total = gradient.grad_nuc() + _one_electron_gradient(bare, gradient, orbitals, energies)
    if bare.do_disp():
        total += gradient.get_dispersion()
    integrator = getattr(bare, "_numint", None)
    exchange = 1.0
    if integrator is not None:
        exchange = _range_and_exchange(bare)[1]
        density = np.asarray(bare.make_rdm1())
        total += integrator.fine.gradient(density.reshape(-1, *density.shape[-2:]))
    return total + fitted_gradient(molecule, bare.with_df.auxmol, orbitals, exchange)


def _occupied(bare: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Occupied orbitals and their energies for both spins."""
    coefficients, energies, occupations = bare.mo_coeff, bare.mo_energy, bare.mo_occ
    if np.ndim(occupations) == 1:  # closed shells: the same orbitals twice
        coefficients, energies = [coefficients] * 2, [energies] * 2
        occupations = [occupations] * 2
    chosen = [occupation > 0 for occupation in occupations]
    return (
        [c[:, some] for c, some in zip(coefficients, chosen, strict=True)],
        [e[some] for e, some in zip(energies, chosen, strict=True)],
    )


def _one_electron_gradient(
    bare: Any, gradient: Any, orbitals: list[np.ndarray], energies: list[np.ndarray]
) -> np.ndarray:
    """Kinetic energy, nuclei and core potentials, and that orbitals stay orthonormal."""
    molecule = bare.mol
    density = sum(c @ c.T for c in orbitals)
    weighted = sum((c * e) @ c.T for c, e in zip(orbitals, energies, strict=True))
    overlap = gradient.get_ovlp(molecule)
    hcore = gradient.hcore_generator(molecule)
    total = np.empty((molecule.natm, 3))
    for atom, (_, _, start, stop) in enumerate(molecule.aoslice_by_atom()):
        own = slice(start, stop)
        total[atom] = np.einsum("xij,ij->x", hcore(atom), density)
        total[atom] -= 2.0 * np.einsum("xij,ij->x", overlap[:, own], weighted[own])
    return total


def _gradient_of_pyscf(bare: Any) -> np.ndarray:
    gradient = bare.nuc_grad_method()
    gradient.verbose = 0
    if hasattr(gradient, "grid_response"):
        gradient.grid_response = True
    if hasattr(gradient, "auxbasis_response"):
        gradient.auxbasis_response = True
    return np.asarray(gradient.kernel())
