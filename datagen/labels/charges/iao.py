"""IAO charges: Löwdin populations of intrinsic atomic orbitals.

These orbitals, as many as a minimal basis has, are polarised by the molecule so that they hold its
occupied orbitals exactly: the charges lose no electron and hardly depend on the basis set.

Source: G. Knizia, J. Chem. Theory Comput. 9, 4834 (2013); PySCF's orbitals and reference basis.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from datagen.errors import InvalidFrameError
from datagen.labels.charges.density import ElectronDensity
from datagen.labels.charges.populations import by_atom
from datagen.labels.charges.shares import AtomicCharges

_REFERENCE_BASIS = "minao"


def iao(density: ElectronDensity) -> AtomicCharges:
    """IAO charges of a molecule that `check_reference_basis` accepts; spins have their own."""
    from pyscf import lo

    molecule, field, overlap = density.molecule, density.field, density.overlap
    reference = lo.iao.reference_mol(molecule, _REFERENCE_BASIS)
    populations = np.zeros(reference.nao)
    restricted = np.ndim(field.mo_occ) == 1
    for orbitals, occupations in zip(
        [field.mo_coeff] if restricted else field.mo_coeff,
        [field.mo_occ] if restricted else field.mo_occ,
        strict=True,
    ):
        occupied = orbitals[:, occupations > 0]
        if occupied.shape[1] == 0:  # one electron: no orbital of the other spin
            continue
        atomic = lo.vec_lowdin(lo.iao.iao(molecule, occupied, _REFERENCE_BASIS), overlap)
        shares = (atomic.T @ overlap @ occupied) ** 2
        populations += shares @ occupations[occupations > 0]
    return AtomicCharges(molecule.atom_charges() - by_atom(reference, populations))


def check_reference_basis(molecule: Any) -> None:
    """Refuse a molecule that PySCF's minimal reference basis does not describe.

    Raises
    ------
    InvalidFrameError
        Naming the element: the basis lacks it, or it has a core potential.
    """
    for atom in range(molecule.natm):
        element = molecule.atom_pure_symbol(atom)
        if molecule.atom_nelec_core(atom) or not _has_reference(element):
            raise InvalidFrameError(
                f"IAO charges have no minimal reference basis for {element} in this basis set; "
                "leave iao out"
            )


def _has_reference(element: str) -> bool:
    from pyscf import gto
    from pyscf.lib.exceptions import BasisNotFoundError

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*basis-set-exchange", UserWarning)  # an advice
            gto.basis.load(_REFERENCE_BASIS, element)
    except BasisNotFoundError:
        return False
    return True
