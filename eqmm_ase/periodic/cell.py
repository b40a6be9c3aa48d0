"""The periodic box: widths, fractional coordinates, and which images of the sites are near.

Rows of `cell` are the lattice vectors, as in ASE and OpenMM; any box that spans a volume will do.
With fractional coordinates u = r cell⁻¹, the distance of two points is at least |Δu_a| w_a, where
w_a is the perpendicular width of the box along its vector a. Everything here follows from that: an
image within a distance d has |Δu_a| ≤ d/w_a along every vector, of which there is one where
d ≤ w_a/2, and images are counted one by one where there are more. No rounding to "the" nearest
image is relied upon, which in triclinic boxes does not find it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.checks import MIN_DISTANCE


class BoxTooSmallError(ValueError):
    """A box less than twice as wide as the cutoff."""


@dataclass(frozen=True, eq=False)
class Box:
    """A periodic box, in float64 on the CPU; `Box.of` checks what it is given."""

    cell: torch.Tensor  # (3, 3) Å, rows are lattice vectors

    @classmethod
    def of(cls, cell: ArrayLike | torch.Tensor) -> Box:
        """The box of lattice vectors (3, 3) in Å.

        Raises
        ------
        ValueError: not three finite vectors that span a volume.
        """
        values = cell.detach().cpu() if isinstance(cell, torch.Tensor) else np.asarray(cell)
        vectors = torch.as_tensor(values, dtype=torch.float64)
        if vectors.shape != (3, 3):
            raise ValueError(
                f"a cell is three lattice vectors as rows, (3, 3) in Å, not {tuple(vectors.shape)}"
            )
        lengths = torch.linalg.vector_norm(vectors, dim=1).prod()
        if not torch.det(vectors).abs() > 1e-6 * lengths:  # so that NaN is none either
            rows = ", ".join(str([round(x, 4) for x in row]) for row in vectors.tolist())
            raise ValueError(
                f"the lattice vectors {rows} do not span a volume; give three finite ones in Å"
            )
        return cls(vectors.clone())

    @cached_property
    def inverse(self) -> torch.Tensor:
        """cell⁻¹, (3, 3) in 1/Å; its columns are the reciprocal vectors without 2π."""
        return torch.linalg.inv(self.cell)

    @cached_property
    def volume(self) -> float:
        """Å³."""
        return abs(float(torch.det(self.cell)))

    @cached_property
    def widths(self) -> torch.Tensor:
        """Distances of opposite faces, (3,) Å."""
        return 1.0 / torch.linalg.vector_norm(self.inverse, dim=0)

    @cached_property
    def width(self) -> float:
        """The smallest of the widths, Å."""
        return float(self.widths.min())

    @cached_property
    def lengths(self) -> torch.Tensor:
        """Lengths of the lattice vectors, (3,) Å."""
        return torch.linalg.vector_norm(self.cell, dim=1)

    def check_holds(self, cutoff: float) -> None:
        """That no point has two images within a cutoff (Å) of another.

        Raises
        ------
        BoxTooSmallError: says how wide the box is and has to be.
        """
        if cutoff > 0.5 * self.width:
            raise BoxTooSmallError(
                f"a cutoff of {cutoff:g} Å needs a box at least {2.0 * cutoff:g} Å wide between "
                f"opposite faces, and this one is {self.width:.4g} Å: take a larger box or a "
                "shorter cutoff"
            )

    def fractional(self, positions: torch.Tensor) -> torch.Tensor:
        """Coordinates r cell⁻¹ in the positions' precision: (n, 3) → (3, n), long rows are fast."""
        return self.inverse.T.to(positions) @ positions.T


@dataclass(frozen=True, eq=False)
class Images:
    """Images of sites: which site, and where the image is. A site may occur more than once."""

    index: torch.Tensor  # (M,) int64, rows of the sites
    shifts: torch.Tensor  # (M, 3) how many lattice vectors away from where the site was given
    positions: torch.Tensor  # (M, 3) Å

    def select(self, chosen: torch.Tensor) -> Images:
        """Those of a mask or of row numbers."""
        return Images(self.index[chosen], self.shifts[chosen], self.positions[chosen])


