"""The potential of nearby charges, whole residues of which fade out smoothly with distance.

The charges of residue a are scaled by

    s_a = 1 − Π_ik (1 − S(|r_k − R_i|)),   i all QM atoms, k all charges of the residue,

S falling from 1 at the inner radius to 0 at the outer one with two continuous derivatives: the
scales with which frames for training are cut. A residue counts in full as soon as one of its
charges is within the inner radius of one QM atom. The energy depends on q_k s_a, hence
dE/ds_a = Σ_k q_k dE/d(q_k s_a), and the switch acts on the QM atoms as on the residue. In a box
every image of a residue is a residue of its own, in one piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from numpy.typing import ArrayLike

from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import Expansion
from eqmm_ase.periodic.cell import (
    Box,
    Images,
    check_no_site_on_atom,
    distances_between,
    images_within,
    sites_within,
)

INNER, OUTER = 10.0, 12.0
"""Å, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Residues:
    """Which charges are switched together."""

    owner: torch.Tensor  # (K,) residue of every charge, 0 … n−1
    members: torch.Tensor  # (K,) charges, residue after residue
    begins: torch.Tensor  # (n,) where those of each begin
    sizes: torch.Tensor  # (n,)

    @classmethod
    def of(cls, numbers: ArrayLike | torch.Tensor) -> Residues:
        """From any number of each residue, (K,)."""
        owner = torch.unique(torch.as_tensor(numbers).flatten(), return_inverse=True)[1]
        sizes = torch.bincount(owner)
        return cls(owner, torch.argsort(owner, stable=True), sizes.cumsum(0) - sizes, sizes)

    @property
    def first(self) -> torch.Tensor:
        """First charge of the residue of every charge, (K,)."""
        return self.members[self.begins][self.owner]

    def all_members(self, residues: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Charges of some residues, one after the other, and which of the residues has each."""
        sizes = self.sizes[residues]
        place = torch.repeat_interleave(torch.arange(len(residues), device=sizes.device), sizes)
        within = torch.arange(len(place), device=sizes.device) - (sizes.cumsum(0) - sizes)[place]
        return self.members[self.begins[residues][place] + within], place


class SwitchedCutoff:
    """Tensors of the charges within a switched cutoff, to be asked again as things move.

    Parameters
    ----------
    residues
        The same integer for charges that are switched together, (K,).
    l_max
        Highest order L.
    inner, outer
        Where the switch begins and ends, Å.
    dtype
        Precision of the sums, float32 or float64. Positions may be given in float64 all the same.

    Raises
    ------
    ValueError: radii that do not ascend.
    """

    def __init__(
        self,
        residues: ArrayLike | torch.Tensor,
        l_max: int = 3,
        *,
        inner: float = INNER,
        outer: float = OUTER,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not 0.0 < inner < outer < math.inf:
            raise ValueError(
                f"the switch goes from {inner:g} to {outer:g} Å; give two ascending distances"
            )
        self.l_max, self.inner, self.outer, self.dtype = l_max, inner, outer, dtype
        self.residues = Residues.of(residues)

    def expansion(
        self,
        qm_positions: torch.Tensor,
        mm_positions: torch.Tensor,
        mm_charges: torch.Tensor,
        cell: ArrayLike | torch.Tensor | None = None,
    ) -> SwitchedExpansion:
        """The tensors C of one configuration.

        Parameters
        ----------
        qm_positions: (N, 3) Å, the QM region in one piece.
        mm_positions: (K, 3) Å; without a cell where they are, else any image of a site will do.
        mm_charges: (K,) e.
        cell: lattice vectors as rows, (3, 3) Å; None for open boundaries.

        Raises
        ------
        ValueError: a cell that is none, residues of another number of charges, a charge on an atom.
        BoxTooSmallError: the box is less than twice as wide as the outer radius.
        """
        if len(mm_charges) != len(self.residues.owner):
            raise ValueError(
                f"{len(self.residues.owner)} charges have residues and {len(mm_charges)} were "
                "given; give the residue of every charge"
            )
        box = None if cell is None else Box.of(cell)
        if box is not None:
            box.check_holds(self.outer)
        return SwitchedExpansion(self, box, qm_positions, mm_positions, mm_charges)


class SwitchedExpansion:
    """Expansion C of one configuration as a leaf tensor, with the chain rule from dE/dC on.

    `tensors` (N, (L+1)²) in V/Å^l require a gradient.
    """

    def __init__(
        self,
        settings: SwitchedCutoff,
        box: Box | None,
        qm_positions: torch.Tensor,
        mm_positions: torch.Tensor,
        mm_charges: torch.Tensor,
    ) -> None:
        self.box, self._settings = box, settings
        self.charges = mm_charges.detach().to(settings.dtype)
        with torch.no_grad():
            self._positions = qm_positions.detach()
            self._sites = mm_positions.detach()
            self._index, self._copy, places = self._copies()
            centre = self._positions.mean(0)
            atoms, sites = (
                (x - centre.to(x)).to(settings.dtype) for x in (self._positions, places)
            )
            self._switch = _Switch(atoms, sites, self._copy, settings.inner, settings.outer)
            self._own_charges = self.charges[self._index]
            charges = self._own_charges * self._switch.scales[self._copy]
            self._frame = _frame(atoms, sites, charges)
        self._expansion = Expansion(self._frame, settings.l_max)
        self.tensors = self._expansion.tensors

    def near_sites(self, distance: float) -> Images:
        """Images of all sites within a distance of any atom (Å), and some beyond it.

        Raises
        ------
        ValueError: a distance beyond the inner radius, where charges are not whole.
        """
        if distance > self._settings.inner:
            raise ValueError(
                f"charges are switched off from {self._settings.inner:g} Å on, and the model takes "
                f"all within {distance:g} Å; let the switch begin beyond that"
            )
        return self._images(self._sites, distance)

    @torch.no_grad()
    def pull_back(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dC (N, (L+1)²) → dE/dR (N, 3), dE/dr (K, 3) and dE/dq (K,), at a fixed cell."""
        atoms, images, charges = self._gradients(grad)
        sites = grad.new_zeros(len(self.charges), 3).index_add_(0, self._index, images)
        return atoms, sites, torch.zeros_like(self.charges).index_add_(0, self._index, charges)

    @torch.no_grad()
    def strain(self, grad: torch.Tensor) -> torch.Tensor:
        """dE/dε_ab where all atoms, sites and lattice vectors x become x (1 + ε), (3, 3) eV."""
        atoms, images, _ = self._gradients(grad)
        return self._frame.qm_positions.T @ atoms + self._frame.mm_positions.T @ images

    def _gradients(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dE/dR of the atoms, dE/dr and dE/dq of all images that count."""
        atoms, images, charges = self._expansion.pull_back(grad)
        scales = self._switch.scales
        by_scale = grad.new_zeros(len(scales)).index_add_(
            0, self._copy, self._own_charges * charges
        )
        switched_atoms, switched_images = self._switch.gradients(by_scale)
        return atoms + switched_atoms, images + switched_images, charges * scales[self._copy]

    def _images(self, sites: torch.Tensor, distance: float) -> Images:
        if self.box is None:
            return sites_within(sites, self._positions, distance)
        fractions = self.box.fractional(sites)
        return images_within(self.box, fractions, self._positions, distance)

    def _copies(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All charges of residues that have one within the switch: which, of which copy, where.

        A copy is an image of a whole residue, of which there may be more than one.
        """
        residues, outer = self._settings.residues, self._settings.outer
        touched = torch.unique(residues.owner[self._images(self._sites, outer).index])
        members, owner = residues.all_members(touched)
        some = Residues.of(owner)
        sites = _in_one_piece(self._sites[members], self.box, some)
        near = self._images(sites, outer)
        near = near.select((distances_between(self._positions, near) < outer).any(0))
        check_no_site_on_atom(self._positions, replace(near, index=members[near.index]))
        keys = torch.cat([some.owner[near.index].unsqueeze(1), near.shifts.long()], dim=1)
        keys = torch.unique(keys, dim=0)
        index, copy = some.all_members(keys[:, 0])
        places = sites[index]
        if self.box is not None:
            places = places + keys[copy, 1:].to(places) @ self.box.cell.to(places)
        return members[index], copy, places


class _Switch:
    """s_a of every copy of a residue, and its derivative.

    ds_a = Π_ik (1 − S_ik) Σ_ik S'_ik/(1 − S_ik) d|r_k − R_i|, nothing where a factor is zero: there
    S' is as well.
    """

    def __init__(
        self,
        atoms: torch.Tensor,
        sites: torch.Tensor,
        copy: torch.Tensor,
        inner: float,
        outer: float,
    ) -> None:
        self.copy = copy
        n_copies = int(copy[-1]) + 1 if len(copy) else 0
        self.vectors = sites.unsqueeze(0) - atoms.unsqueeze(1)  # (N, M, 3)
        distances = torch.linalg.vector_norm(self.vectors, dim=2)
        x = ((distances - inner) / (outer - inner)).clamp(0.0, 1.0)
        missing = x**3 * (10.0 + x * (6.0 * x - 15.0))  # 1 − S
        slope = -30.0 / (outer - inner) * (x * (1.0 - x)).square()
        # d ln(1 − S)/dr = −S'/(1 − S), finite times (1 − S) all the way to the inner radius.
        ratio = torch.where(missing > 0.0, slope / missing, torch.zeros_like(x))
        self.ratio = ratio / distances
        product = distances.new_ones(n_copies)
        product.scatter_reduce_(0, copy, missing.prod(0), "prod")
        self.product, self.scales = product, 1.0 - product

    def gradients(self, by_scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """dE/ds (copies,) → dE/dR (N, 3) and dE/dr (M, 3)."""
        strength = (by_scale * self.product)[self.copy]
        pairs = (self.ratio * strength).unsqueeze(2) * self.vectors
        return -pairs.sum(1), pairs.sum(0)


def _in_one_piece(sites: torch.Tensor, box: Box | None, residues: Residues) -> torch.Tensor:
    """Sites moved to those images where each residue is in one piece, around its first site."""
    if box is None or not len(sites):
        return sites
    offsets = box.fractional(sites - sites[residues.first])
    return sites - (offsets.round().T @ box.cell.to(sites))


def _frame(atoms: torch.Tensor, sites: torch.Tensor, charges: torch.Tensor) -> FrameBatch:
    return FrameBatch(
        atomic_numbers=torch.ones(len(atoms), dtype=torch.int64, device=atoms.device),
        qm_positions=atoms,
        mm_positions=sites,
        mm_charges=charges,
        qm_ptr=torch.tensor([0, len(atoms)]),
        mm_ptr=torch.tensor([0, len(sites)]),
        total_charge=atoms.new_zeros(1),
        spin_multiplicity=atoms.new_ones(1),
    )
