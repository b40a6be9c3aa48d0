"""The far part of Ewald's sum, over waves.

    C^i_lm = Re Σ_k W(k) c_l i^l R_lm(k) S(k) e^(ik·R_i),   S(k) = Σ_k q_k e^(−ik·r_k)
    W(k) = (4π k_e/V) e^(−k²/4α²)/k², 0 for k = 0,          c_l = 1/(2l−1)!!

S and its transpose, the potential and field of W(k) Θ(k) at all sites with
Θ(k) = Σ_i Σ_lm G^i_lm c_l i^l R_lm(k) e^(ik·R_i), are non-uniform FFTs. e^(ik·R_i) of a few atoms
is a product of three short vectors, and a sum over all waves with it one matrix product with the
longest of the three. The derivatives with respect to atoms and box come from the same sums with one
more power of k, so that no property of the whole potential is assumed of this part of it.
"""

from __future__ import annotations

import torch

from eqmm_ase.periodic.nufft import NonUniformFFT
from eqmm_ase.periodic.waves import WaveGrid


class FarPart:
    """Values now, gradients later, as `eqmm_ase.network.expansion.Expansion` has them.

    Parameters
    ----------
    grid: of the box as it is.
    transform: for the same numbers of waves.
    atoms, sites: fractional coordinates, (3, N) and (3, K), anywhere.
    charges: (K,) e, in the precision to compute in.
    """

    def __init__(
        self,
        grid: WaveGrid,
        transform: NonUniformFFT,
        atoms: torch.Tensor,
        sites: torch.Tensor,
        charges: torch.Tensor,
    ) -> None:
        self.grid, self._transform, self.charges = grid, transform, charges
        self._powers = [grid.powers(row, axis) for axis, row in enumerate(atoms.cpu())]
        wrapped = (sites - sites.round()).to(charges).mul_(2.0 * torch.pi)
        self._points = wrapped.contiguous().cpu().numpy()
        self._structure = transform.to_waves(self._points, charges.cpu().numpy())
        self._moments = self._sum_over_waves(self._structure)  # (N, p)
        self.tensors = (self._moments @ grid.harmonics.T).to(charges.device)  # (N, a)

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC (N, a) → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        grid, device = self.grid, grad.device
        grad = grad.cpu()
        # Matrix products: at this size, einsum takes as long to choose one as to compute it.
        by_component = (self._moments @ grid.gradients.flatten(0, 1).T).unflatten(1, (3, -1))
        atoms = (by_component * grad.unsqueeze(1)).sum(2)
        # Potential φ and its slopes by n·x are real: a complex transform yields two of them.
        fields = self._transform.to_points(self._points, self._theta(grad) * grid.field_weights)
        slopes = torch.stack([fields[0].imag, fields[1].real, fields[1].imag], dim=1)
        sites = slopes @ grid.vectors.to(grid.dtype) * self.charges.cpu().unsqueeze(1)
        return atoms.to(device), sites.to(device), fields[0].real.to(device)

    def strain(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dε_ab where atoms, sites and lattice vectors become x (1 + ε), (3, 3) eV.

        The phases k·r stay as they are; k_a becomes k_a − Σ_b ε_ab k_b and V grows.
        """
        grid, grad = self.grid, grad.cpu()
        theta, structure = self._theta(grad), self._structure
        energies = (theta.real * structure.real - theta.imag * structure.imag) * grid.weights
        by_weights = grid.second_moments(energies * grid.stretch)
        by_harmonics = torch.einsum("np,xyap,na->xy", self._moments, grid.shears, grad)
        return by_weights - energies.sum() * torch.eye(3).to(grad) - by_harmonics

    def _sum_over_waves(self, structure: torch.Tensor) -> torch.Tensor:
        """Moments Σ_k W(k) Q(k) i^d n1^a n2^b n3^c e^(ik·R_i), d = a + b + c; real, (N, p).

        Terms of k and −k are complex conjugates: those with n3 > 0 count twice.
        """
        first, second, third = self._powers
        grid, n_atoms = self.grid, len(first)
        half = structure[..., grid.highest[2] :] * grid.half_weights
        columns = third[..., grid.highest[2] :].flatten(0, 1)  # (N c, m3/2)
        sums = columns @ half.flatten(0, 1).T  # (N c, m1 m2)
        sums = torch.bmm(sums.reshape(n_atoms, -1, second.shape[2]), second.transpose(1, 2))
        sums = sums.unflatten(1, (-1, first.shape[2])).transpose(2, 3)  # (N, c, b, m1)
        sums = torch.matmul(sums, first.transpose(1, 2).unsqueeze(1))  # (N, c, b, a)
        a, b, c = grid.exponents
        return (sums[:, c, b, a] * grid.turns).real

    def _theta(self, grad: torch.Tensor) -> torch.Tensor:
        """Θ(k) of all waves, (m1, m2, m3) complex."""
        grid = self.grid
        first, second, third = (powers[:, :-1] for powers in self._powers)  # to degree L
        cube = third.new_zeros(len(grad), *(grid.l_max + 2,) * 3)
        a, b, c = grid.exponents
        cube[:, c, b, a] = (grad @ grid.harmonics) * grid.turns
        cube = cube[:, :-1, :-1, :-1]
        along = torch.matmul(cube, first.unsqueeze(1))  # (N, c, b, m1)
        along = torch.matmul(along.transpose(2, 3), second.unsqueeze(1))  # (N, c, m1, m2)
        theta = along.flatten(0, 1).flatten(1).T @ third.flatten(0, 1)
        return theta.reshape(grid.modes)
