"""Cut a cluster of whole residues around the QM region out of a periodic box.

Pure NumPy on arrays: nothing here knows which engine made the snapshot. Whole residues, so that
the cut never tears a neutral molecule into charges; each of them once, in the image that is
nearest to the QM region, so that the QM region sees its true neighbours wherever the engine
happened to wrap them.

A radius R is too large where the cluster would no longer be what surrounds the QM region: over
half of the shortest repeat L of the box, a QM atom has some atoms within R twice; and where the
QM region is nearer than R to an image of itself, that image would be missing. In between, two QM
atoms at opposite ends may each have another image of the same residue within R. The cluster then
holds the nearer one only, and is complete up to the distance of the nearest image left out, which
is at least half of the distance between the QM region and its own image, less the size of a
residue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.lattice import minimum_image, shortest_repeat, translations
from eqmm_ase.data.unwrapping import Unwrapper

IntArray = NDArray[np.integer]

RECOMMENDED_RADIUS = 12.0
"""Å. Clusters cut nearer differ from the periodic answer by 1 kcal/mol/Å and more in QM forces."""

_TIE = 1e-6 * np.array([1.0, np.sqrt(2.0), np.sqrt(3.0)])
"""Slope of what is added to distances, so that of two images at the same distance the same one is
taken every time, and not the one that rounding favours."""
_ROUNDING = 1e-9
"""Å. What is at the radius itself is within it, wherever the origin is."""


class ClusterError(ValueError):
    """The snapshot cannot be cut as asked; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """The QM region with its centroid at the origin, and the charges around it."""

    qm_positions: FloatArray  # (n_qm, 3) Å
    mm_positions: FloatArray  # (n_mm, 3) Å
    mm_charges: FloatArray  # (n_mm,) e, none of them zero
    mm_sites: IntArray  # (n_mm,) row of each charge in the snapshot
    complete_to: float
    """Å from the nearest QM atom up to which no image of anything is missing; infinity where
    that is the whole radius."""

    @property
    def net_mm_charge(self) -> float:
        """Sum of the MM charges, e."""
        return float(self.mm_charges.sum())


def cut_cluster(
    positions: FloatArray,
    charges: FloatArray,
    residues: IntArray,
    qm_atoms: IntArray,
    cell: FloatArray | None,
    radius: float,
    keep: Sequence[int] = (),
    unwrapper: Unwrapper | None = None,
) -> Cluster:
    """Take every residue that has an atom within ``radius`` of any QM atom.

    Sites without charge (such as the oxygen of a four-point water) count for the distance but are
    left out of the result: they exert no potential, and PySCF would integrate over them in vain.

    Parameters
    ----------
    positions : (n, 3)
        All atoms of the box in Å, wrapped in any way.
    charges : (n,)
        MM charges in e; those of QM atoms are ignored.
    residues : (n,)
        Residue that each atom belongs to. A residue with QM atoms in it gives no MM charges.
    qm_atoms : (n_qm,)
        Rows of the QM atoms, in the order in which they are returned.
    cell : (3, 3)
        Lattice vectors as rows, Å; any shape. None for a system that does not repeat.
    radius
        Å. Infinity takes the whole box, every residue once.
    keep
        Sites of the residues taken that are returned even without charge.
    unwrapper
        Knows which sites belong together; from ``residues`` alone when None.

    Raises
    ------
    ClusterError
        When the radius is larger than `largest_radius`; or on NaN.
    """
    positions = np.asarray(positions, float)
    if not (np.isfinite(positions).all() and (cell is None or np.isfinite(cell).all())):
        raise ClusterError("the snapshot has NaN or infinite positions or lattice vectors")
    if not radius > 0.0:
        raise ClusterError(f"the radius is {radius} Å; expected more than 0")

    unwrapper = unwrapper or Unwrapper(residues)
    qm_positions = unwrapper.region(positions, qm_atoms, cell)
    centre = qm_positions.mean(axis=0)
    qm_positions = qm_positions - centre
    if cell is not None and np.isfinite(radius):
        _check_radius(cell, radius, qm_positions)

    mm_sites = np.flatnonzero(~np.isin(residues, residues[qm_atoms]))
    _, owner = np.unique(residues[mm_sites], return_inverse=True)
    mm_positions = unwrapper.residues(positions, cell)[mm_sites] - centre
    mm_positions, nearest, complete_to = _nearest_images(
        mm_positions, owner, qm_positions, cell, radius
    )
    taken = (nearest <= radius + _ROUNDING)[owner] & (
        (charges[mm_sites] != 0.0) | np.isin(mm_sites, keep)
    )
    sites = mm_sites[taken]
    return Cluster(qm_positions, mm_positions[taken], charges[sites], sites, complete_to)


