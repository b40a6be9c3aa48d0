"""The potential of point charges around every QM atom, as local multipole tensors. No weights here.

Around atom i the potential of the MM charges is φ(R_i + x) = Σ_lm C^i_lm R_lm(x) with

    C^i_lm = k_e Σ_k q_k I_lm(r_k − R_i),        l = 0 … L

(regular and irregular real solid harmonics R, I of `eqmm_ase.network.harmonics`): potential, field,
field gradient, … in (L+1)² numbers. All derivatives are closed-form because ∇I_l is a combination
of I_{l+1}; a gradient with respect to all charges' positions is then one matrix product, cheaper
than tracing the harmonics.

Source: Lei, Yagi, Sugita, J. Chem. Phys. 160, 214109 (2024), there in Cartesian form; A. J. Stone,
The Theory of Intermolecular Forces (2013), ch. 3, for the spherical one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.harmonics import gradient_matrix, irregular_harmonics, n_components
from eqmm_ase.units import COULOMB_CONSTANT

# Atom-charge pairs handled at once: the harmonics of one block (25 rows for L = 3) stay in a
# core's cache, which is 4-5 times faster than one pass over 22 atoms × 3000 charges.
_PAIRS_PER_BLOCK = 8192


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
        self.sizes = frames.qm_ptr.diff().tolist(), frames.mm_ptr.diff().tolist()
        with torch.no_grad():
            parts = [_expansion_parts(*frame, l_max) for frame in _each(frames)]
            self.harmonics = [part[4:] for part in parts]
            self.raised = torch.cat([part[3] for part in parts], dim=1)  # to order L+1, (b, N)
        packed = self.raised[: n_components(l_max)]
        self.tensors = packed.T.clone().requires_grad_()  # (N, a)

    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC (N, a) → what C contributes to dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,)."""
        return _PullBack.apply(self, grad)


