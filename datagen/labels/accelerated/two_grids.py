"""Kohn–Sham SCF on a coarse grid that a few looks at the fine one keep right.

The exchange-correlation energy on the fine grid is, around a density D₀,

    E_fine(D) = E_coarse(D) + [E_fine − E_coarse](D₀) + tr[(V_fine − V_coarse)(D₀) (D − D₀)] + …,

and what is left out is the second derivative of a small difference. The SCF therefore runs on the
coarse grid with this correction, D₀ is renewed at its solution, and two or three renewals make
that the solution on the fine grid: energy, Fock matrix and orbital gradient that decide about
convergence are those of the fine grid alone. Ten evaluations there become three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscf.dft.numint import NumInt

from datagen.labels.accelerated.xc_grid import XCGrid

_COARSE_LEVEL = 0
_LOOSE = 1e-2  # orbital gradient at which the coarse solution is worth a first correction
_MOST_CORRECTIONS = 6


@dataclass(frozen=True, eq=False)
class _Correction:
    """What the fine grid adds to the coarse one around a density."""

    density: np.ndarray  # (n_spin, nao, nao)
    energy: float
    potential: np.ndarray


class TwoGridIntegrator(NumInt):
    """Takes the place of PySCF's integrator in a Kohn–Sham object.

    Parameters
    ----------
    grids
        The fine grid, a `pyscf.dft.Grids`.
    functional
        One that `supports` accepts.
    """

    def __init__(self, grids: Any, functional: str) -> None:
        super().__init__()
        coarse = type(grids)(grids.mol)
        coarse.level = min(_COARSE_LEVEL, grids.level)
        self.fine = XCGrid(grids, functional)
        self.coarse = XCGrid(coarse, functional, keep=True)
        self._in_use = self.fine
        self._correction: _Correction | None = None

    @staticmethod
    def supports(field: Any) -> bool:
        """Whether the functional of a Kohn–Sham object needs no more than ρ and ∇ρ."""
        return field._numint._xc_type(field.xc) in ("LDA", "GGA") and not field.do_nlc()

    def use_fine(self) -> None:
        """Integrate on the fine grid."""
        self._in_use, self._correction = self.fine, None

    def use_coarse(self) -> None:
        """Integrate on the coarse grid alone."""
        self._in_use, self._correction = self.coarse, None

    def use_corrected(self, density: np.ndarray) -> None:
        """Integrate on the coarse grid, right to first order around a density."""
        density = _by_spin(density)
        _, energy, potential = self.fine.energy_and_potential(density)
        _, coarse_energy, coarse_potential = self.coarse.energy_and_potential(density)
        self._in_use = self.coarse
        self._correction = _Correction(
            density, energy - coarse_energy, potential - coarse_potential
        )

    def nr_rks(self, mol: Any, grids: Any, xc_code: str, dms: Any, *_: Any, **__: Any) -> Any:
        """PySCF's interface for closed shells: electrons, energy and potential."""
        electrons, energy, potential = self._evaluate(_by_spin(dms))
        return electrons[0], energy, potential[0]

    def nr_uks(self, mol: Any, grids: Any, xc_code: str, dms: Any, *_: Any, **__: Any) -> Any:
        """PySCF's interface for open shells: electrons, energy and potentials."""
        return self._evaluate(_by_spin(dms))

    def _evaluate(self, density: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        electrons, energy, potential = self._in_use.energy_and_potential(density)
        if self._correction is not None:
            step = density - self._correction.density
            energy += self._correction.energy + float(np.vdot(self._correction.potential, step))
            potential = potential + self._correction.potential
        return electrons, energy, potential


def converge_on_two_grids(field: Any, density: np.ndarray) -> bool:
    """Run a Kohn–Sham object to self-consistency on its fine grid.

    Parameters
    ----------
    field
        PySCF object whose integrator is a `TwoGridIntegrator`; at the end it holds a solution
        like after its own ``kernel``.
    density : (nao, nao) or (2, nao, nao)
        Where to start.

    Returns
    -------
    bool
        Whether the orbital gradient on the fine grid fell below the threshold of the object.
    """
    thresholds, check = (field.conv_tol, field.conv_tol_grad), field.conv_check
    integrator = field._numint
    try:
        field.conv_check = False
        field.conv_tol, field.conv_tol_grad = max(_LOOSE**2, thresholds[0]), _LOOSE
        integrator.use_coarse()
        field.kernel(dm0=density)
        # The inner cycles leave room for what the next look at the fine grid will find.
        field.conv_tol, field.conv_tol_grad = thresholds[0], 0.3 * thresholds[1]
        for _ in range(_MOST_CORRECTIONS):
            if not field.converged:
                return False
            integrator.use_corrected(field.make_rdm1())
            if _accept(field, thresholds[1]):
                return True
            field.kernel(dm0=field.make_rdm1())
        return False
    finally:
        field.conv_check = check
        field.conv_tol, field.conv_tol_grad = thresholds
        integrator.use_fine()


def _accept(field: Any, threshold: float) -> bool:
    """Energy and orbitals at the present density, where the correction is exact."""
    density = field.make_rdm1()
    hcore = field.get_hcore()
    potential = field.get_veff(dm=density)
    fock = field.get_fock(h1e=hcore, vhf=potential, dm=density)
    if np.linalg.norm(field.get_grad(field.mo_coeff, field.mo_occ, fock)) > threshold:
        return False
    field.e_tot = field.energy_tot(density, hcore, potential)
    field.mo_energy, field.mo_coeff = _canonical(fock, field.mo_coeff, field.mo_occ)
    return True


def _canonical(
    fock: np.ndarray, orbitals: np.ndarray, occupations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the orbitals among the occupied and among the empty ones; the density stays."""
    if np.ndim(occupations) == 2:
        spins = [_canonical(*x) for x in zip(fock, orbitals, occupations, strict=True)]
        return np.stack([e for e, _ in spins]), np.stack([c for _, c in spins])
    energies, turned = np.empty(len(occupations)), np.empty_like(orbitals)
    for some in (occupations > 0, occupations == 0):
        energies[some], rotation = np.linalg.eigh(orbitals[:, some].T @ fock @ orbitals[:, some])
        turned[:, some] = orbitals[:, some] @ rotation
    return energies, turned


def _by_spin(density: Any) -> np.ndarray:
    matrices = np.asarray(density, dtype=np.float64)
    return matrices.reshape(-1, *matrices.shape[-2:])
