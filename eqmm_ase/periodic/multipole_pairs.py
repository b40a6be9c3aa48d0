"""Interaction of two multipoles by any radial function, not only 1/r.

With P^i_a(x) = Σ_m c_a μ^i_am R_am(x), c_a = 1/(2a−1)!!, multipoles i and j at the distance
d = R_i − R_j have the energy

    Σ_ab (−1)^b P^i_a(∂) P^j_b(∂) f(d)
        = Σ_ab (−1)^b Σ_lm [R_lm(∂) P^i_a](d) [R_lm(∂) P^j_b](d) f_(a+b−l)(d) / (2l−1)!!

f_n = (1/r d/dr)^n f. It follows from Q(∂) f = Q(d) f_n for a harmonic polynomial Q of order n, from
the product rule, ∂ = ∂_P + ∂_f, and from the Taylor series of a harmonic polynomial,
P(u + v) = Σ_lm R_lm(u) [R_lm(∂) P](v) / (2l−1)!!.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt

import torch

from eqmm_ase.network.harmonics import (
    degree_of_component,
    n_components,
    raising_matrix,
    regular_gradient_matrix,
    regular_harmonics,
)
from eqmm_ase.periodic.damping import double_factorial


def pair_energies(
    moments: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    vectors: torch.Tensor,
    radial: torch.Tensor,
) -> torch.Tensor:
    """Energies of pairs of atoms, (P,), without k_e.

    Parameters
    ----------
    moments: μ of all atoms, (N, (L+1)²) float64.
    first, second: atoms of the pairs, (P,).
    vectors: R_first − R_second, (P, 3).
    radial: f_n for n = 0 … 2L, (2L+1, P).
    """
    tables = _tables(isqrt(moments.shape[1]) - 1)
    harmonics = regular_harmonics(vectors.T, tables.l_max).index_select(0, tables.component)
    coefficients = (moments @ tables.coefficients).T  # (t, N)
    # R_lm(∂) P_a of both sides, (a and lm, P):
    at_first, at_second = (
        tables.gather @ (coefficients.index_select(1, atom) * harmonics) for atom in (first, second)
    )
    products = at_first.index_select(0, tables.left) * at_second.index_select(0, tables.right)
    return ((tables.couple @ products) * radial).sum(0)


@dataclass(frozen=True)
class _Tables:
    l_max: int
    coefficients: torch.Tensor  # (a, t): c_a R_lm(∂) R_a in R_c, for every term (lm, c)
    component: torch.Tensor  # (t,) c
    gather: torch.Tensor  # (s, t) terms that add up to R_lm(∂) P_a, for every (a, lm)
    left: torch.Tensor  # (p,) which of them are multiplied
    right: torch.Tensor  # (p,)
    couple: torch.Tensor  # (2L+1, p): (−1)^b/(2l−1)!! where n = a + b − l


@cache
def _tables(l_max: int) -> _Tables:
    derivatives = _derivatives_of_harmonics(l_max)
    degree = degree_of_component(l_max).tolist()
    terms = [
        (lm, c)
        for lm in range(len(degree))
        for c in range(len(degree))
        if degree[lm] + degree[c] <= l_max
    ]
    # An order a and a derivative lm leave the order a − l.
    sums = sorted({(degree[lm] + degree[c], lm) for lm, c in terms})
    place = {pair: row for row, pair in enumerate(sums)}
    gather = torch.zeros(len(sums), len(terms), dtype=torch.float64)
    for column, (lm, c) in enumerate(terms):
        gather[place[degree[lm] + degree[c], lm], column] = 1.0
    products = [(one, other) for one in sums for other in sums if one[1] == other[1]]
    couple = torch.zeros(2 * l_max + 1, len(products), dtype=torch.float64)
    for column, ((a, lm), (b, _)) in enumerate(products):
        couple[a + b - degree[lm], column] = (-1.0) ** b / double_factorial(degree[lm])
    lms, components = zip(*terms, strict=True)
    return _Tables(
        l_max,
        derivatives[:, list(lms), list(components)],
        torch.tensor(components),
        gather,
        torch.tensor([place[one] for one, _ in products]),
        torch.tensor([place[other] for _, other in products]),
        couple,
    )


def _derivatives_of_harmonics(l_max: int) -> torch.Tensor:
    """c_a R_lm(∂) R_a in R_c: (a, lm, c)."""
    n = n_components(l_max)
    gradient = regular_gradient_matrix(l_max).permute(1, 2, 0)  # ∂_d R_a in R_c, (a, d, c)
    found = torch.zeros(n, n, n, dtype=torch.float64)
    rows = torch.eye(n, dtype=torch.float64).unsqueeze(1)  # R_lm(∂) R_a, (a, m, c)
    for l in range(l_max + 1):
        found[:, l**2 : (l + 1) ** 2] = rows
        # R_(l+1)(∂) is made of R_l(∂) and ∂ as R_(l+1)(x) is of R_l(x) and x.
        rows = torch.einsum("amc,cde,mdo->aoe", rows, gradient, raising_matrix(l))
    scale = [double_factorial(l) for l in degree_of_component(l_max).tolist()]
    return found / torch.tensor(scale, dtype=torch.float64).reshape(-1, 1, 1)
