"""Self-consistent field in the MM charges: a converged density or an error, never less."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from datagen.errors import SCFNotConvergedError
from datagen.labels.backend import Backend

_GUESSES = ("minao", "atom")


@dataclass(frozen=True)
class Converged:
    """A self-consistent solution and how it was reached."""

    mean_field: Any  # the PySCF object
    stage: str  # warm, minao, atom, level_shift or newton


def converge(backend: Backend, field: Any, density: np.ndarray | None = None) -> Converged:
    """Go through the SCF fallback stages until one converges.

    The stages: the given density (`warm`), atomic guesses (`minao`, `atom`), damping with a level
    shift and a longer DIIS memory (`level_shift`), and the second-order solver (`newton`), whose
    density is confirmed by ordinary cycles so that every label ends in the same way.

    Parameters
    ----------
    backend
        Which made the mean field.
    field
        From its `mean_field`.
    density : (nao, nao) or (2, nao, nao), optional
        Where to start; without one the first stage is left out.

    Raises
    ------
    SCFNotConvergedError
        When the last stage fails as well.
    """
    if density is not None and backend.run(field, density):
        return Converged(field, "warm")
    for guess in _GUESSES:
        if backend.run(field, _guess(field, guess)):
            return Converged(field, guess)
    if _run_damped(field):
        return Converged(field, "level_shift")
    if _run_second_order(field):
        return Converged(field, "newton")
    raise SCFNotConvergedError(
        f"the SCF did not converge within {field.max_cycle} cycles at any fallback stage (last: "
        "newton); look at the geometry, or raise max_cycle"
    )


def _guess(field: Any, key: str) -> np.ndarray:
    with warnings.catch_warnings():
        # PySCF's own atomic calculations call a function that PySCF deprecates.
        warnings.filterwarnings("ignore", "remove_linear_dep_", DeprecationWarning)
        return np.asarray(field.get_init_guess(key=key))


def _run_damped(field: Any) -> bool:
    """Small steps towards a solution, then ordinary cycles from it."""
    ordinary = field.level_shift, field.damp, field.diis_space
    field.level_shift, field.damp, field.diis_space = 0.3, 0.3, 14
    try:
        field.kernel(dm0=_guess(field, "minao"))
    finally:
        field.level_shift, field.damp, field.diis_space = ordinary
    return _run_ordinary(field, field.make_rdm1())


def _run_second_order(field: Any) -> bool:
    solver = field.newton()
    # By name: GPU4PySCF takes what comes first for orbitals, and those of the stage before stay.
    solver.kernel(dm0=_guess(field, "minao"))
    return _run_ordinary(field, solver.make_rdm1())


def _run_ordinary(field: Any, density: np.ndarray) -> bool:
    """The program's own cycles without any shortcut: the end of the stages that rescue."""
    field.kernel(dm0=density)
    return bool(field.converged) and bool(np.isfinite(field.e_tot))
