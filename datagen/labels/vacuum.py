"""The energy of the QM region at the same geometry without the charges around it."""

from __future__ import annotations

from typing import Any

from datagen.errors import SCFNotConvergedError
from datagen.labels.method import Method
from datagen.labels.scf import converge, mean_field
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import HARTREE

_SHARED = ("with_df", "grids", "_eri")  # what depends on the atoms only


def vacuum_energy(frame: Frame, embedded: Any, method: Method) -> float:
    """Energy of the QM region alone, by the same method.

    The calculation starts from the embedded density, so that both belong to the same electronic
    state, and takes over the integrals and the grid, which do not know of the charges.

    Parameters
    ----------
    frame
        The QM region in its charges; without any the embedded energy is the answer.
    embedded
        Converged PySCF mean-field object in the charges.
    method
        The level of theory.

    Returns
    -------
    eV

    Raises
    ------
    SCFNotConvergedError
        When it does not converge without the charges.
    """
    if frame.n_mm == 0:
        return float(embedded.e_tot) * HARTREE
    alone = mean_field(embedded.mol, frame.in_vacuum(), method)
    for name in _SHARED:
        if hasattr(alone, name):
            setattr(alone, name, getattr(embedded, name))
    try:
        solution = converge(alone, embedded.make_rdm1())
    except SCFNotConvergedError as error:
        raise SCFNotConvergedError(f"without the charges, {error}") from error
    return float(solution.mean_field.e_tot) * HARTREE
