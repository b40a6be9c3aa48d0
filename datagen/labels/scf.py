"""A converged electron density in the field of the MM charges, or an error; never less.

PySCF accepts the wrappers in any order but is right in one only: functional, density fitting,
charges (`mean_field`), second-order solver (last rung). Other orders run silently with wrong
forces, no MM gradient, or wrong energies.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pyscf.qmmm.itrf import QMMMSCF

from datagen.errors import SCFNotConvergedError
from datagen.labels.accelerated.charge_integrals import potential_matrix
from datagen.labels.accelerated.two_grids import TwoGridIntegrator, converge_on_two_grids
from datagen.labels.method import Method
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import BOHR

_GUESSES = ("minao", "atom")
_fitting_bases: dict[tuple[str, str | None, tuple[str, ...]], dict[str, Any]] = {}
"""By basis set, name of the fitting set and elements, as PySCF reads them from its files."""


@dataclass(frozen=True)
class Converged:
    """A self-consistent solution and how it was reached."""

    mean_field: Any  # the PySCF object
    rung: str  # warm, minao, atom, level_shift or newton


class HeldCharges(QMMMSCF):
    """PySCF's QM/MM object, which goes through its charges once instead of in every run."""

    _keys: ClassVar[set[str]] = {"_held_hcore"}
    _held_hcore = None

    def get_hcore(self, mol: Any = None) -> np.ndarray:
        """One-electron energies, those in the field of the charges included, (nao, nao)."""
        if self._held_hcore is None:
            sites, charges = self.mm_mol.atom_coords(), self.mm_mol.atom_charges()
            in_charges = potential_matrix(self.mol, sites, charges)
            self._held_hcore = self.undo_qmmm().get_hcore() + in_charges
        return self._held_hcore.copy()


def mean_field(molecule: Any, frame: Frame, method: Method) -> Any:
    """Mean-field object of the QM region in its charges, not yet run.

    Parameters
    ----------
    molecule
        From `datagen.labels.molecule.build_molecule`.
    frame
        Its MM charges; without any the object is a plain gas-phase one.
    method
        The level of theory.

    Returns
    -------
    pyscf.scf.hf.SCF
        Restricted for spin multiplicity 1, else unrestricted.
    """
    from pyscf import lib
    from pyscf.qmmm.mm_mole import Mole

    field = _bare_mean_field(molecule, method)
    field.disp = method.dispersion
    field.conv_tol, field.conv_tol_grad = method.conv_tol, method.conv_tol_grad
    field.max_cycle = method.max_cycle
    field.chkfile = None  # a checkpoint file every cycle, for nothing
    if method.density_fit:
        field = field.density_fit()
        field.with_df.auxbasis = _fitting_basis(molecule, field.with_df.auxbasis)
    if frame.n_mm:
        sites = np.asarray(frame.mm_positions, dtype=np.float64) / BOHR
        charges = np.asarray(frame.mm_charges, dtype=np.float64)
        # What qmmm.mm_charge does, without its loop over the sites, one text at a time.
        held = HeldCharges(field, Mole([(0, site) for site in sites], charges=charges))
        field = lib.set_class(held, (HeldCharges, type(field)))
    return field


def converge(field: Any, density: np.ndarray | None = None) -> Converged:
    """Climb the rescue ladder until the SCF converges.

    Rungs: the given density (`warm`), atomic guesses (`minao`, `atom`), damping with a level shift
    and a longer DIIS memory, and the second-order solver, whose density is confirmed by ordinary
    cycles so that every label ends in the same way.

    Parameters
    ----------
    field
        From `mean_field`.
    density : (nao, nao) or (2, nao, nao), optional
        Where to start; without one the first rung is left out.

    Raises
    ------
    SCFNotConvergedError
        When the last rung fails as well.
    """
    if density is not None and _run(field, density):
        return Converged(field, "warm")
    for guess in _GUESSES:
        if _run(field, _guess(field, guess)):
            return Converged(field, guess)
    if _run_damped(field):
        return Converged(field, "level_shift")
    if _run_second_order(field):
        return Converged(field, "newton")
    raise SCFNotConvergedError(
        f"the SCF did not converge within {field.max_cycle} cycles on any rung (last: newton); "
        "look at the geometry, or raise max_cycle"
    )


def _bare_mean_field(molecule: Any, method: Method) -> Any:
    from pyscf import dft, scf

    restricted = molecule.spin == 0
    if not method.is_dft:
        return (scf.RHF if restricted else scf.UHF)(molecule)
    field = (dft.RKS if restricted else dft.UKS)(molecule, xc=method.functional)
    field.grids.level = method.grid_level
    if TwoGridIntegrator.supports(field):
        field.grids.build(with_non0tab=True, sort_grids=False)
        field._numint = TwoGridIntegrator(field.grids, field.xc)
    return field


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


def _guess(field: Any, key: str) -> np.ndarray:
    with warnings.catch_warnings():
        # PySCF's own atomic calculations call a function that PySCF deprecates.
        warnings.filterwarnings("ignore", "remove_linear_dep_", DeprecationWarning)
        return np.asarray(field.get_init_guess(key=key))


def _run(field: Any, density: np.ndarray) -> bool:
    if isinstance(getattr(field, "_numint", None), TwoGridIntegrator):
        return converge_on_two_grids(field, density)
    return _run_plainly(field, density)


def _run_plainly(field: Any, density: np.ndarray) -> bool:
    """On the fine grid from the first cycle: the end of the rungs that rescue."""
    field.kernel(dm0=density)
    return bool(field.converged) and bool(np.isfinite(field.e_tot))


def _run_damped(field: Any) -> bool:
    """Small steps towards a solution, then ordinary cycles from it."""
    ordinary = field.level_shift, field.damp, field.diis_space
    field.level_shift, field.damp, field.diis_space = 0.3, 0.3, 14
    try:
        field.kernel(dm0=_guess(field, "minao"))
    finally:
        field.level_shift, field.damp, field.diis_space = ordinary
    return _run_plainly(field, field.make_rdm1())


def _run_second_order(field: Any) -> bool:
    solver = field.newton()
    solver.kernel(_guess(field, "minao"))
    return _run_plainly(field, solver.make_rdm1())
