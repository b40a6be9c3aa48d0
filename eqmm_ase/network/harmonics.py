"""Real solid harmonics and their couplings, packed: all orders l side by side in one axis.

The packed axis holds (l_max+1)² components, order l occupying the slice l² … (l+1)², components
in e3nn's order and 'norm' normalisation: Σ_m Y_lm(a) Y_lm(b) = P_l(cos γ). With it

    1/|r − x| = Σ_lm R_lm(x) I_lm(r),  R_lm = |x|^l Y_lm,  I_lm = Y_lm / |r|^(l+1),  |x| < |r|

All coefficients come from e3nn's Wigner 3j symbols, once, when a module is made; per call a
handful of matrix products remains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import Any

import torch
from e3nn import o3


def n_components(l_max: int) -> int:
    """Length of the packed axis, (l_max+1)²."""
    return (l_max + 1) ** 2


def degree_of_component(l_max: int) -> torch.Tensor:
    """Order l of every packed component, ((l_max+1)²,)."""
    return torch.cat([torch.full((2 * l + 1,), l) for l in range(l_max + 1)])


@cache
def raising_matrix(l: int) -> torch.Tensor:
    """M with R_{l+1}(r)_c = Σ_ab R_l(r)_a r_b M_abc; (2l+1, 3, 2l+3), float64.

    The same tensor gives all derivatives (a gradient of order l has components of one order only):
    ∂_b I_l,a = −(l+1) Σ_c M_abc I_{l+1,c}   and   ∂_b R_{l+1},c = (l+1) Σ_a M_abc R_l,a.
    """
    coupling = o3.wigner_3j(l, 1, l + 1, dtype=torch.float64)
    pole = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    at_pole = [o3.spherical_harmonics(k, pole, False, "norm") for k in (l, l + 1)]
    raised = torch.einsum("a,b,abc->c", at_pole[0], pole, coupling)
    return coupling / torch.dot(raised, at_pole[1])


@cache
def gradient_matrix(l_max: int) -> torch.Tensor:
    """A with ∂_d I_a = Σ_b A_adb I_b, packed: ((l_max+1)², 3, (l_max+2)²), float64."""
    matrix = torch.zeros(n_components(l_max), 3, n_components(l_max + 1), dtype=torch.float64)
    for l in range(l_max + 1):
        here, above = slice(l**2, (l + 1) ** 2), slice((l + 1) ** 2, (l + 2) ** 2)
        matrix[here, :, above] = -(l + 1) * raising_matrix(l)
    return matrix


@cache
def regular_gradient_matrix(l_max: int) -> torch.Tensor:
    """D with ∂_d R_a = Σ_b R_b D_bad, packed: (n, n, 3), n = (l_max+1)², float64."""
    n = n_components(l_max)
    matrix = torch.zeros(n, n, 3, dtype=torch.float64)
    for l in range(l_max):
        here, above = slice(l**2, (l + 1) ** 2), slice((l + 1) ** 2, (l + 2) ** 2)
        matrix[here, above] = (l + 1) * raising_matrix(l).transpose(1, 2)
    return matrix


@cache
def translation_tensor(l_max: int) -> torch.Tensor:
    """T with I_a(r + x) = Σ_bc R_b(x) T_abc I_c(r), |x| < |r|; (n, n, n) packed, float64.

    Only terms up to I_lm with l = l_max are kept, l_a + l_b = l_c ≤ l_max. They follow from the
    Taylor series of a harmonic function, f(r + x) = Σ_lm R_lm(x) [R_lm(∂) f](r) / (2l−1)!!.
    """
    n = n_components(l_max)
    gradient = gradient_matrix(l_max)[..., :n]
    tensor = torch.zeros(n, n, n, dtype=torch.float64)
    derivative = torch.eye(n, dtype=torch.float64).unsqueeze(1)  # R_lm(∂) I_a, (a, m, c)
    for l in range(l_max + 1):
        tensor[:, l**2 : (l + 1) ** 2] = derivative
        # R_{l+1}(∂) is made of R_l(∂) and ∂ as R_{l+1}(x) is of R_l(x) and x.
        raised = torch.einsum("amc,cde,mdo->aoe", derivative, gradient, raising_matrix(l))
        derivative = raised / (2 * l + 1)
    return tensor


def regular_harmonics(vectors: torch.Tensor, l_max: int) -> torch.Tensor:
    """R_lm = |x|^l Y_lm(x/|x|) of every vector: (3, n) → ((l_max+1)², n). Polynomials, smooth at 0.

    Components come first so that every step is a matrix product over long contiguous rows.
    """
    orders = [torch.ones_like(vectors[:1])]
    for l in range(l_max):
        product = (orders[-1].unsqueeze(1) * vectors).flatten(0, 1)  # ((2l+1)·3, n)
        orders.append(_raising_rows(l, vectors.dtype, vectors.device) @ product)
    return torch.cat(orders)


def irregular_harmonics(vectors: torch.Tensor, l_max: int) -> torch.Tensor:
    """I_lm = Y_lm(r/|r|)/|r|^(l+1) of every vector: (3, n) → ((l_max+1)², n), in Å^-(l+1)."""
    # R_lm of the inverted vector r/r² is Y_lm/|r|^l, so one factor 1/|r| makes I_lm: no high powers
    # of r appear, which matters in float32.
    inverse_square = vectors.square().sum(dim=0).reciprocal()
    return regular_harmonics(vectors * inverse_square, l_max) * inverse_square.sqrt()


def gradient_of_unit_harmonics(
    harmonics: torch.Tensor, units: torch.Tensor, distances: torch.Tensor
) -> torch.Tensor:
    """∇ Y_lm(x/|x|) = (∇R_lm − l u Y_lm) / |x| with ∇R_lm taken at the unit vector u = x/|x|.

    Parameters
    ----------
    harmonics: Y_lm(u), (n, (l_max+1)²).
    units, distances: u, (n, 3), and |x|, (n,).

    Returns
    -------
    (n, (l_max+1)², 3).
    """
    matrix, degree = _unit_gradient_rows(harmonics.shape[1], harmonics.dtype, harmonics.device)
    regular = (harmonics @ matrix).unflatten(1, (-1, 3))
    radial = (harmonics * degree).unsqueeze(2)
    across = torch.addcmul(regular, radial, units.unsqueeze(1), value=-1.0)
    return across / distances.reshape(-1, 1, 1)


@cache
def _unit_gradient_rows(
    n: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    l_max = isqrt(n) - 1
    matrix = regular_gradient_matrix(l_max).flatten(1)
    return matrix.to(device, dtype), degree_of_component(l_max).to(device, dtype)


@cache
def _raising_rows(l: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return raising_matrix(l).reshape(-1, 2 * l + 3).T.contiguous().to(dtype=dtype, device=device)


@dataclass(frozen=True)
class Coupling:
    """Clebsch–Gordan coupling of two packed tensors, all allowed paths (l1, l2 → l3) at once.

    `tensor` (a, b, o): the paths' output components laid one after another; `path` (o,): the path
    an output belongs to; `target` (o,): the packed component it adds to.
    """

    tensor: torch.Tensor
    path: torch.Tensor
    target: torch.Tensor
    paths: tuple[tuple[int, int, int], ...]


def coupling(l_first: int, l_second: int, l_out: int, *, symmetric: bool = False) -> Coupling:
    """All natural-parity paths between two packed tensors, each of unit component variance.

    Only paths with l1+l2+l3 even keep the parity (−1)^l, hence are invariant under inversion.
    Of a product of a tensor with itself (`symmetric`), l1 ≤ l2 says everything.
    """
    paths: list[tuple[int, int, int]] = []
    target: list[int] = []
    blocks, path_index = [], []
    for l1 in range(l_first + 1):
        for l2 in range(l1 if symmetric else 0, l_second + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, l_out) + 1):
                if (l1 + l2 + l3) % 2:
                    continue
                block = torch.zeros(
                    n_components(l_first), n_components(l_second), 2 * l3 + 1, dtype=torch.float64
                )
                first, second = slice(l1**2, (l1 + 1) ** 2), slice(l2**2, (l2 + 1) ** 2)
                block[first, second] = (
                    o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * (2 * l3 + 1) ** 0.5
                )
                path_index += [len(paths)] * (2 * l3 + 1)
                target += range(l3**2, (l3 + 1) ** 2)
                paths.append((l1, l2, l3))
                blocks.append(block)
    return Coupling(
        torch.cat(blocks, dim=2), torch.tensor(path_index), torch.tensor(target), tuple(paths)
    )


def gather_matrix(table: Coupling, l_out: int) -> torch.Tensor:
    """(components, outputs of the coupling): adds up the paths, each l to unit variance."""
    matrix = torch.zeros(n_components(l_out), len(table.target), dtype=torch.float64)
    matrix[table.target, torch.arange(len(table.target))] = 1.0
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1.0).sqrt()


class ExactModule(torch.nn.Module):
    """A module whose constants are kept in float64 and rounded to the module's dtype, never back.

    `module.float().double()` casts a buffer down and up and leaves it wrong by 1e-8: a
    Clebsch–Gordan table like that breaks rotational symmetry at the same size.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, torch.Tensor] = {}

    def register_constant(self, name: str, value: torch.Tensor) -> None:
        """Register a float64 tensor that is not part of the state dict."""
        self._exact[name] = value.double()
        self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        for name, value in self._exact.items():
            setattr(self, name, value.to(getattr(self, name)))
        return self
