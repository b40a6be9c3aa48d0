"""Distant MM charges, whose potential is expanded once about the middle of the QM region.

With a the radius of the region about its middle c, `SMALLEST` at least, charges beyond `DISTANCE`·a
of c act through

    φ(c + a y) = Σ_lm C_lm R_lm(y),    C_lm = (k_e/a) Σ_k q_k I_lm((r_k − c)/a),    l ≤ `ORDER`

and the expansion about each QM atom follows from the derivatives of this polynomial. The cost grows
as atoms + charges and not as their product. What is left out of a charge's potential is less than
`DISTANCE`^−(`ORDER`+1) = 2.4e-7 of it, even at the outermost atom: what single precision loses.
Derivatives lose more, the fourth a hundredth of that of the nearest of these charges, where it
counts for little.

Source: A. J. Stone, The Theory of Intermolecular Forces (2013), ch. 3.3, there for the potential of
molecules.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from eqmm_ase.network.harmonics import (
    degree_of_component,
    gradient_matrix,
    n_components,
    raising_matrix,
    regular_gradient_matrix,
    regular_harmonics,
)
from eqmm_ase.units import COULOMB_CONSTANT

DISTANCE, SMALLEST = 4.0, 4.0  # the latter in Å
ORDER = 10  # the harmonics' coefficients end at 11, which the gradient takes
WORTH_WHILE = 200_000  # pairs of atoms and distant charges


def distant(atoms: torch.Tensor, sites: torch.Tensor) -> torch.Tensor | None:
    """Which sites to treat as distant, (K,); None where sums over all pairs are as good.

    Sums over all pairs it is in double precision, too, and wherever loops are not compiled.
    """
    if not atoms.is_cpu or atoms.dtype != torch.float32 or len(atoms) * len(sites) < WORTH_WHILE:
        return None
    middle, radius = _sphere(atoms)
    far = (sites - middle).square().sum(1) > (DISTANCE * radius) ** 2
    return far if len(atoms) * int(far.sum()) >= WORTH_WHILE else None


class DistantCharges:
    """The part of distant charges in `eqmm_ase.network.expansion.Expansion`, with its gradients.

    Parameters
    ----------
    atoms, sites: (N, 3) and (K, 3) Å.
    charges: (K,) e.
    l_max: highest order of the expansion about each atom.
    """

    tensors: torch.Tensor
    """Expansion about each atom, ((l_max+1)², N) V/Å^l."""

    def __init__(
        self, atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor, l_max: int
    ) -> None:
        from eqmm_ase.kernels.pair_sums import sum_over_sites

        middle, self._radius = _sphere(atoms)
        self._sites = ((sites - middle) / self._radius).T.contiguous().numpy()
        self._charges = charges
        places = ((atoms - middle) / self._radius).double()
        self._harmonics = regular_harmonics(places.T, ORDER)  # (b, N)
        self._l_max = l_max
        own = charges.unsqueeze(0).contiguous().numpy()
        self._middle = np.zeros((1, 3), self._sites.dtype)
        total = sum_over_sites(self._middle, self._sites, own, ORDER)[:, 0, 0]
        total = COULOMB_CONSTANT / self._radius * torch.from_numpy(total).double()
        polynomials = _taylor(l_max).times(total).unflatten(0, (-1, n_components(ORDER)))
        scale = self._radius ** -degree_of_component(l_max).double()
        self.tensors = (scale.unsqueeze(1) * (polynomials @ self._harmonics)).to(atoms)

    def pull_back(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dC of orders up to any, (a, N) → dE/dr and dE/dq of the sites, (K, 4)."""
        from eqmm_ase.kernels.pair_sums import sum_over_atoms

        scale = self._radius ** -degree_of_component(self._l_max).double()
        padded = torch.zeros(n_components(self._l_max), grad.shape[1], dtype=torch.float64)
        padded[: len(grad)] = grad
        by_polynomial = (scale.unsqueeze(1) * padded) @ self._harmonics.T  # (a, b)
        by_total = _taylor(self._l_max).transposed_times(by_polynomial.flatten())
        by_total = COULOMB_CONSTANT / self._radius * by_total
        gradients = torch.einsum("adb,a->db", gradient_matrix(ORDER), by_total) / self._radius
        potential = torch.nn.functional.pad(by_total, (0, gradients.shape[1] - len(by_total)))
        columns = torch.cat([gradients, potential.unsqueeze(0)]).unsqueeze(2).to(grad)
        found = sum_over_atoms(self._middle, self._sites, columns.numpy(), ORDER + 1)
        per_site = torch.from_numpy(found).T
        return torch.cat([per_site[:, :3] * self._charges.unsqueeze(1), per_site[:, 3:]], dim=1)


def _sphere(atoms: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Middle of the atoms, and the radius of the sphere to treat as the region."""
    middle = 0.5 * (atoms.amin(0) + atoms.amax(0))
    return middle, max(float((atoms - middle).square().sum(1).max().sqrt()), SMALLEST)


class _Sparse(NamedTuple):
    """A matrix by its numbers that are not zero."""

    rows: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    shape: torch.Size

    def times(self, vector: torch.Tensor) -> torch.Tensor:
        """Product with a vector."""
        out = vector.new_zeros(self.shape[0])
        return out.index_add_(0, self.rows, self.values * vector.index_select(0, self.columns))

    def transposed_times(self, vector: torch.Tensor) -> torch.Tensor:
        """Product of the transpose with a vector."""
        out = vector.new_zeros(self.shape[1])
        return out.index_add_(0, self.columns, self.values * vector.index_select(0, self.rows))


@cache
def _taylor(l_max: int) -> _Sparse:
    """W (a·b, c) with [R_a(∂) R_c](y) / (2l−1)!! = Σ_b W_abc R_b(y), float64.

    From a harmonic polynomial it makes the coefficients, again polynomials, of its Taylor series
    about any point, as `eqmm_ase.network.harmonics.translation_tensor` does for I_lm.
    """
    by_axis = regular_gradient_matrix(ORDER).permute(2, 0, 1)  # (d, b, c)
    orders = [torch.eye(n_components(ORDER), dtype=torch.float64).unsqueeze(0)]
    for l in range(l_max):
        further = torch.einsum("dbe,mec->mdbc", by_axis, orders[-1])
        orders.append(torch.einsum("mdbc,mdo->obc", further, raising_matrix(l)) / (2 * l + 1))
    dense = torch.cat(orders).flatten(0, 1)
    dense[dense.abs() < 1e-12] = 0.0  # what rounding left
    rows, columns = dense.nonzero().unbind(1)
    return _Sparse(rows, columns, dense[rows, columns], dense.shape)