def rounded_down(length: float) -> float:
    """A length in Å, rounded down to tenths."""
    return float(np.floor(length * 10.0) / 10.0)


def largest_radius(cell: FloatArray, qm_positions: FloatArray) -> float:
    """Å; half of the shortest repeat, less where the QM region is near an image of itself.

    Parameters
    ----------
    cell : (3, 3)
        Lattice vectors as rows, Å.
    qm_positions : (n_qm, 3)
        Å, gathered into one cluster.
    """
    half = shortest_repeat(cell) / 2.0
    tree = cKDTree(qm_positions)
    extent = float(np.linalg.norm(qm_positions - qm_positions.mean(axis=0), axis=1).max())
    apart = half
    for shift in translations(cell, half + 2.0 * extent)[1:]:
        distances, _ = tree.query(qm_positions + shift, distance_upper_bound=apart)
        apart = min(apart, float(distances.min()))
    return apart


def required_repeat(radius: float, qm_extent: float, residue_extent: float) -> float:
    """Shortest lattice vector at which no residue can be within ``radius`` twice.

    Extents are the largest distances of an atom from its centroid. All in one unit.
    """
    return 2.0 * (radius + qm_extent + residue_extent)


def _nearest_images(
    positions: FloatArray,
    owner: IntArray,
    qm_positions: FloatArray,
    cell: FloatArray | None,
    radius: float,
) -> tuple[FloatArray, FloatArray, float]:
    """Each residue where one of its atoms is nearest to a QM atom.

    Parameters
    ----------
    positions : (n, 3)
        Å from the centroid of the QM region, residues whole.
    owner : (n,)
        Residue of each site, from 0.

    Returns
    -------
    positions : (n, 3)
        Å; residues farther than ``radius`` are somewhere.
    nearest : (n_residues,)
        Å, to the nearest QM atom; infinity beyond the radius.
    complete_to
        As in `Cluster`.
    """
    tree = cKDTree(qm_positions)
    n_residues = int(owner.max(initial=-1)) + 1
    if n_residues == 0:
        return positions, np.zeros(0), np.inf
    centroids, extents = _centroids(positions, owner, n_residues)
    home = minimum_image(centroids, cell) - centroids
    positions, centroids = positions + home[owner], centroids + home
    near = np.linalg.norm(centroids, axis=1)
    extents = extents + float(np.linalg.norm(qm_positions, axis=1).max())
    # An image farther than this is beyond the radius, or beyond the image that is at home.
    reach = radius + extents if np.isfinite(radius) else near + 2.0 * extents
    shifts = np.zeros((1, 3)) if cell is None else translations(cell, float((reach + near).max()))

    nearest, second, key = (np.full(n_residues, np.inf) for _ in range(3))
    chosen = np.zeros((n_residues, 3))
    for shift in shifts:
        moved = centroids + shift
        tried = np.linalg.norm(moved, axis=1) <= reach
        sites = np.flatnonzero(tried[owner])
        distances, _ = tree.query(positions[sites] + shift, distance_upper_bound=radius + _ROUNDING)
        found = np.full(n_residues, np.inf)
        np.minimum.at(found, owner[sites], distances)
        ranked = found + moved @ _TIE
        better = ranked < key
        second = np.minimum(second, np.where(better, nearest, found))
        nearest[better], key[better], chosen[better] = found[better], ranked[better], shift
    left_out = second[second <= radius]
    complete = float(left_out.min()) if np.isfinite(radius) and len(left_out) else np.inf
    return positions + chosen[owner], nearest, complete


def _centroids(
    positions: FloatArray, owner: IntArray, n_residues: int
) -> tuple[FloatArray, FloatArray]:
    """Centroid of each residue, and the largest distance of an atom from it."""
    size = np.bincount(owner, minlength=n_residues)[:, None]
    sums = [np.bincount(owner, positions[:, k], minlength=n_residues) for k in range(3)]
    centroids = np.stack(sums, axis=1) / size
    extents = np.zeros(n_residues)
    np.maximum.at(extents, owner, np.linalg.norm(positions - centroids[owner], axis=1))
    return centroids, extents


def _check_radius(cell: FloatArray, radius: float, qm_positions: FloatArray) -> None:
    largest = largest_radius(cell, qm_positions)
    if radius <= largest:
        return
    repeat = shortest_repeat(cell)
    reason = "half of that"
    if largest < repeat / 2.0:
        reason = "the distance of the QM region from its own image"
    raise ClusterError(
        f"the box repeats every {repeat:.2f} Å, too small for a radius of {radius:g} Å; the "
        f"largest radius that fits is {reason}, {rounded_down(largest):.1f} Å"
    )
