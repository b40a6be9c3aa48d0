"""Harmonics of wave vectors as polynomials in their integer indices.

A wave vector of the box is k = Σ_a n_a b_a with integers n and reciprocal vectors b_a, and
e^(ik·R) a product of three functions of one n_a each. So is every monomial n_1^a n_2^b n_3^c: what
is a polynomial in k is summed over all waves one axis at a time, in triclinic boxes as in cubic
ones. Here are the polynomials, with indices divided by their largest value to keep float32 happy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import torch

from eqmm_ase.network.harmonics import degree_of_component, raising_matrix, regular_gradient_matrix
from eqmm_ase.periodic.cell import Box
from eqmm_ase.periodic.damping import double_factorial
from eqmm_ase.units import COULOMB_CONSTANT


@dataclass(frozen=True)
class Monomials:
    """All n_1^a n_2^b n_3^c up to a degree."""

    exponents: torch.Tensor  # (p, 3) int64: a, b and c
    raised: torch.Tensor  # (3, p, p) float64: p' = n_a p, for degrees that stay within the list

    @property
    def degrees(self) -> torch.Tensor:
        """Degree a + b + c of each, (p,)."""
        return self.exponents.sum(1)


@cache
def monomials(degree: int) -> Monomials:
    """Those up to a degree, lower degrees first."""
    exponents = [
        (a, b, d - a - b) for d in range(degree + 1) for a in range(d + 1) for b in range(d - a + 1)
    ]
    place = {exponent: row for row, exponent in enumerate(exponents)}
    raised = torch.zeros(3, len(exponents), len(exponents), dtype=torch.float64)
    for row, exponent in enumerate(exponents):
        for axis in range(3):
            above = tuple(e + (i == axis) for i, e in enumerate(exponent))
            if above in place:
                raised[axis, row, place[above]] = 1.0
    return Monomials(torch.tensor(exponents), raised)


@dataclass(frozen=True)
class WavePolynomials:
    """R_lm(k)/(2l−1)!! and what its derivatives need, in monomials of degree L+1; float64."""

    harmonics: torch.Tensor  # (a, p)
    gradients: torch.Tensor  # (3, a, p): k_b R_lm(k)/(2l−1)!!
    shears: torch.Tensor  # (3, 3, a, p): k_b ∂_a R_lm(k)/(2l−1)!!, first index a

    @classmethod
    def of(cls, vectors: torch.Tensor, l_max: int) -> WavePolynomials:
        """For wave vectors k = Σ_a n_a b_a.

        Parameters
        ----------
        vectors: b_a times the largest value of n_a, which is then 1; (3, 3) float64, rows.
        """
        table = monomials(l_max + 1).raised
        times_k = torch.einsum("ax,apq->xpq", vectors, table)  # polynomial p times k_x
        rows = torch.zeros(1, table.shape[1], dtype=torch.float64)
        rows[0, 0] = 1.0
        orders = [rows]
        for l in range(l_max):
            products = torch.einsum("mp,xpq->mxq", orders[-1], times_k)
            orders.append(torch.einsum("mxo,mxq->oq", raising_matrix(l), products))
        degrees = degree_of_component(l_max).tolist()
        scale = torch.tensor([1.0 / double_factorial(l) for l in degrees], dtype=torch.float64)
        harmonics = torch.cat(orders)  # (a, p)
        derivatives = torch.einsum("bax,bp->xap", regular_gradient_matrix(l_max), harmonics)
        scale = scale.unsqueeze(1)
        return cls(
            harmonics=scale * harmonics,
            gradients=scale * torch.einsum("ap,xpq->xaq", harmonics, times_k),
            shears=scale * torch.einsum("xap,ypq->xyaq", derivatives, times_k),
        )


@dataclass(frozen=True, eq=False)
class WaveGrid:
    """The waves of one box, and what of sums over them depends on the box alone.

    The sums themselves are described in `eqmm_ase.periodic.far`.
    """

    box: Box
    modes: tuple[int, int, int]
    """Odd numbers of waves along the three axes."""
    alpha: float
    """1/Å."""
    l_max: int
    dtype: torch.dtype

    @cached_property
    def highest(self) -> list[int]:
        """Largest n_a."""
        return [(m - 1) // 2 for m in self.modes]

    @cached_property
    def vectors(self) -> torch.Tensor:
        """b_a times the largest n_a, (3, 3) in 1/Å, float64."""
        largest = torch.tensor([max(n, 1) for n in self.highest], dtype=torch.float64)
        return 2.0 * torch.pi * largest.unsqueeze(1) * self.box.inverse.T

    @cached_property
    def indices(self) -> list[torch.Tensor]:
        """n_a divided by the largest, along each axis, float64."""
        return [torch.arange(-n, n + 1, dtype=torch.float64) / max(n, 1) for n in self.highest]

    @cached_property
    def _square(self) -> torch.Tensor:
        """k² of every wave, (m1, m2, m3) in 1/Å², float64; infinite for k = 0."""
        n1, n2, n3 = torch.meshgrid(*self.indices, indexing="ij")
        metric = (self.vectors @ self.vectors.T).tolist()
        square = metric[0][0] * n1 * n1 + metric[1][1] * n2 * n2 + metric[2][2] * n3 * n3
        mixed = metric[0][1] * n1 * n2 + metric[0][2] * n1 * n3 + metric[1][2] * n2 * n3
        square += 2.0 * mixed
        square[tuple(self.highest)] = torch.inf
        return square

    @cached_property
    def weights(self) -> torch.Tensor:
        """W(k) in V Å²/e², (m1, m2, m3)."""
        factor = 4.0 * torch.pi * COULOMB_CONSTANT / self.box.volume
        weights = factor * torch.exp(-self._square / (4.0 * self.alpha**2)) / self._square
        return weights.to(self.dtype)

    @cached_property
    def half_weights(self) -> torch.Tensor:
        """W(k) of n3 ≥ 0, twice where n3 > 0."""
        weights = 2.0 * self.weights[..., self.highest[2] :]
        weights[..., 0] *= 0.5
        return weights

    @cached_property
    def field_weights(self) -> torch.Tensor:
        """What makes of Θ the waves of φ + i ∂φ/∂x_1 and of ∂φ/∂x_2 + i ∂φ/∂x_3, (2, m1, m2, m3).

        x_a is 2π times the largest n_a times the fractional coordinate.
        """
        n1, n2, n3 = torch.meshgrid(*self.indices, indexing="ij")
        factors = torch.stack(
            [torch.complex(1.0 + n1, torch.zeros_like(n1)), torch.complex(n3, -n2)]
        )
        return (factors * self.weights.double()).to(self.complex)

    @cached_property
    def stretch(self) -> torch.Tensor:
        """−d ln W/d k² times two, 2/k² + 1/2α², (m1, m2, m3) in Å²."""
        return (2.0 / self._square + 0.5 / self.alpha**2).to(self.dtype)

    @property
    def complex(self) -> torch.dtype:
        """The complex type of `dtype`."""
        return torch.complex64 if self.dtype == torch.float32 else torch.complex128

    @cached_property
    def _polynomials(self) -> WavePolynomials:
        return WavePolynomials.of(self.vectors, self.l_max)

    @cached_property
    def harmonics(self) -> torch.Tensor:
        """From moments to C, (a, p)."""
        return self._polynomials.harmonics.to(self.dtype)

    @cached_property
    def gradients(self) -> torch.Tensor:
        """From moments to ∂C/∂R, (3, a, p)."""
        return self._polynomials.gradients.to(self.dtype)

    @cached_property
    def shears(self) -> torch.Tensor:
        """From moments to the change of R_lm(k) with k, (3, 3, a, p)."""
        return self._polynomials.shears.to(self.dtype)

    @cached_property
    def exponents(self) -> list[torch.Tensor]:
        """a, b and c of every monomial, (p,) each."""
        return list(monomials(self.l_max + 1).exponents.unbind(1))

    @cached_property
    def turns(self) -> torch.Tensor:
        """The imaginary unit to the degree of every monomial, (p,)."""
        powers = torch.tensor([1, 1j, -1, -1j], dtype=self.complex)
        return powers[monomials(self.l_max + 1).degrees % 4]

    def powers(self, atoms: torch.Tensor, axis: int) -> torch.Tensor:
        """n^d e^(2πi n u) along an axis for d = 0 … L+1, n over its largest value in the power.

        Fractional coordinates along it (N,) → (N, d, m) complex.
        """
        index = torch.arange(-self.highest[axis], self.highest[axis] + 1, dtype=torch.float64)
        phases = 2.0 * torch.pi * atoms.double().unsqueeze(1) * index  # (N, m)
        waves = torch.polar(torch.ones_like(phases), phases).unsqueeze(1)
        orders = torch.arange(self.l_max + 2).unsqueeze(1)
        return (self.indices[axis] ** orders * waves).to(self.complex)

    def second_moments(self, values: torch.Tensor) -> torch.Tensor:
        """Σ_k v(k) k_a k_b of a table (m1, m2, m3), (3, 3)."""
        n1, n2, n3 = (index.to(values) for index in self.indices)
        first, second, third = values.sum(2), values.sum(1), values.sum(0)
        table = torch.stack(
            [
                torch.stack([n1**2 @ first.sum(1), n1 @ first @ n2, n1 @ second @ n3]),
                torch.stack([n1 @ first @ n2, n2**2 @ first.sum(0), n2 @ third @ n3]),
                torch.stack([n1 @ second @ n3, n2 @ third @ n3, n3**2 @ third.sum(0)]),
            ]
        )
        vectors = self.vectors.to(values)
        return vectors.T @ table @ vectors
