"""Pro-density of MBIS: Slater shells that lie as near to a density as they can.

    ρ0(r) = Σ_A Σ_i N_Ai / (8π σ_Ai³) exp(−|r − R_A| / σ_Ai)

with one shell i for each row of the periodic table up to the atom's own. Populations N and widths
σ minimise the Kullback–Leibler divergence of ρ from ρ0, which is, up to a constant,

    F = Σ N − ∫ ρ ln ρ0 dr.

Where F is stationary, with w a shell's share of ρ0 and r the distance from its nucleus,

    N = ∫ ρ w dr        σ = ∫ ρ w r dr / 3N.

Inserting old values on the right and taking new ones from the left always lowers F, but takes 150
to several hundred steps. Newton's method on ln N and ln σ, as soon as F is convex there, takes
about ten more; a step of it that does not lower F is taken back.

Source: T. Verstraelen et al., J. Chem. Theory Comput. 12, 3894 (2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from datagen.errors import LabelCheckError
from datagen.labels.charges.density import DensityGrid

_SHELL_CAPACITY = (2, 8, 8, 18, 18, 32)
_NOBLE_GASES = (2, 10, 18, 36, 54, 86)

_FIRST_STEPS = 10  # of the fixed point, before Newton's are tried
_LONGEST_STEP = 0.5  # of Newton's method, in ln N or ln σ
_CONVERGED = 1e-8  # electrons: largest change of a population
_MAX_STEPS = 2000
_ROUNDING = 1e-13  # relative, of F
_BLOCK = 4096  # grid points at a time: the arrays of one block stay in the cache


@dataclass(frozen=True, eq=False)
class Shells:
    """Slater shells of all atoms, end to end."""

    atoms: np.ndarray
    """(n_shells,), the atom that each belongs to."""

    populations: np.ndarray
    """(n_shells,), N, electrons."""

    widths: np.ndarray
    """(n_shells,), σ, Bohr."""

    def shares(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of every shell in ρ0 at n points, and ln ρ0 there.

        Parameters
        ----------
        distances : (n_atoms, n)
            Bohr.

        Returns
        -------
        (n_shells, n) and (n,). They are made from logarithms, so that nothing vanishes far away.
        """
        heights = np.log(self.populations / (8.0 * np.pi * self.widths**3))
        logarithms = heights[:, None] - distances[self.atoms] / self.widths[:, None]
        largest = logarithms.max(0)
        shares = np.exp(logarithms - largest)
        total = shares.sum(0)
        return shares / total, largest + np.log(total)

    def scaled(self, logarithms: np.ndarray) -> Shells:
        """Shells whose (ln N, ln σ) are larger by these (2·n_shells,)."""
        populations, widths = np.split(np.exp(logarithms), 2)
        return Shells(self.atoms, self.populations * populations, self.widths * widths)


