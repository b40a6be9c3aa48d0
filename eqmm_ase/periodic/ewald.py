"""The potential of periodic point charges around every QM atom, by Ewald's sum.

    C^i_lm = near part (`periodic.near`) + far part (`periodic.far`) − δ_l0 π k_e Q_MM/(α² V)

Q_MM is the sum of the charges. Where it is not zero, a uniform background neutralises the box: the
wave k = 0 is left out, and the last term, without which the potential would depend on α, makes the
mean of the potential over the box zero.

The parts end where they have fallen to ε: α r_c = √−ln ε and k_max = 2α √−ln ε. For the waves ε is
the tolerance τ. For the charges it is less, as g_l falls slower than e^(−x²) with x, and the less
the shorter the cutoff, as C_l of what lies beyond it is larger: τ/20 (r_c/12 Å)⁵.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike

from eqmm_ase.periodic.cell import Box, Images, check_no_site_on_atom, images_within
from eqmm_ase.periodic.far import FarPart
from eqmm_ase.periodic.near import NearPart
from eqmm_ase.periodic.nufft import NonUniformFFT, finufft
from eqmm_ase.periodic.waves import WaveGrid
from eqmm_ase.units import COULOMB_CONSTANT

TOLERANCE = 1e-4
"""Of C relative to its size in water, order by order."""
_NEAR, _NEAR_CUTOFF, _NUFFT = 0.05, 12.0, 0.3  # Å; tolerances in units of the whole
_SHORTEST, _LONGEST = 9.0, 20.0  # Å, of cutoffs chosen by cost
_SLACK = 0.05  # a box may shrink or grow by so much before cutoff and waves are chosen anew
_WAVE_PER_PAIR = 0.5  # measured cost of a wave over that of a pair within the cutoff
_DENSITY = 0.1  # charges per Å³ of water and of biomolecules alike


@dataclass(frozen=True)
class Splitting:
    """Where Ewald's sum is split, and where its parts end.

    It stays while a box changes a little: the difference of two energies is then one of the boxes.
    """

    cutoff: float  # r_c, Å
    alpha: float  # 1/Å
    modes: tuple[int, int, int]  # waves along every axis, odd

    @classmethod
    def of(cls, box: Box, cutoff: float, tolerance: float) -> Splitting:
        """For a box, a cutoff in Å and ε.

        Raises
        ------
        BoxTooSmallError: the cutoff is more than half the smallest width of the box.
        """
        box.check_holds(cutoff)
        alpha = math.sqrt(-math.log(_near_tolerance(cutoff, tolerance))) / cutoff
        first, second, third = (
            2 * math.ceil(n) + 1 for n in _highest_waves(box, alpha, tolerance).tolist()
        )
        return cls(cutoff, alpha, (first, second, third))

    def suits(self, box: Box, tolerance: float) -> bool:
        """Whether a box that has changed can be computed as before."""
        missing = _highest_waves(box, self.alpha, tolerance) * (1.0 - _SLACK)
        enough = all(n <= (m - 1) / 2 for n, m in zip(missing.tolist(), self.modes, strict=True))
        return enough and self.cutoff <= 0.5 * box.width


def best_cutoff(box: Box, n_atoms: int, tolerance: float) -> float:
    """The cutoff at which pairs, ∝ r_c³, and waves, ∝ r_c⁻³, together cost least, in Å.

    No more than half the box, less a little so that the box may shrink.
    """
    pairs = max(1, n_atoms) * _DENSITY * 4.0 / 3.0 * math.pi  # times r_c³
    reaches = math.log(_NEAR * tolerance) * math.log(tolerance)  # α r_c k_max/2α, squared
    waves = box.volume * (2.0 * math.sqrt(reaches) / math.pi) ** 3  # times r_c⁻³
    best = (_WAVE_PER_PAIR * waves / pairs) ** (1.0 / 6.0)
    return min(max(best, _SHORTEST), _LONGEST, 0.5 * (1.0 - _SLACK) * box.width)


def _near_tolerance(cutoff: float, tolerance: float) -> float:
    return _NEAR * tolerance * min(1.0, cutoff / _NEAR_CUTOFF) ** 5


def _highest_waves(box: Box, alpha: float, tolerance: float) -> torch.Tensor:
    """Largest n_a of waves with |k| ≤ k_max = 2α √−ln ε, (3,): n_a = k·a_a/2π."""
    return box.lengths * (alpha * math.sqrt(-math.log(tolerance)) / math.pi)


class Ewald:
    """Ewald's sum for a QM region in a periodic box, to be asked again as things move.

    Parameters
    ----------
    l_max
        Highest order L, 0 to 4.
    tolerance
        Relative error of the tensors that is aimed at.
    cutoff
        r_c of the near part in Å, at most half the smallest width of the box; by default the
        cheapest.
    dtype
        Precision of the sums, float32 or float64. Positions may be given in float64 all the same:
        they are wrapped before they are rounded.

    Raises
    ------
    ImportError: finufft is not installed.
    ValueError: a tolerance or a cutoff that is none.
    """

    def __init__(
        self,
        l_max: int = 3,
        *,
        tolerance: float = TOLERANCE,
        cutoff: float | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not 1e-15 <= tolerance <= 0.1:
            raise ValueError(f"the tolerance of Ewald's sum is {tolerance}; give 1e-15 to 0.1")
        if cutoff is not None and not 0.0 < cutoff < math.inf:
            raise ValueError(f"the cutoff of Ewald's sum is {cutoff} Å; give a positive length")
        finufft()  # that it is there, before anything has begun
        self.l_max, self.tolerance, self.cutoff, self.dtype = l_max, tolerance, cutoff, dtype
        self.splitting: Splitting | None = None
        self._grid: WaveGrid | None = None
        self._transform: NonUniformFFT | None = None

    def expansion(
        self,
        qm_positions: torch.Tensor,
        mm_positions: torch.Tensor,
        mm_charges: torch.Tensor,
        cell: ArrayLike | torch.Tensor | None,
    ) -> EwaldExpansion:
        """The tensors C of one configuration.

        Parameters
        ----------
        qm_positions: (N, 3) Å, the QM region in one piece: its atoms are taken where they are.
        mm_positions: (K, 3) Å, anywhere: any image of a site will do.
        mm_charges: (K,) e.
        cell: lattice vectors as rows, (3, 3) Å.

        Raises
        ------
        ValueError: a cell that is none, numbers that are not finite, or a charge on an atom.
        BoxTooSmallError: the box is less than twice as wide as the cutoff.
        """
        if cell is None:
            raise ValueError("Ewald's sum needs a cell; without one, take a switched cutoff")
        splitting, grid, transform = self.prepared(Box.of(cell), len(qm_positions))
        return EwaldExpansion(
            splitting, grid, transform, qm_positions, mm_positions, mm_charges.to(self.dtype)
        )

    def prepared(self, box: Box, n_atoms: int) -> tuple[Splitting, WaveGrid, NonUniformFFT]:
        """What stays from step to step, made anew where the box asks for it."""
        splitting, grid, transform = self.splitting, self._grid, self._transform
        if splitting is None or grid is None or not torch.equal(grid.box.cell, box.cell):
            if splitting is None or not splitting.suits(box, self.tolerance):
                cutoff = self.cutoff or best_cutoff(box, n_atoms, self.tolerance)
                splitting = Splitting.of(box, cutoff, self.tolerance)
            grid = WaveGrid(box, splitting.modes, splitting.alpha, self.l_max, self.dtype)
        if transform is None or transform.modes != splitting.modes:
            transform = NonUniformFFT(splitting.modes, _NUFFT * self.tolerance, self.dtype)
        self.splitting, self._grid, self._transform = splitting, grid, transform
        return splitting, grid, transform


class EwaldExpansion:
    """Expansion C of one configuration as a leaf tensor, with the chain rule from dE/dC on.

    `tensors` (N, (L+1)²) in V/Å^l require a gradient. One energy, a function of independent
    R, r, q and cell, is behind all that `pull_back` and `strain` return.
    """

    def __init__(
        self,
        splitting: Splitting,
        grid: WaveGrid,
        transform: NonUniformFFT,
        qm_positions: torch.Tensor,
        mm_positions: torch.Tensor,
        mm_charges: torch.Tensor,
    ) -> None:
        self.box, self.charges = grid.box, mm_charges.detach()
        box = grid.box
        with torch.no_grad():
            self._atoms, self._sites = qm_positions.detach(), box.fractional(mm_positions.detach())
            charges = self.charges
            if not bool((self._sites.sum() + self._atoms.sum() + charges.sum()).isfinite()):
                raise ValueError("positions or charges are not finite numbers; check the input")
            near = self.near_sites(splitting.cutoff)
            check_no_site_on_atom(self._atoms, near)
            centre = self._atoms.mean(0)
            images = Images(near.index, near.shifts, (near.positions - centre).to(charges))
            atoms = (self._atoms - centre).to(charges)
            alpha, l_max = splitting.alpha, grid.l_max
            self._near = NearPart(atoms, images, charges, splitting.cutoff, alpha, l_max)
            fractions = box.fractional(self._atoms)
            self._far = FarPart(grid, transform, fractions, self._sites, charges)
            # Potential of the background per charge in the box, V/e.
            self._background = -math.pi * COULOMB_CONSTANT / (alpha**2 * box.volume)
            self._total_charge = float(charges.double().sum())
            tensors = self._near.tensors + self._far.tensors
            tensors[:, 0] += self._background * self._total_charge
        self.tensors = tensors.requires_grad_()

    def near_sites(self, distance: float) -> Images:
        """Images of all sites within a distance of any atom (Å), and some beyond it."""
        return images_within(self.box, self._sites, self._atoms, distance)

    @torch.no_grad()
    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC (N, (L+1)²) → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,), at a fixed cell."""
        near, far = self._near.pull_back(grad), self._far.pull_back(grad)
        atoms, sites, charges = (n + f for n, f in zip(near, far, strict=True))
        return atoms, sites, charges + self._background * grad[:, 0].sum()

    @torch.no_grad()
    def strain(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dε_ab where all atoms, sites and lattice vectors x become x (1 + ε), (3, 3) eV.

        From it, stress is dE/dε / V, and dE/dcell at fixed fractional coordinates cell⁻ᵀ dE/dε.
        """
        background = self._background * self._total_charge * grad[:, 0].sum()
        by_volume = background * torch.eye(3).to(grad)
        return self._near.strain(grad) + self._far.strain(grad).to(grad) - by_volume
