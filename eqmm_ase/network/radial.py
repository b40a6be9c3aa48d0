"""Functions of a distance that end smoothly at the cutoff."""

from __future__ import annotations

import torch

from eqmm_ase.network.harmonics import ExactModule


class BesselBasis(ExactModule):
    """√(2/r_c) sin(nπ r/r_c)/r for n = 1 … N; multiply by `smooth_cutoff` what is made of it.

    Source: Gasteiger, Groß, Günnemann, ICLR (2020), eq. 7.
    """

    frequencies: torch.Tensor

    def __init__(self, n_radial: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        orders = torch.arange(1, n_radial + 1, dtype=torch.float64)
        self.register_constant("frequencies", orders * torch.pi / cutoff)

    def forward(self, distances: torch.Tensor) -> torch.Tensor:
        """(n,) Å → (n, N)."""
        waves = torch.sin(distances.unsqueeze(1) * self.frequencies)
        return waves * ((2.0 / self.cutoff) ** 0.5 / distances).unsqueeze(1)

    def slopes(self, distances: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Derivatives of the values (n, N) that `forward` gave at the distances (n,); (n, N)."""
        scale = (2.0 / self.cutoff) ** 0.5 * self.frequencies
        waves = torch.cos(distances.unsqueeze(1) * self.frequencies) * scale
        return (waves - values) / distances.unsqueeze(1)


def smooth_cutoff(distances: torch.Tensor, cutoff: float) -> torch.Tensor:
    """1 − 10x³ + 15x⁴ − 6x⁵ with x = r/r_c: 1 at 0, and 0 with two vanishing derivatives at r_c."""
    x = (distances / cutoff).clamp(max=1.0)
    return 1.0 + x**3 * (-10.0 + x * (15.0 - 6.0 * x))


def smooth_cutoff_slope(distances: torch.Tensor, cutoff: float) -> torch.Tensor:
    """Derivative of `smooth_cutoff`: −30 x² (1 − x)² / r_c."""
    x = (distances / cutoff).clamp(max=1.0)
    return (-30.0 / cutoff) * (x * (1.0 - x)).square()
