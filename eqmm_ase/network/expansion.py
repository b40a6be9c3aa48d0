"""The potential of point charges around every QM atom, as local multipole tensors. No weights here.

Around atom i the potential of the MM charges is φ(R_i + x) = Σ_lm C^i_lm R_lm(x) with

    C^i_lm = k_e Σ_k q_k I_lm(r_k − R_i),        l = 0 … L

(regular and irregular real solid harmonics R, I of `eqmm_ase.network.harmonics`): potential, field,
field gradient, … in (L+1)² numbers. All derivatives are closed-form because ∇I_l is a combination
of I_{l+1}; a gradient with respect to all charges' positions is then one more sum over pairs,
cheaper than tracing the harmonics. On the CPU all sums are compiled loops
(`eqmm_ase.kernels.pair_sums`).

Source: Lei, Yagi, Sugita, J. Chem. Phys. 160, 214109 (2024), there in Cartesian form; A. J. Stone,
The Theory of Intermolecular Forces (2013), ch. 3, for the spherical one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from eqmm_ase.kernels.arrays import contiguous_arrays
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.far_charges import DistantCharges, distant
from eqmm_ase.network.harmonics import gradient_matrix, irregular_harmonics, n_components
from eqmm_ase.units import COULOMB_CONSTANT

_PAIRS_PER_BLOCK = 1 << 20  # atom-charge pairs handled at once on a GPU, whose memory they share


def expand(frames: FrameBatch, l_max: int) -> torch.Tensor:
    """Taylor expansion of the MM potential at every QM atom.

    C^i_lm = k_e Σ_k q_k I_lm(r_k − R_i), the sum over all charges of the atom's frame.

    Parameters
    ----------
    frames: positions in Å, charges in e.
    l_max: highest order L.

    Returns
    -------
    (N, (l_max+1)²) in V/Å^l, differentiable twice in positions and charges. Without charges: zeros.
    """
    return torch.cat([_Expansion.apply(*frame, l_max) for frame in _each(frames)], dim=1).T


class Expansion:
    """Local multipole expansion as a leaf tensor, with the chain rule from dE/dC on.

    `tensors` is a leaf of the graph; what `pull_back` returns can be differentiated with respect to
    dE/dC, hence the weights, but not positions. Training on forces needs no more, and
    the second derivatives of the harmonics, the dearest part of a step, are never made.
    """

    def __init__(self, frames: FrameBatch, l_max: int) -> None:
        self.l_max = l_max
        self.charges = frames.mm_charges.detach()
        self.pairs = [(atoms.detach(), sites.detach()) for atoms, sites, _ in _each(frames)]
        self.sizes = frames.qm_ptr.diff().tolist(), frames.mm_ptr.diff().tolist()
        charges = self.charges.split(self.sizes[1])
        self.frames = [
            _FrameExpansion(atoms, sites, own, l_max + 1)
            for (atoms, sites), own in zip(self.pairs, charges, strict=True)
        ]
        self.raised = torch.cat([frame.tensors for frame in self.frames], dim=1)
        """To order L+1, (b, N)."""
        packed = self.raised[: n_components(l_max)]
        self.tensors = packed.T.clone().requires_grad_()  # (N, a)

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC (N, a) → what C contributes to dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        return _PullBack.apply(self, grad)

    def atom_gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dC (N, a) → what C contributes to dE/dR (N, 3): no sum over charges is needed."""
        return -(self.columns(grad)[:3] * self.raised).sum(1).T

    def columns(self, grad: torch.Tensor) -> torch.Tensor:
        """H in the first three, and G = dE/dC in the last, of `_ExpansionGradient`: (4, b, N)."""
        rows = _column_rows(self.l_max, grad.dtype, grad.device) @ grad.T
        return rows.reshape(4, -1, len(grad))


class _FrameExpansion:
    """Expansion of one frame, of near and distant charges, and what follows for them.

    Parameters
    ----------
    atoms, sites: (N, 3) and (K, 3) Å.
    charges: (K,) e.
    l_max: highest order.
    """

    def __init__(
        self, atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor, l_max: int
    ) -> None:
        self._atoms, self._sites, self._charges, self._l_max = atoms, sites, charges, l_max
        self._is_far, self._far = distant(atoms, sites), None
        if self._is_far is not None:
            self._far = DistantCharges(atoms, sites[self._is_far], charges[self._is_far], l_max)
            self._sites, self._charges = sites[~self._is_far], charges[~self._is_far]
        near = _sum_over_sites(atoms, self._sites, self._charges.unsqueeze(0), l_max)[..., 0]
        self.tensors = near if self._far is None else near + self._far.tensors  # (b, N)

    def pull_back(self, columns: torch.Tensor) -> torch.Tensor:
        """H and, last, G of `_ExpansionGradient`, (4, b, N) → dE/dr and dE/dq, (K, 4)."""
        near = _sum_over_atoms(self._atoms, self._sites, columns, self._l_max)
        near[:, :3] *= self._charges.unsqueeze(1)
        if self._far is None or self._is_far is None:
            return near
        per_site = near.new_empty(len(self._is_far), 4)
        per_site[~self._is_far] = near
        per_site[self._is_far] = self._far.pull_back(columns[3])
        return per_site


