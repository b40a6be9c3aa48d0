"""Labels by PySCF as its examples use it: slow, and the reference for every other backend.

PySCF accepts its wrappers in any order but is right in one only: functional, density fitting,
charges, second-order solver. Other orders run silently with wrong forces, no MM gradient, or wrong
energies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datagen.errors import LabelCheckError
from datagen.labels.backend import Gradients, mm_sites, total_density
from datagen.labels.method import Method, program_versions
from eqmm_ase.data.frame import Frame

_SHARED = ("with_df", "grids", "_eri")  # what depends on the atoms only
_BLOCK = 200  # sites whose integrals are in memory at once


class PlainPySCF:
    """Backend of PySCF's own classes; see `datagen.labels.backend.Backend` for the methods."""

    def versions(self) -> dict[str, str]:
        """Versions of PySCF and what it calls, by name."""
        return program_versions()

    def mean_field(self, molecule: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the QM region in its charges, not yet run."""
        from pyscf import qmmm

        field = bare_mean_field(molecule, method)
        if method.density_fit:
            field = field.density_fit()
        if frame.n_mm:
            field = qmmm.mm_charge(field, *mm_sites(frame), unit="Bohr")
        return field

    def without_charges(self, field: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the same molecule in vacuum, not yet run."""
        alone = self.mean_field(field.mol, frame.in_vacuum(), method)
        for name in _SHARED:
            if hasattr(alone, name):
                setattr(alone, name, getattr(field, name))
        return alone

    def run(self, field: Any, density: np.ndarray) -> bool:
        """Bring a mean field to self-consistency from a density matrix; whether it got there."""
        field.kernel(dm0=density)
        return bool(field.converged) and bool(np.isfinite(field.e_tot))

    def interaction_energy(self, field: Any) -> float:
        """Energy of a density in its charges less that of the same density without, Hartree.

        Only the one-electron and nuclear terms know of the charges, so that the difference needs
        no second Fock matrix; the terms are those that PySCF added up for the energy.
        """
        if not hasattr(field, "mm_mol"):
            return 0.0
        bare = field.undo_qmmm()
        without = np.vdot(bare.get_hcore(), total_density(field)) + bare.energy_nuc()
        return float(field.scf_summary["e1"] + field.scf_summary["nuc"] - without)

    def site_potential(self, field: Any, sites: np.ndarray) -> np.ndarray:
        """Electrostatic potential of nuclei and electrons at the sites, (n,), Hartree/e."""
        molecule, density = field.mol, total_density(field)
        potential = np.empty(len(sites))
        for start in range(0, len(sites), _BLOCK):
            block = slice(start, start + _BLOCK)
            integrals = molecule.intor("int1e_grids", grids=sites[block])
            potential[block] = -np.einsum("kij,ij->k", integrals, density)
        add_nuclei(potential, molecule, sites)
        return potential

    def gradients(self, field: Any, sites: np.ndarray, charges: np.ndarray) -> Gradients:
        """Derivatives of a converged energy, by PySCF's gradient classes."""
        gradient = gradient_object(field)
        by_atom = plain_gradient(gradient)
        if not len(charges):
            return Gradients(by_atom, np.zeros((0, 3)))
        by_site = gradient.grad_hcore_mm(total_density(field)) + gradient.grad_nuc_mm()
        return Gradients(by_atom, by_site)


def bare_mean_field(molecule: Any, method: Method) -> Any:
    """PySCF object of the method, neither fitted nor in charges."""
    from pyscf import dft, scf

    restricted = molecule.spin == 0
    if method.is_dft:
        field = (dft.RKS if restricted else dft.UKS)(molecule, xc=method.functional)
        field.grids.level = method.grid_level
    else:
        field = (scf.RHF if restricted else scf.UHF)(molecule)
    field.disp = method.dispersion
    field.conv_tol, field.conv_tol_grad = method.conv_tol, method.conv_tol_grad
    field.max_cycle = method.max_cycle
    field.chkfile = None  # a checkpoint file every cycle, for nothing
    return field


def add_nuclei(potential: np.ndarray, molecule: Any, sites: np.ndarray) -> None:
    """Add what the nuclei contribute at sites (n, 3) in Bohr to a potential (n,) in Hartree/e."""
    for charge, position in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        potential += charge / np.linalg.norm(sites - position, axis=1)


def gradient_object(field: Any) -> Any:
    """PySCF's gradient of a mean field, made sure that it knows of the charges.

    Raises
    ------
    LabelCheckError
        When the charges were wrapped in an order that loses their gradient.
    """
    gradient = field.nuc_grad_method()
    if hasattr(field, "mm_mol") and not hasattr(gradient, "grad_hcore_mm"):
        raise LabelCheckError(
            f"PySCF made the gradient {type(gradient).__name__}, which leaves out the MM charges"
        )
    return gradient


def plain_gradient(gradient: Any) -> np.ndarray:
    """Derivative by the nuclei from a PySCF gradient object, (n_qm, 3), Hartree/Bohr."""
    gradient.verbose = 0
    for response in ("grid_response", "auxbasis_response"):
        if hasattr(gradient, response):
            setattr(gradient, response, True)
    return np.asarray(gradient.kernel())
