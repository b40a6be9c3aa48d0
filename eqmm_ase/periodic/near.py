"""The near part of Ewald's sum: damped harmonics of the charges within the cutoff of each atom.

    C^i_lm = k_e Σ_k q_k g_l(α|d|) I_lm(d),   d = r_k − R_i of the image with |d| < r_c

and, because the damped potential is not harmonic, in its gradient a term of one order less:

    ∂_b [g_l I_lm] = Σ_c A_lm,b,c g_l+1 I_l+1,c − (2/√π) 2^l α^(2l+1)/(2l+1)!! e^(−α²d²) ∂_b R_lm

(A: `angular.gradient_matrix`). It cancels against that of the far part, not within the near one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from eqmm_ase.network.harmonics import (
    gradient_matrix,
    irregular_harmonics,
    n_components,
    regular_gradient_matrix,
    regular_harmonics,
)
from eqmm_ase.periodic.cell import Images, distances_between
from eqmm_ase.periodic.damping import damping, double_factorial
from eqmm_ase.units import COULOMB_CONSTANT


class NearPart:
    """Values now, gradients later, as `eqmm_ase.network.expansion.Expansion` has them.

    Parameters
    ----------
    atoms: (N, 3) Å, in the precision to compute in.
    images: of the sites near them.
    charges: of all sites, (K,) e.
    cutoff, alpha: r_c in Å and α in 1/Å.
    l_max: highest order L.
    """

    def __init__(
        self,
        atoms: torch.Tensor,
        images: Images,
        charges: torch.Tensor,
        cutoff: float,
        alpha: float,
        l_max: int,
    ) -> None:
        self.l_max, self.alpha, self.n_sites = l_max, alpha, len(charges)
        self.sites, vectors, strengths = _pair_table(atoms, images, charges, cutoff)
        self.strengths = strengths  # (N, P) charges, 0 where there is no pair
        self._vectors = vectors  # (3, N, P)
        self._harmonics = _damped_harmonics(vectors, alpha, l_max)  # (b, N, P)
        values = self._harmonics[: n_components(l_max)].transpose(0, 1)
        self.tensors = COULOMB_CONSTANT * torch.bmm(values, strengths.unsqueeze(2))[..., 0]

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC (N, a) → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        pairs = self._pair_gradients(grad)  # (N, 4, P)
        forces = pairs[:, :3] * self.strengths.unsqueeze(1)
        per_site = grad.new_zeros(self.n_sites + 1, 4)
        all_pairs = torch.cat([forces, pairs[:, 3:]], dim=1).transpose(1, 2).reshape(-1, 4)
        per_site.index_add_(0, self.sites.flatten(), all_pairs)
        return -forces.sum(2), per_site[:-1, :3], per_site[:-1, 3]

    def strain(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dε_ab = Σ d_a ∂E/∂d_b over all pairs, (3, 3) eV."""
        forces = self._pair_gradients(grad)[:, :3] * self.strengths.unsqueeze(1)
        return torch.einsum("anp,nbp->ab", self._vectors, forces)

    def _pair_gradients(self, grad: torch.Tensor) -> torch.Tensor:
        """For a charge of 1: ∂E/∂d in the first three columns and E in the fourth, (N, 4, P)."""
        columns = grad @ _columns(self.l_max, self.alpha, grad.dtype, grad.device)
        columns = columns.reshape(len(grad), 4, -1)
        n_damped = len(self._harmonics)
        pairs = torch.bmm(columns[..., :n_damped], self._harmonics.transpose(0, 1))
        if self.l_max > 0:
            smooth = _smooth_harmonics(self._vectors, self.alpha, self.l_max)
            pairs = torch.baddbmm(pairs, columns[..., n_damped:], smooth.transpose(0, 1))
        return pairs


def _pair_table(
    atoms: torch.Tensor, images: Images, charges: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs within the cutoff, a row an atom: sites (N, P), vectors (3, N, P), charges (N, P).

    Rows are filled up to the longest with pairs of no charge.
    """
    near = images.positions
    atom, image = (distances_between(atoms, images) < cutoff).nonzero().unbind(1)
    counts = torch.bincount(atom, minlength=len(atoms))
    begin = counts.cumsum(0) - counts
    column = torch.arange(len(atom), device=atom.device) - begin.index_select(0, atom)
    size = len(atoms), int(counts.max()) if len(counts) else 0
    table = torch.full((size[0] * size[1],), len(near), device=atoms.device)
    table.index_copy_(0, atom * size[1] + column, image)

    # index_select of flat tables: several times faster than indexing with a table.
    places = torch.cat([near, near.new_zeros(1, 3)]).T.contiguous()
    vectors = places.index_select(1, table).reshape(3, *size) - atoms.T.unsqueeze(2)
    vectors.masked_fill_((table == len(near)).reshape(size), cutoff)
    sites = torch.cat([images.index, images.index.new_full((1,), len(charges))])
    strengths = torch.cat([charges[images.index], charges.new_zeros(1)])
    sites, strengths = (x.index_select(0, table).reshape(size) for x in (sites, strengths))
    return sites, vectors, strengths


def _damped_harmonics(vectors: torch.Tensor, alpha: float, l_max: int) -> torch.Tensor:
    """g_l(αd) I_lm(d) to order L+1: (3, N, P) → (b, N, P)."""
    rows = vectors.flatten(1)
    harmonics = irregular_harmonics(rows, l_max + 1)
    distances = rows.square().sum(0).sqrt()
    for l, factor in enumerate(damping(alpha * distances, l_max + 1)):
        harmonics[l**2 : (l + 1) ** 2] *= factor
    return harmonics.unflatten(1, vectors.shape[1:])


def _smooth_harmonics(vectors: torch.Tensor, alpha: float, l_max: int) -> torch.Tensor:
    """e^(−α²d²) R_lm(d) to order L−1: (3, N, P) → (b, N, P)."""
    rows = vectors.flatten(1)
    decay = torch.exp(-(alpha**2) * rows.square().sum(0))
    return (regular_harmonics(rows, l_max - 1) * decay).unflatten(1, vectors.shape[1:])


@lru_cache(maxsize=64)
def _columns(l_max: int, alpha: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """From G of an atom to coefficients of its harmonics, in gradient and potential: (a, 4·b)."""
    n, n_above, n_below = n_components(l_max), n_components(l_max + 1), l_max**2
    table = torch.zeros(n, 4, n_above + n_below, dtype=torch.float64)
    table[:, :3, :n_above] = gradient_matrix(l_max)
    table[:, 3, :n] = torch.eye(n, dtype=torch.float64)
    regular = regular_gradient_matrix(l_max)  # (b, a, 3)
    for l in range(1, l_max + 1):
        factor = -2.0 / math.sqrt(math.pi) * 2**l * alpha ** (2 * l + 1) / double_factorial(l + 1)
        here, below = slice(l**2, (l + 1) ** 2), slice((l - 1) ** 2, l**2)
        columns = slice(n_above + below.start, n_above + below.stop)
        table[here, :3, columns] = factor * regular[below, here].permute(1, 2, 0)
    return (COULOMB_CONSTANT * table).flatten(1).to(device, dtype)