def distances_to(nuclei: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distances (n_atoms, n) of points (n, 3) from nuclei (n_atoms, 3)."""
    return np.array([np.linalg.norm(points - nucleus, axis=1) for nucleus in nuclei])


def initial_shells(numbers: np.ndarray) -> Shells:
    """Full shells of the neutral atoms, widths in a geometric series from 1/2Z to 1/2 Bohr."""
    atoms: list[int] = []
    populations: list[int] = []
    widths: list[float] = []
    for atom, number in enumerate(int(z) for z in numbers):
        rows = int(np.searchsorted(_NOBLE_GASES, number)) + 1
        inner = _SHELL_CAPACITY[: rows - 1]
        atoms += [atom] * rows
        populations += [*inner, number - sum(inner)]
        widths += list(np.geomspace(0.5 / number, 0.5, rows))
    return Shells(np.array(atoms), np.array(populations, dtype=float), np.array(widths))


def fit_shells(numbers: np.ndarray, nuclei: np.ndarray, grid: DensityGrid) -> Shells:
    """Find the shells that lie nearest to a density, by a safeguarded Newton iteration.

    After the first steps of the fixed point, every step is Newton's where F is convex; one that
    does not lower F is replaced by the step of the fixed point from the same place, which does.

    Parameters
    ----------
    numbers : (n_atoms,)
        Atomic numbers.
    nuclei : (n_atoms, 3)
        Bohr.
    grid
        The density.

    Raises
    ------
    LabelCheckError
        When populations still change by more than 1e-8 e after 2000 steps.
    """
    distances = distances_to(nuclei, grid.points)
    shells, lowest = initial_shells(numbers), np.inf
    instead: Shells | None = None  # of `shells`, where they are Newton's and yet unproven
    for step in range(_MAX_STEPS):
        here = _Expansion.at(shells, distances, grid.electrons)
        if instead is not None and here.divergence > lowest + _ROUNDING * abs(lowest):
            shells, instead = instead, None
            continue
        lowest, fixed_point = here.divergence, here.fixed_point()
        newton = here.newton() if step >= _FIRST_STEPS else None
        following = fixed_point if newton is None else newton
        change = np.abs(following.populations - shells.populations).max()
        # Steps of the fixed point shrink by as little as a twentieth each: small ones prove little.
        if change < _CONVERGED * (0.01 if newton is None else 1.0):
            return following
        shells, instead = following, fixed_point if newton is not None else None
    raise LabelCheckError(
        f"the MBIS populations still change by {change:.1e} e after {_MAX_STEPS} steps; "
        f"expected {_CONVERGED:.0e} e"
    )


@dataclass(frozen=True, eq=False)
class _Expansion:
    """F around some shells to second order in ln N and ln σ.

    With x = r/σ − 3, the moments are m_k = ∫ ρ w x^k, and ∂ρ0/∂(ln N, ln σ) = ρ0 (w, w x).
    """

    shells: Shells
    divergence: float  # F
    moments: np.ndarray  # (3, n_shells): m_0, m_1, m_2
    couplings: np.ndarray  # (2·n_shells, 2·n_shells): ∫ ρ (w, w x)ᵀ (w, w x)

    @classmethod
    def at(cls, shells: Shells, distances: np.ndarray, electrons: np.ndarray) -> _Expansion:
        n = len(shells.atoms)
        divergence, moments = float(shells.populations.sum()), np.zeros((3, n))
        couplings = np.zeros((2 * n, 2 * n))
        for start in range(0, len(electrons), _BLOCK):
            block = slice(start, start + _BLOCK)
            r, weight = distances[:, block], electrons[block]
            shares, logarithm = shells.shares(r)
            x = r[shells.atoms] / shells.widths[:, None] - 3.0
            slopes = np.concatenate([shares, shares * x])  # (2·n_shells, n)
            weighted = slopes * weight
            divergence -= float(weight @ logarithm)
            couplings += weighted @ slopes.T
            moments[:2] += weighted.sum(1).reshape(2, n)
            moments[2] += np.einsum("sg,sg->s", weighted[n:], x)
        return cls(shells, divergence, moments, couplings)

    def fixed_point(self) -> Shells:
        """What the two equations make of these shells."""
        m_0, m_1, _ = self.moments
        return Shells(self.shells.atoms, m_0, self.shells.widths * (m_1 / m_0 + 3.0) / 3.0)

    def newton(self) -> Shells | None:
        """Where F would be least if it were a parabola; None where that is far away or no bowl."""
        m_0, m_1, m_2 = self.moments
        populations = self.shells.populations
        gradient = np.concatenate([populations - m_0, -m_1])
        width = np.diag(m_1 + 3.0 * m_0 - m_2)
        within = np.block([[np.diag(populations - m_0), -np.diag(m_1)], [-np.diag(m_1), width]])
        # Nearly empty shells have tiny curvatures; scaled ones can be compared.
        scale = 1.0 / np.sqrt(np.tile(populations, 2))
        curvature = scale[:, None] * (self.couplings + within) * scale
        try:
            factor = scipy.linalg.cho_factor(curvature)
        except np.linalg.LinAlgError:
            return None
        step = -scale * scipy.linalg.cho_solve(factor, scale * gradient)
        return self.shells.scaled(step) if np.abs(step).max() < _LONGEST_STEP else None