class _PullBack(torch.autograd.Function):
    """`_ExpansionGradient` of all frames together, and its derivative with respect to G only."""

    @staticmethod
    def forward(
        ctx: Any, expansion: Expansion, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.expansion = expansion
        columns = _column_rows(expansion.l_max, grad.dtype, grad.device) @ grad.T
        columns = columns.reshape(4, -1, len(grad))  # H in the first three, G in the last
        frames = zip(expansion.harmonics, columns.split(expansion.sizes[0], dim=2), strict=True)
        per_site = torch.cat([_sum_over_atoms(*frame) for frame in frames])  # (K, 4)
        atoms = -(columns[:3] * expansion.raised).sum(1).T
        return atoms, per_site[:, :3] * expansion.charges.unsqueeze(1), per_site[:, 3].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, u_atoms: torch.Tensor, u_sites: torch.Tensor, u_charges: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        expansion = ctx.expansion
        n_qm, n_mm = expansion.sizes
        weights = torch.cat([u_sites.T * expansion.charges, u_charges.unsqueeze(0)])
        frames = zip(expansion.harmonics, weights.split(n_mm, dim=1), n_qm, strict=True)
        moments = torch.cat([_sum_over_sites(*frame) for frame in frames], dim=1)  # (b, N, 4)
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
        parts = _expansion_parts(atoms, sites, charges, l_max)
        ctx.save_for_backward(*parts)
        ctx.l_max = l_max
        return parts[3][: n_components(l_max)].clone()

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
        *harmonics: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads = torch.einsum("adb,ai->dbi", gradient_matrix(l_max).to(grad), grad)
        padded = torch.nn.functional.pad(grad, (0, 0, 0, len(tensors) - len(grad)))
        per_site = _sum_over_atoms(harmonics, torch.cat([heads, padded.unsqueeze(0)]))
        grad_atoms = -(heads * tensors).sum(1).T
        ctx.save_for_backward(atoms, sites, charges, tensors, heads, per_site, *harmonics)
        ctx.l_max = l_max
        return grad_atoms, per_site[:, :3] * charges.unsqueeze(1), per_site[:, 3].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, u_atoms: torch.Tensor, u_sites: torch.Tensor, u_charges: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        # The derivative of S = u_R·dE/dR + u_r·dE/dr + u_q·dE/dq, first with respect to G, in which
        # S is linear, …
        atoms, sites, charges, tensors, heads, per_site, *harmonics = ctx.saved_tensors
        l_max = ctx.l_max
        weights = torch.cat([u_sites.T * charges, u_charges.unsqueeze(0)])
        moments = _sum_over_sites(harmonics, weights, len(atoms))  # (b, n_qm, 4)
        drag = u_atoms.T.unsqueeze(1)  # (3, 1, n_qm)
        shifts = moments[..., :3].permute(2, 0, 1) - drag * tensors  # (3, b, n_qm)
        grad_grad = torch.einsum("adb,dbi->ai", gradient_matrix(l_max).to(heads), shifts)
        grad_grad = grad_grad + moments[: n_components(l_max), :, 3]

        # … then with respect to positions and charges, for which order L+2 enters.
        raising = gradient_matrix(l_max + 1).to(heads)
        curvature = torch.einsum("dbi,bec->deci", heads, raising)  # (3, 3, c, n_qm)
        harmonics2 = _pair_harmonics(atoms, sites, l_max + 2)
        weights2 = torch.cat([weights[:3], charges.unsqueeze(0)])
        moments2 = _sum_over_sites(harmonics2, weights2, len(atoms))
        shifts2 = moments2[..., :3].permute(2, 0, 1) - drag * moments2[..., 3]
        grad_atoms = torch.einsum("dci,deci->ie", shifts2, curvature)
        grad_atoms = -grad_atoms - torch.einsum("bi,ebi->ie", moments[..., 3], heads)

        dragged = torch.einsum("di,deci->eci", u_atoms.T, curvature)
        columns = torch.cat([curvature.flatten(0, 1), dragged])
        own = _sum_over_atoms(harmonics2, columns)  # (n_mm, 9 + 3)
        turned = torch.einsum("kd,kde->ke", u_sites, own[:, :9].reshape(-1, 3, 3)) - own[:, 9:]
        grad_sites = charges.unsqueeze(1) * turned + u_charges.unsqueeze(1) * per_site[:, :3]

        pulled = _sum_over_atoms(harmonics, (drag * heads).sum(0, keepdim=True))
        grad_charges = (u_sites * per_site[:, :3]).sum(1) - pulled[:, 0]
        unused = (None,) * (len(harmonics) + 1)
        return None, grad_grad, grad_atoms, grad_sites, grad_charges, *unused


def _each(frames: FrameBatch) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Atoms, sites and charges of every frame."""
    n_qm, n_mm = frames.qm_ptr.diff().tolist(), frames.mm_ptr.diff().tolist()
    sites, charges = frames.mm_positions.split(n_mm), frames.mm_charges.split(n_mm)
    return zip(frames.qm_positions.split(n_qm), sites, charges, strict=True)


def _expansion_parts(
    atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor, l_max: int
) -> tuple[torch.Tensor, ...]:
    """What the gradient is made from: the arguments, C to order L+1, and the harmonics."""
    # One order more than asked for: the gradient is made of it.
    harmonics = _pair_harmonics(atoms, sites, l_max + 1)
    tensors = _sum_over_sites(harmonics, charges.unsqueeze(0), len(atoms))[..., 0]
    return atoms, sites, charges, tensors, *harmonics


def _pair_harmonics(atoms: torch.Tensor, sites: torch.Tensor, l_max: int) -> list[torch.Tensor]:
    """I_lm(r_k − R_i) in blocks of sites, each ((l_max+1)²·n_qm, n_sites)."""
    # Contiguous, as everything made of them then is: 4 times faster than rows of length 3.
    rows, columns = (x.T.contiguous() for x in (atoms, sites))
    rows, columns = rows.unsqueeze(2), columns.unsqueeze(1)  # (3, n_qm, 1), (3, 1, n_mm)
    blocks = columns.split(max(1, _PAIRS_PER_BLOCK // max(1, len(atoms))), dim=2)
    n_rows = n_components(l_max) * len(atoms)
    return [
        irregular_harmonics((block - rows).flatten(1), l_max).reshape(n_rows, block.shape[2])
        for block in blocks
    ]


def _sum_over_sites(
    harmonics: Sequence[torch.Tensor], weights: torch.Tensor, n_qm: int
) -> torch.Tensor:
    """k_e Σ_k I_bik w_ck: (c, n_mm) → (b, n_qm, c)."""
    # Weights in long rows: 3 times faster than a matrix of a few columns.
    blocks = weights.split([block.shape[1] for block in harmonics], dim=1)
    total = sum(b @ w.T for b, w in zip(harmonics, blocks, strict=True))
    return COULOMB_CONSTANT * total.reshape(-1, n_qm, len(weights))


def _sum_over_atoms(harmonics: Sequence[torch.Tensor], columns: torch.Tensor) -> torch.Tensor:
    """k_e Σ_bi I_bik h_cbi: (c, b, n_qm) → (n_mm, c)."""
    rows = COULOMB_CONSTANT * columns.flatten(1)
    return torch.cat([rows @ block for block in harmonics], dim=1).T