class _PullBack(torch.autograd.Function):
    """`_ExpansionGradient` of all frames together, and its derivative with respect to G only."""

    @staticmethod
    def forward(
        ctx: Any, expansion: Expansion, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.expansion = expansion
        columns = expansion.columns(grad)
        frames = zip(expansion.frames, columns.split(expansion.sizes[0], dim=2), strict=True)
        per_site = torch.cat([frame.pull_back(own) for frame, own in frames])  # (K, 4)
        atoms = -(columns[:3] * expansion.raised).sum(1).T
        return atoms, per_site[:, :3].clone(), per_site[:, 3].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, u_atoms: torch.Tensor, u_sites: torch.Tensor, u_charges: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        expansion = ctx.expansion
        order = expansion.l_max + 1
        weights = torch.cat([u_sites.T * expansion.charges, u_charges.unsqueeze(0)])
        frames = zip(expansion.pairs, weights.split(expansion.sizes[1], dim=1), strict=True)
        parts = [_sum_over_sites(atoms, sites, own, order) for (atoms, sites), own in frames]
        moments = torch.cat(parts, dim=1)  # (b, N, 4)
        moments = moments.permute(2, 0, 1).contiguous()
        moments[:3] -= u_atoms.T.unsqueeze(1) * expansion.raised
        rows = _column_rows(expansion.l_max, moments.dtype, moments.device)
        return None, (rows.T @ moments.flatten(0, 1)).T


@cache
def _column_rows(l_max: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """From G to H and, under zeros for order L+1, itself: (4·(L+2)², (L+1)²)."""
    gradient = gradient_matrix(l_max)  # (a, d, b)
    itself = torch.eye(len(gradient), gradient.shape[2], dtype=gradient.dtype).unsqueeze(1)
    rows = torch.cat([gradient, itself], dim=1).flatten(1).T.contiguous()
    return rows.to(device, dtype)


class _Expansion(torch.autograd.Function):
    """C(R, r, q) of one frame, (a, n_qm); its derivative is `_ExpansionGradient`."""

    @staticmethod
    def forward(
        ctx: Any, atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor, l_max: int
    ) -> torch.Tensor:
        # One order more than asked for: the gradient is made of it.
        tensors = _sum_over_sites(atoms, sites, charges.unsqueeze(0), l_max + 1)[..., 0]
        ctx.save_for_backward(atoms, sites, charges, tensors)
        ctx.l_max = l_max
        return tensors[: n_components(l_max)].clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return *_ExpansionGradient.apply(ctx.l_max, grad, *ctx.saved_tensors), None


class _ExpansionGradient(torch.autograd.Function):
    """From G = dE/dC to dE/dR, dE/dr and dE/dq.

    With H_dbi = Σ_a A_adb G_ai (A: `gradient_matrix`; b runs to order L+1):

        dE/dr_dk =  q_k k_e Σ_bi H_dbi I_bik      dE/dR_di = − Σ_b H_dbi C_bi
        dE/dq_k  =  k_e Σ_ai G_ai I_aik
    """

    @staticmethod
    def forward(
        ctx: Any,
        l_max: int,
        grad: torch.Tensor,
        atoms: torch.Tensor,
        sites: torch.Tensor,
        charges: torch.Tensor,
        tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = torch.einsum("adb,ai->dbi", gradient_matrix(l_max).to(grad), grad)
        padded = torch.nn.functional.pad(grad, (0, 0, 0, len(tensors) - len(grad)))
        columns = torch.cat([heads, padded.unsqueeze(0)])
        per_site = _sum_over_atoms(atoms, sites, columns, l_max + 1)
        grad_atoms = -(heads * tensors).sum(1).T
        ctx.save_for_backward(atoms, sites, charges, tensors, heads, per_site)
        ctx.l_max = l_max
        return grad_atoms, per_site[:, :3] * charges.unsqueeze(1), per_site[:, 3].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, u_atoms: torch.Tensor, u_sites: torch.Tensor, u_charges: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        # The derivative of S = u_R·dE/dR + u_r·dE/dr + u_q·dE/dq, first with respect to G, in which
        # S is linear, …
        atoms, sites, charges, tensors, heads, per_site = ctx.saved_tensors
        l_max = ctx.l_max
        weights = torch.cat([u_sites.T * charges, u_charges.unsqueeze(0)])
        moments = _sum_over_sites(atoms, sites, weights, l_max + 1)  # (b, n_qm, 4)
        drag = u_atoms.T.unsqueeze(1)  # (3, 1, n_qm)
        shifts = moments[..., :3].permute(2, 0, 1) - drag * tensors  # (3, b, n_qm)
        grad_grad = torch.einsum("adb,dbi->ai", gradient_matrix(l_max).to(heads), shifts)
        grad_grad = grad_grad + moments[: n_components(l_max), :, 3]

        # … then with respect to positions and charges, for which order L+2 enters.
        raising = gradient_matrix(l_max + 1).to(heads)
        curvature = torch.einsum("dbi,bec->deci", heads, raising)  # (3, 3, c, n_qm)
        weights2 = torch.cat([weights[:3], charges.unsqueeze(0)])
        moments2 = _sum_over_sites(atoms, sites, weights2, l_max + 2)
        shifts2 = moments2[..., :3].permute(2, 0, 1) - drag * moments2[..., 3]
        grad_atoms = torch.einsum("dci,deci->ie", shifts2, curvature)
        grad_atoms = -grad_atoms - torch.einsum("bi,ebi->ie", moments[..., 3], heads)

        dragged = torch.einsum("di,deci->eci", u_atoms.T, curvature)
        columns = torch.cat([curvature.flatten(0, 1), dragged])
        own = _sum_over_atoms(atoms, sites, columns, l_max + 2)  # (n_mm, 9 + 3)
        turned = torch.einsum("kd,kde->ke", u_sites, own[:, :9].reshape(-1, 3, 3)) - own[:, 9:]
        grad_sites = charges.unsqueeze(1) * turned + u_charges.unsqueeze(1) * per_site[:, :3]

        dragged = (drag * heads).sum(0, keepdim=True)
        pulled = _sum_over_atoms(atoms, sites, dragged, l_max + 1)
        grad_charges = (u_sites * per_site[:, :3]).sum(1) - pulled[:, 0]
        return None, grad_grad, grad_atoms, grad_sites, grad_charges, None


def _each(frames: FrameBatch) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Atoms, sites and charges of every frame."""
    n_qm, n_mm = frames.qm_ptr.diff().tolist(), frames.mm_ptr.diff().tolist()
    sites, charges = frames.mm_positions.split(n_mm), frames.mm_charges.split(n_mm)
    return zip(frames.qm_positions.split(n_qm), sites, charges, strict=True)


def _sum_over_sites(
    atoms: torch.Tensor, sites: torch.Tensor, weights: torch.Tensor, l_max: int
) -> torch.Tensor:
    """k_e Σ_k I_bik w_ck: (c, n_mm) → (b, n_qm, c)."""
    if atoms.is_cpu:
        from eqmm_ase.kernels.pair_sums import sum_over_sites  # and numba, when first needed

        at, of, own = contiguous_arrays(atoms, sites.T, weights)
        total = torch.from_numpy(sum_over_sites(at, of, own, l_max))
    else:
        total = sum_over_sites_in_blocks(atoms, sites, weights, l_max)
    return COULOMB_CONSTANT * total


def _sum_over_atoms(
    atoms: torch.Tensor, sites: torch.Tensor, columns: torch.Tensor, l_max: int
) -> torch.Tensor:
    """k_e Σ_bi I_bik h_cbi: (c, b, n_qm) → (n_mm, c)."""
    columns = COULOMB_CONSTANT * columns
    if not atoms.is_cpu:
        return sum_over_atoms_in_blocks(atoms, sites, columns, l_max).T
    from eqmm_ase.kernels.pair_sums import sum_over_atoms

    at, of, own = contiguous_arrays(atoms, sites.T, columns)
    return torch.from_numpy(sum_over_atoms(at, of, own, l_max)).T


def sum_over_sites_in_blocks(
    atoms: torch.Tensor, sites: torch.Tensor, weights: torch.Tensor, l_max: int
) -> torch.Tensor:
    """`eqmm_ase.kernels.pair_sums.sum_over_sites` by torch, for other devices than the CPU."""
    blocks = _harmonics_in_blocks(atoms, sites, l_max)
    own = weights.split(_block_size(atoms), dim=1)
    total = sum(block @ w.T for block, w in zip(blocks, own, strict=True))
    return total.reshape(n_components(l_max), len(atoms), len(weights))


def sum_over_atoms_in_blocks(
    atoms: torch.Tensor, sites: torch.Tensor, columns: torch.Tensor, l_max: int
) -> torch.Tensor:
    """`eqmm_ase.kernels.pair_sums.sum_over_atoms` by torch, for other devices than the CPU."""
    rows = columns.flatten(1)
    return torch.cat([rows @ block for block in _harmonics_in_blocks(atoms, sites, l_max)], dim=1)


def _harmonics_in_blocks(
    atoms: torch.Tensor, sites: torch.Tensor, l_max: int
) -> Iterator[torch.Tensor]:
    """I_lm(r_k − R_i) in blocks of sites, each ((l_max+1)²·n_qm, n_sites)."""
    rows = atoms.T.unsqueeze(2)  # (3, n_qm, 1)
    for block in sites.T.unsqueeze(1).split(_block_size(atoms), dim=2):
        harmonics = irregular_harmonics((block - rows).flatten(1), l_max)
        yield harmonics.reshape(n_components(l_max) * len(atoms), block.shape[2])


def _block_size(atoms: torch.Tensor) -> int:
    return max(1, _PAIRS_PER_BLOCK // max(1, len(atoms)))
