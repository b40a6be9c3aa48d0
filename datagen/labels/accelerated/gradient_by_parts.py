"""Gradient of a fitted energy at the nuclei, taken apart.

    one-electron and nuclear terms, dispersion       PySCF
    fitted Coulomb and exchange                      datagen.labels.accelerated.fitted_gradient
    functional, with points and weights of the grid  datagen.labels.accelerated.xc_grid

What the last two do not cover (four-centre integrals, range separation, meta-GGA, non-local
correlation) is left to PySCF altogether, which comes to the same numbers in two to three times
the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datagen.labels.accelerated.fitted_gradient import fitted_gradient
from datagen.labels.accelerated.two_grids import TwoGridIntegrator


def covers_gradient(bare: Any) -> bool:
    """Whether `gradient_by_parts` can differentiate the energy of a PySCF object."""
    if getattr(bare, "with_df", None) is None:
        return False
    integrator = getattr(bare, "_numint", None)
    if integrator is None:
        return True
    return isinstance(integrator, TwoGridIntegrator) and _range_and_exchange(bare)[0] == 0.0


def gradient_by_parts(bare: Any) -> np.ndarray:
    """Derivative of a converged energy by the nuclei, without the part of the charges.

    Parameters
    ----------
    bare
        PySCF object that `covers_gradient` accepts, its charges taken off.

    Returns
    -------
    (n_qm, 3), Hartree/Bohr
    """
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


def _range_and_exchange(bare: Any) -> tuple[float, float]:
    """Range separation parameter and fraction of exact exchange."""
    omega, _, fraction = bare._numint.rsh_and_hybrid_coeff(bare.xc, spin=bare.mol.spin)
    return omega, fraction