def images_within(
    box: Box, fractional: torch.Tensor, atoms: torch.Tensor, distance: float
) -> Images:
    """All images of sites in the sphere around the atoms that holds all nearer than a distance.

    Parameters
    ----------
    fractional: of the sites, (3, K), anywhere.
    atoms: (N, 3) Å; they are taken where they are.
    distance: Å, from any atom.
    """
    centre, radius = _sphere(atoms, distance)
    apart = box.fractional(atoms - centre).abs().amax(1)
    bounds = apart.double().cpu() + distance / box.widths  # (3,) in fractions of the box
    offsets = fractional - box.fractional(centre.unsqueeze(0)).to(fractional)
    wrapped = offsets - offsets.round()
    first, second, third = (row.abs() <= bound for row, bound in zip(wrapped, bounds, strict=True))
    index = (first & second & third).nonzero()[:, 0]
    offsets, wrapped = offsets.index_select(1, index), wrapped.index_select(1, index)
    for axis, bound in enumerate(bounds.tolist()):
        # Nothing to do along an axis where the box is at least twice as wide as the sphere.
        further = math.ceil(bound - 0.5)
        if further <= 0:
            continue
        steps = torch.zeros(3, 1).to(wrapped)
        parts = []
        for n in range(-further, further + 1):
            steps[axis] = n
            inside = ((wrapped[axis] + n).abs() <= bound).nonzero()[:, 0]
            moved = wrapped.index_select(1, inside) + steps
            parts.append((index[inside], offsets.index_select(1, inside), moved))
        index = torch.cat([part[0] for part in parts])
        offsets, wrapped = (torch.cat([part[i] for part in parts], dim=1) for i in (1, 2))
    shifts = (wrapped - offsets).round()
    vectors = (offsets + shifts).T @ box.cell.to(offsets)
    inside = (vectors.square().sum(1) <= radius**2).nonzero()[:, 0]
    return Images(index[inside], shifts.T[inside], vectors[inside] + centre.to(vectors))


def near_images(
    atoms: FloatArray, sites: FloatArray, cell: FloatArray, distance: float
) -> tuple[NDArray[np.int64], FloatArray]:
    """Rows (M,) and positions (M, 3) of all images of sites that `images_within` finds, as arrays.

    Parameters
    ----------
    atoms, sites: (N, 3) and (K, 3) Å.
    cell: lattice vectors as rows, (3, 3) Å.
    distance: Å, from any atom.
    """
    box, places = Box.of(cell), torch.from_numpy(sites)
    found = images_within(box, box.fractional(places), torch.from_numpy(atoms), distance)
    return found.index.numpy(), found.positions.numpy()


def sites_within(sites: torch.Tensor, atoms: torch.Tensor, distance: float) -> Images:
    """Sites (K, 3) without a box, as `images_within` gives those of one: each where it is."""
    centre, radius = _sphere(atoms, distance)
    index = ((sites - centre.to(sites)).square().sum(1) <= radius**2).nonzero()[:, 0]
    found = sites[index]
    return Images(index, torch.zeros_like(found), found)


def distances_between(atoms: torch.Tensor, images: Images) -> torch.Tensor:
    """Distances (N, M) in Å; from differences, as scalar products are rough."""
    places = images.positions
    return torch.cdist(atoms.to(places), places, compute_mode="donot_use_mm_for_euclid_dist")


class SiteOnAtomError(ValueError):
    """An MM site is on a QM atom, where its potential has no value."""


def check_no_site_on_atom(atoms: torch.Tensor, images: Images) -> None:
    """That no image is on an atom, where its potential has no value.

    Raises
    ------
    SiteOnAtomError: names both.
    """
    distances = distances_between(atoms, images)
    if distances.numel() and float(distances.min()) < MIN_DISTANCE:
        atom, image = divmod(int(distances.argmin()), distances.shape[1])
        raise SiteOnAtomError(
            f"MM site {int(images.index[image])}, or an image of it, is "
            f"{float(distances[atom, image]):.2f} Å from QM atom {atom}; QM atoms must not be "
            "among the MM sites"
        )


def _sphere(atoms: torch.Tensor, distance: float) -> tuple[torch.Tensor, float]:
    centre = 0.5 * (atoms.amin(0) + atoms.amax(0))
    return centre, distance + float(torch.linalg.vector_norm(atoms - centre, dim=1).max())
