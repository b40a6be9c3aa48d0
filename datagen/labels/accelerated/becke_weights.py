"""Derivatives of Becke's weights of an atom-centred integration grid by the nuclei.

A point at r that belongs to atom a has the share w = p_a / Σ_b p_b of its weight, where

    p_i = Π_{j≠i} s(ν_ij),  ν = μ + a_ij (1 − μ²),  μ_ij = (|r − R_i| − |r − R_j|) / |R_i − R_j|,

s falls from 1 to 0 as ν goes from −1 to 1, and a_ij comes from the sizes of the atoms. The point
moves with its atom. Instead of one derivative for every point, atom and direction, the derivative
of one sum Σ_g f_g w_g is taken backwards, from f to the distances and from there to the nuclei.

Sources: A. D. Becke, J. Chem. Phys. 88, 2547 (1988), equations 13 and 18–23;
O. Treutler, R. Ahlrichs, J. Chem. Phys. 102, 346 (1995), for the sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_NEGLIGIBLE = 1e-13  # an atom whose share is below this everywhere on a block is left out


class BeckeWeights:
    """Shares of the atoms of a molecule, with PySCF's default sizes of atoms.

    Parameters
    ----------
    molecule
        PySCF molecule.
    """

    def __init__(self, molecule: Any) -> None:
        from pyscf.data.radii import BRAGG
        from pyscf.gto import charge as nuclear_charge

        self._nuclei = molecule.atom_coords()
        between = self._nuclei[:, None] - self._nuclei
        self._distances = np.linalg.norm(between, axis=2)
        np.fill_diagonal(self._distances, 1.0)  # never used, but divided by
        self._directions = between / self._distances[:, :, None]
        # By symbol: the charges of nuclei behind core potentials are not those of the element.
        symbols = [molecule.atom_symbol(atom) for atom in range(molecule.natm)]
        size = np.sqrt(BRAGG[[nuclear_charge(symbol) for symbol in symbols]])
        ratio = size[:, None] / size
        self._shift = np.clip(0.25 * (ratio.T - ratio), -0.5, 0.5)

    def gradient(self, atom: int, points: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Derivative of Σ_g f_g w_g by the nuclei.

        Parameters
        ----------
        atom
            To which all the points belong.
        points : (n, 3)
            Bohr.
        factors : (n,)
            f; they stay as they are.

        Returns
        -------
        (n_atoms, 3), unit of the factors per Bohr
        """
        separation = points - self._nuclei[:, None]  # (n_atoms, n, 3)
        distance = np.linalg.norm(separation, axis=2)
        near = self._near(atom, distance)
        product, slopes, mu = self._products(near, distance)
        fraction = product / product.sum(0)
        mine = int(np.flatnonzero(near == atom)[0])
        by_log = -factors * fraction[mine] * fraction  # derivative by ln p_i
        by_log[mine] += factors * fraction[mine]

        by_distance = np.zeros_like(distance)
        gradient = np.zeros_like(self._nuclei)
        for row, i in enumerate(near):
            by_mu = slopes[row]
            by_mu *= by_log[row]
            by_separation = np.einsum("jg,jg->j", by_mu, mu[row]) / self._distances[i]
            by_mu /= self._distances[i, :, None]
            by_distance -= by_mu
            by_distance[i] += by_mu.sum(0)
            between = by_separation[:, None] * self._directions[i]
            gradient += between
            gradient[i] -= between.sum(0)
        by_distance[atom] = 0.0  # the point keeps its distance to its own atom
        with np.errstate(invalid="ignore", divide="ignore"):
            pull = np.where(distance > 0.0, by_distance / distance, 0.0)
        moved = np.einsum("ig,igx->ix", pull, separation)
        gradient -= moved
        gradient[atom] += moved.sum(0)
        return gradient

    def _products(
        self, near: np.ndarray, distance: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Values of p_i, (near, n), and for each i d ln p_i / dμ_ij and μ_ij, (n_atoms, n).

        One atom after the other: what belongs to one fits the processor's cache.
        """
        product = np.empty((len(near), distance.shape[1]))
        slopes, mu = [], []
        for row, i in enumerate(near):
            mu.append((distance[i] - distance) / self._distances[i, :, None])
            share, slope = switch(mu[-1], self._shift[i, :, None])
            share[i], slope[i] = 1.0, 0.0
            product[row] = share.prod(0)
            slopes.append(slope)
        return product, slopes, mu

    def _near(self, atom: int, distance: np.ndarray) -> np.ndarray:
        """Atoms with a share at one of the points; p_i is at most the one factor looked at here."""
        mu = (distance - distance[atom]) / self._distances[atom][:, None]
        share, _ = switch(mu, self._shift[:, atom, None])
        shares = share.max(1)
        shares[atom] = 1.0
        return np.flatnonzero(shares > _NEGLIGIBLE)


def switch(mu: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Becke's switching function of μ with the shift a, and its logarithmic derivative.

    With p(x) = x (3 − x²) / 2, p′(x) = 3 (1 − x²) / 2 and ν = μ + a (1 − μ²),

        s = (1 − p(p(p(ν)))) / 2
        ds/dμ = −p′(p(p(ν))) p′(p(ν)) p′(ν) (1 − 2 a μ) / 2.

    Returns
    -------
    s and d ln s / dμ, in the shape of μ
    """
    nu = mu + shift * (1.0 - mu * mu)
    slope = 1.0 - nu * nu  # and then the same factor of each further step
    first = 0.5 * nu * (2.0 + slope)
    factor = 1.0 - first * first
    slope *= factor
    second = 0.5 * first * (2.0 + factor)
    factor = 1.0 - second * second
    slope *= factor
    share = 0.5 - 0.25 * second * (2.0 + factor)
    slope *= -27.0 / 16.0 * (1.0 - 2.0 * shift * mu)
    return share, slope / (share + 1e-200)
