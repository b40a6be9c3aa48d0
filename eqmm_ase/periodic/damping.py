"""Radial functions of Ewald's splitting, of any order.

1/r = erfc(αr)/r + erf(αr)/r: the first is summed over near charges, the second, which is smooth,
over waves. Derivatives of both, with x = αr and f_n = (1/r d/dr)^n f:

    f = erfc(αr)/r    f_n = (−1)^n (2n−1)!! g_n(x)/r^(2n+1)
                      g_n(x) = erfc(x) + (2/√π) e^(−x²) Σ_{j=1..n} 2^(j−1) x^(2j−1)/(2j−1)!!
    f = erf(αr)/r     f_n = (2α/√π) (−2α²)^n F_n(x²)

with Boys' function F_n. The damped irregular harmonics g_l I_lm are (−1)^l R_lm(∂)/(2l−1)!! of the
first.

Source: W. Smith, CCP5 Newsletter 46, 18 (1998); S. F. Boys, Proc. R. Soc. A 200, 542 (1950).
"""

from __future__ import annotations

import math

import torch

_TWO_BY_ROOT_PI = 2.0 / math.sqrt(math.pi)


def double_factorial(n: int) -> float:
    """(2n−1)!! = 1·3·5 … (2n−1); 1 for n = 0."""
    return float(math.prod(range(1, 2 * n, 2)))


def damping(x: torch.Tensor, n_max: int) -> list[torch.Tensor]:
    """g_n(x) for n = 0 … n_max, each of the shape of x; 1 at 0, and falling to 0."""
    orders = [torch.erfc(x)]
    square = x * x
    term = _TWO_BY_ROOT_PI * x * torch.exp(-square)
    for n in range(1, n_max + 1):
        orders.append(orders[-1] + term)
        term = term * square * (2.0 / (2 * n + 1))
    return orders


def boys(t: torch.Tensor, n_max: int, series: torch.Tensor) -> list[torch.Tensor]:
    """F_n(t) = ∫_0^1 s^2n e^(−t s²) ds for n = 0 … n_max and t ≥ 0; differentiable once.

    The highest orders from their series, in which all terms are positive, the others by the stable
    recursion downwards.

    Parameters
    ----------
    t: (P,).
    n_max: highest order.
    series: from `boys_series`, for these orders and arguments.
    """
    with torch.no_grad():
        # F_n(t) = e^(−t)/(2n+1) Σ_j (2t)^j / ((2n+3) … (2n+2j+1)).
        terms = torch.cumprod(series.unsqueeze(1) * t, dim=0)
        beyond = torch.exp(-t) * (1.0 + terms.sum(0)) / (2 * n_max + 3)
        highest = (2.0 * t * beyond + torch.exp(-t)) / (2 * n_max + 1)
    # dF_n/dt = −F_(n+1): the chain rule need not go through the series.
    orders = [highest - beyond * (t - t.detach())]
    decay = torch.exp(-t)
    for n in range(n_max, 0, -1):
        orders.append((2.0 * t * orders[-1] + decay) / (2 * n - 1))
    return orders[::-1]


def boys_series(largest: float, n_max: int) -> torch.Tensor:
    """Ratios of a term to the one before by t, of the series that `boys` sums, (j,).

    Parameters
    ----------
    largest: t at most. The number of terms grows with it, in few and large steps.
    n_max: highest order.
    """
    # Terms grow until j reaches t; after twice as many each is at most half of the one before.
    number = 64 * math.ceil((50 + 2 * largest) / 64)
    return 2.0 / (2.0 * (n_max + 1 + torch.arange(1, number + 1, dtype=torch.float64)) + 1.0)
