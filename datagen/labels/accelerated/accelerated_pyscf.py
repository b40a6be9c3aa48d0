"""Labels by PySCF with kernels of our own where PySCF's take most of the time.

    two_grids          the functional in the SCF
    charge_integrals   what the point charges do, in one pass over the sites for each kind
    gradient_by_parts  the gradient at the nuclei

A method that a kernel does not cover goes the plain way, to the same labels.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pyscf.qmmm.itrf import QMMMSCF

from datagen.labels.accelerated.charge_integrals import (
    potential_matrix,
    site_gradients,
    site_potential,
)
from datagen.labels.accelerated.gradient_by_parts import covers_gradient, gradient_by_parts
from datagen.labels.accelerated.two_grids import TwoGridIntegrator, converge_on_two_grids
from datagen.labels.backend import Gradients, mm_sites, total_density
from datagen.labels.method import Method
from datagen.labels.plain_pyscf import (
    PlainPySCF,
    bare_mean_field,
    gradient_object,
    plain_gradient,
)
from eqmm_ase.data.frame import Frame

_fitting_bases: dict[tuple[str, str | None, tuple[str, ...]], dict[str, Any]] = {}
"""By basis set, name of the fitting set and elements, as PySCF reads them from its files."""


class InFixedCharges(QMMMSCF):
    """PySCF's QM/MM object, which goes through its charges once instead of in every run."""

    _keys: ClassVar[set[str]] = {"_kept_hcore"}
    _kept_hcore = None

    def get_hcore(self, mol: Any = None) -> np.ndarray:
        """One-electron energies, those in the field of the charges included, (nao, nao)."""
        if self._kept_hcore is None:
            sites, charges = self.mm_mol.atom_coords(), self.mm_mol.atom_charges()
            in_charges = potential_matrix(self.mol, sites, charges)
            self._kept_hcore = self.undo_qmmm().get_hcore() + in_charges
        return self._kept_hcore.copy()


class AcceleratedPySCF(PlainPySCF):
    """Backend of our own kernels; what they do not cover is left to `PlainPySCF`."""

    def mean_field(self, molecule: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the QM region in its charges, not yet run."""
        field = bare_mean_field(molecule, method)
        if method.is_dft and TwoGridIntegrator.supports(field):
            field.grids.build(with_non0tab=True, sort_grids=False)
            field._numint = TwoGridIntegrator(field.grids, field.xc)
        if method.density_fit:
            field = field.density_fit()
            field.with_df.auxbasis = _fitting_basis(molecule, field.with_df.auxbasis)
        return _in_charges(field, frame) if frame.n_mm else field

    def run(self, field: Any, density: np.ndarray) -> bool:
        """Bring a mean field to self-consistency from a density matrix; whether it got there."""
        if isinstance(getattr(field, "_numint", None), TwoGridIntegrator):
            return converge_on_two_grids(field, density)
        return super().run(field, density)

    def site_potential(self, field: Any, sites: np.ndarray) -> np.ndarray:
        """Electrostatic potential of nuclei and electrons at the sites, (n,), Hartree/e."""
        return site_potential(field.mol, total_density(field), sites)

    def gradients(self, field: Any, sites: np.ndarray, charges: np.ndarray) -> Gradients:
        """Derivatives of a converged energy, those of the charges in one pass over the sites."""
        gradient_object(field)
        bare = field.undo_qmmm() if hasattr(field, "mm_mol") else field
        if covers_gradient(bare):
            by_atom = gradient_by_parts(bare)
        else:
            by_atom = plain_gradient(bare.nuc_grad_method())
        in_charges = site_gradients(field.mol, total_density(field), sites, charges)
        return Gradients(by_atom + in_charges.by_atom, -charges[:, None] * in_charges.field)


ACCELERATED = AcceleratedPySCF()
"""What computes labels unless another backend is asked for."""


def _in_charges(field: Any, frame: Frame) -> Any:
    """What `qmmm.mm_charge` does, without its loop over the sites, one text at a time."""
    from pyscf import lib
    from pyscf.qmmm.mm_mole import Mole

    sites, charges = mm_sites(frame)
    wrapped = InFixedCharges(field, Mole([(0, site) for site in sites], charges=charges))
    return lib.set_class(wrapped, (InFixedCharges, type(field)))


def _fitting_basis(molecule: Any, chosen: str | None) -> dict[str, Any]:
    """PySCF's choice, whose file takes longer to read than a small molecule to fit.

    It depends on the basis set and on whether the functional has exact exchange.
    """
    elements = {molecule.atom_symbol(atom) for atom in range(molecule.natm)}
    key = molecule.basis, chosen, tuple(sorted(elements))
    if key not in _fitting_bases:
        from pyscf.df import make_auxmol

        _fitting_bases[key] = make_auxmol(molecule, chosen)._basis
    return _fitting_bases[key]
