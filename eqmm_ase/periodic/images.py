"""What the periodic images of the QM region do to it: the interaction of its multipoles.

    E_images = ½ Σ_ij Σ_n M_i(∂) M_j(−∂) ψ(R_i − R_j − n cell) without n = 0
    M_i(∂) = Σ_lm c_l μ^i_lm R_lm(∂),   c_l = 1/(2l−1)!!,   μ^i_lm = ∂E/∂C^i_lm

over all lattice vectors n, with ψ = k_e/r: multipoles μ at R make the potential
k_e Σ_lm μ_lm I_lm(r − R), and its expansion around another atom acts on the multipoles there. By
Ewald's sum, in parts,

    ½ Σ_(k≠0) W(k) |T(k)|²,   T(k) = Σ_i Σ_lm c_l i^l R_lm(k) μ^i_lm e^(ik·R_i)    (all copies)
    − what erf(αr)/r makes of it between the atoms of one copy, each with itself included
    + what erfc(αr)/r makes of it with the images within the cutoff
    − π k_e Q²/(2α² V),   Q = Σ_i μ^i_00    (uniform background)

The energy of the MM charges among themselves, which is the engine's, that of the QM region in their
potential (`periodic.ewald`), and this one have a background each. Together they are that of the
charge Q_MM + Q; where it is zero, there is none.

Everything is of the first order in the images: that they polarise the region is left out, as it is
between distant atoms of it (`eqmm_ase.network.long_range`). μ itself depends on the geometry; see
`periodic.prediction`. Float64, and traced by torch: a QM region is small.

Source: W. Smith, CCP5 Newsletter 46, 18 (1998), there in Cartesian form.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import NamedTuple

import torch

from eqmm_ase.network.harmonics import degree_of_component, regular_harmonics
from eqmm_ase.periodic.cell import Box
from eqmm_ase.periodic.damping import boys, boys_series, damping, double_factorial
from eqmm_ase.periodic.multipole_pairs import pair_energies
from eqmm_ase.units import COULOMB_CONSTANT

_TOLERANCE = 1e-9
_CUTOFF = 0.75
"""Of the smallest width of the box: few images are that near, and few waves are needed then."""
_ROUND_PAIRS = 16
"""Pairs are filled up to a multiple of it, so that few programs are traced."""


class ImagesTooNearError(ValueError):
    """Images of the QM region that nearly touch it: more than multipoles act there."""


@dataclass(frozen=True)
class ImageEnergy:
    """E_images of fixed multipoles, and its derivatives; float64."""

    energy: torch.Tensor  # () eV
    tensors: torch.Tensor  # (N, (L+1)²) V/Å^l: dE/dμ, the expansion of the images' potential
    gradient: torch.Tensor  # (N, 3) eV/Å: dE/dR at fixed μ and cell
    strain: torch.Tensor | None  # (3, 3) eV: dE/dε at fixed μ, as `EwaldExpansion.strain`


class ImageInputs(NamedTuple):
    """All that `image_energy` takes beside multipoles and positions; tensors in float64."""

    vectors: torch.Tensor  # (w, 3) 1/Å, one wave of each k and −k
    real: torch.Tensor  # (a, w) Re c_l i^l R_lm(k)
    imaginary: torch.Tensor  # (a, w)
    weights: torch.Tensor  # (w,) 4π e^(−k²/4α²)/(V k²)
    alpha: torch.Tensor  # () 1/Å
    volume: torch.Tensor  # () Å³
    series: torch.Tensor  # (j,) of `boys`
    first: torch.Tensor  # (P,) atom of the region
    second: torch.Tensor  # (P,) atom whose image is near it
    shifts: torch.Tensor  # (P, 3) Å, n cell: the image is at R_second + shift
    counts: torch.Tensor  # (P,) 1, or 0 for what only fills up


class ImageInteraction:
    """Interaction of the QM region with its images in one box.

    Parameters
    ----------
    box: the box.
    l_max: highest order L of the multipoles.
    nearest: distance in Å that images have to keep.
    """

    def __init__(self, box: Box, l_max: int, nearest: float) -> None:
        self.box, self.l_max, self.nearest = box, l_max, nearest
        self.cutoff = _CUTOFF * box.width
        self.alpha = math.sqrt(-math.log(_TOLERANCE)) / self.cutoff
        self._indices = _half_of_waves(box, self.alpha)
        self._chosen_for = box

    def at(self, box: Box) -> ImageInteraction:
        """Interaction of images of another box.

        The splitting stays where the widths are nearly the same: the difference of two energies is
        then one of the boxes.
        """
        changes = (box.widths / self._chosen_for.widths - 1.0).abs()
        if float(changes.max()) > 0.05:
            return ImageInteraction(box, self.l_max, self.nearest)
        other = copy(self)
        other.box = box
        other.__dict__.pop("_waves", None)
        return other

    def __call__(
        self, multipoles: torch.Tensor, positions: torch.Tensor, *, strain: bool = False
    ) -> ImageEnergy:
        """E_images and its derivatives.

        Parameters
        ----------
        multipoles: μ (N, (L+1)²) in e·Å^l.
        positions: (N, 3) Å, the region in one piece.
        strain: also the derivative with respect to the strain of everything.

        Raises
        ------
        ImagesTooNearError: an image comes nearer than `nearest`.
        """
        moments, atoms = (x.detach().double().cpu() for x in (multipoles, positions))
        atoms = atoms - atoms.mean(0)
        inputs = self.inputs(atoms)
        wanted = [moments.requires_grad_(), atoms.requires_grad_()]
        with torch.enable_grad():
            if strain:
                wanted.append(torch.zeros(3, 3, dtype=torch.float64, requires_grad=True))
                scale = torch.eye(3, dtype=torch.float64) + wanted[2]
                waves = self._waves_of(self.box.cell @ scale)
                inputs = ImageInputs._make((*waves, *inputs[len(waves) :]))
                inputs = inputs._replace(shifts=inputs.shifts @ scale)
                atoms = atoms @ scale
            energy = image_energy(moments, atoms, inputs)
            tensors, gradient, *by_strain = torch.autograd.grad(energy, wanted)
        return ImageEnergy(energy.detach(), tensors, gradient, by_strain[0] if strain else None)

    def inputs(self, atoms: torch.Tensor) -> ImageInputs:
        """What `image_energy` takes for these positions, (N, 3) Å float64.

        Raises
        ------
        ImagesTooNearError: an image comes nearer than `nearest`.
        """
        first, second, shifts = self._near_images(atoms)
        shifts = shifts @ self.box.cell
        if len(first):
            self._check_distances(atoms[first] - atoms[second] - shifts, first, second)
        missing = -len(first) % _ROUND_PAIRS
        extent = (atoms.amax(0) - atoms.amin(0)).square().sum()
        pad = torch.nn.functional.pad
        of_pairs = (
            boys_series(self.alpha**2 * float(extent), 2 * self.l_max),
            pad(first, (0, missing)),
            pad(second, (0, missing)),
            pad(shifts, (0, 0, 0, missing), value=self.cutoff),
            pad(torch.ones_like(first, dtype=torch.float64), (0, missing)),
        )
        return ImageInputs._make((*self._waves, *of_pairs))

    @cached_property
    def _waves(self) -> tuple[torch.Tensor, ...]:
        return self._waves_of(self.box.cell)

    def _waves_of(self, cell: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Those of `ImageInputs` that come from the box."""
        vectors = self._indices @ (2.0 * torch.pi * torch.linalg.inv(cell).T)
        square, volume = vectors.square().sum(1), torch.det(cell).abs()
        weights = 4.0 * torch.pi * torch.exp(-square / (4.0 * self.alpha**2)) / (square * volume)
        degree = degree_of_component(self.l_max)
        scale = torch.tensor([double_factorial(l) for l in degree.tolist()]).double()
        scale = (1.0 - 2.0 * (degree % 4 >= 2)) / scale  # with the sign of i^l
        harmonics = scale.unsqueeze(1) * regular_harmonics(vectors.T, self.l_max)
        odd = (degree % 2).double().unsqueeze(1)
        alpha = torch.tensor(self.alpha, dtype=torch.float64)
        return vectors, harmonics * (1.0 - odd), harmonics * odd, weights, alpha, volume

    def _near_images(self, atoms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Atoms i, j and n of all images with R_i − R_j − n cell within the cutoff, each once."""
        distance = max(self.cutoff, self.nearest)
        spread = self.box.fractional(atoms)
        bounds = spread.amax(1) - spread.amin(1) + distance / self.box.widths
        axes = [torch.arange(-n, n + 1).double() for n in bounds.floor().int().tolist()]
        shifts = torch.cartesian_prod(*axes)
        shifts = shifts[len(shifts) // 2 + 1 :]  # of n and −n, with i and j exchanged, one
        vectors = atoms.unsqueeze(1) - atoms.unsqueeze(0)  # (N, N, 3)
        vectors = vectors - (shifts @ self.box.cell).reshape(-1, 1, 1, 3)
        near = torch.linalg.vector_norm(vectors, dim=3) < distance
        shift, first, second = near.nonzero().unbind(1)
        return first, second, shifts[shift]

    def _check_distances(
        self, vectors: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> None:
        distances = torch.linalg.vector_norm(vectors, dim=1)
        pair = int(distances.argmin())
        if float(distances[pair]) < self.nearest:
            raise ImagesTooNearError(
                f"QM atom {int(first[pair])} is {float(distances[pair]):.2f} Å from a periodic "
                f"image of QM atom {int(second[pair])}, and images must keep {self.nearest:g} Å: "
                "take a larger box or a smaller QM region"
            )


def _half_of_waves(box: Box, alpha: float) -> torch.Tensor:
    """Integers n of the waves up to k_max = 2α √−ln ε, one of each k and −k, (w, 3)."""
    reach = alpha * math.sqrt(-math.log(_TOLERANCE)) / math.pi  # k_max/2π
    highest = [math.ceil(n) for n in (box.lengths * reach).tolist()]
    index = torch.cartesian_prod(*(torch.arange(-n, n + 1).double() for n in highest))
    index = index[len(index) // 2 + 1 :]  # the one in the middle is k = 0
    return index[torch.linalg.vector_norm(index @ box.inverse.T, dim=1) <= reach]


def image_energy(moments: torch.Tensor, atoms: torch.Tensor, inputs: ImageInputs) -> torch.Tensor:
    """E_images, () eV; operations depend on the shapes of tensors alone.

    Parameters
    ----------
    moments: μ (N, (L+1)²) in e·Å^l, float64.
    atoms: (N, 3) Å about the centre of the region, float64.
    inputs: from `ImageInteraction.inputs`.
    """
    order, alpha = 2 * (isqrt(moments.shape[1]) - 1), inputs.alpha
    background = -0.5 * math.pi * moments[:, 0].sum().square() / (alpha**2 * inputs.volume)
    total = _wave_energy(moments, atoms, inputs) + background

    first, second = torch.triu_indices(len(atoms), len(atoms)).unbind(0)
    vectors = atoms.index_select(0, first) - atoms.index_select(0, second)
    radial = _smooth(vectors, inputs, order)
    own = pair_energies(moments, first, second, vectors, radial)
    total = total - own @ torch.where(first == second, 0.5, 1.0).double()

    first, second = inputs.first, inputs.second
    if len(first):
        vectors = atoms.index_select(0, first) - atoms.index_select(0, second) - inputs.shifts
        radial = _damped(vectors, alpha, order)
        total = total + pair_energies(moments, first, second, vectors, radial) @ inputs.counts
    return COULOMB_CONSTANT * total


def _wave_energy(moments: torch.Tensor, atoms: torch.Tensor, waves: ImageInputs) -> torch.Tensor:
    """Σ_k w(k) |T(k)|² over half of the waves, without k_e."""
    real, imaginary = moments @ waves.real, moments @ waves.imaginary  # (N, w)
    phases = atoms @ waves.vectors.T
    cosines, sines = phases.cos(), phases.sin()
    total_real = (real * cosines - imaginary * sines).sum(0)
    total_imaginary = (real * sines + imaginary * cosines).sum(0)
    return waves.weights @ (total_real.square() + total_imaginary.square())


def _smooth(vectors: torch.Tensor, inputs: ImageInputs, order: int) -> torch.Tensor:
    """(1/r d/dr)^n erf(αr)/r for n = 0 … order, (n, P)."""
    square = inputs.alpha**2
    factor, terms = 2.0 / math.sqrt(math.pi) * inputs.alpha, []
    for function in boys(square * vectors.square().sum(1), order, inputs.series):
        terms.append(factor * function)
        factor = -2.0 * square * factor
    return torch.stack(terms)


def _damped(vectors: torch.Tensor, alpha: torch.Tensor, order: int) -> torch.Tensor:
    """(1/r d/dr)^n erfc(αr)/r for n = 0 … order, (n, P)."""
    distances = torch.linalg.vector_norm(vectors, dim=1)
    terms = [
        (-1.0) ** n * double_factorial(n) * value / distances ** (2 * n + 1)
        for n, value in enumerate(damping(alpha * distances, order))
    ]
    return torch.stack(terms)
