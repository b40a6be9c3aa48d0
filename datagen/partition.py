"""Cut a cluster of whole residues around the QM region out of a periodic box.

Pure NumPy on arrays: nothing here knows which engine made the snapshot. Whole residues, so that
the cut never tears a neutral molecule into charges; the minimum image, so that the QM region sees
its true neighbours wherever the engine happened to wrap them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import find_mic, minkowski_reduce
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


class PartitionError(ValueError):
    """The snapshot cannot be cut as asked; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """The QM region with its centroid at the origin, and the charges around it."""

    qm_positions: FloatArray  # (n_qm, 3) Å
    mm_positions: FloatArray  # (n_mm, 3) Å
    mm_charges: FloatArray  # (n_mm,) e, none of them zero
    mm_sites: IntArray  # (n_mm,) row of each charge in the snapshot

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

    Raises
    ------
    PartitionError
        When a second image of a residue could come within the radius, i.e. when the shortest
        lattice vector is not longer than 2 (radius + extents); or on NaN.
    """
    positions = np.asarray(positions, float)
    if not (np.isfinite(positions).all() and (cell is None or np.isfinite(cell).all())):
        raise PartitionError("the snapshot has NaN or infinite positions or lattice vectors")
    if not radius > 0.0:
        raise PartitionError(f"the radius is {radius} Å; expected more than 0")

    qm_positions = make_whole(positions[qm_atoms], cell)
    centre = qm_positions.mean(axis=0)
    qm_positions = qm_positions - centre

    mm_sites = np.flatnonzero(~np.isin(residues, residues[qm_atoms]))
    _, owner = np.unique(residues[mm_sites], return_inverse=True)
    mm_positions, extent = _nearest_residues(positions[mm_sites] - centre, owner, cell)
    if cell is not None and np.isfinite(radius):
        _check_cell(cell, radius, qm_positions, extent)

    distances, _ = cKDTree(qm_positions).query(mm_positions)
    near = np.isin(owner, owner[distances <= radius])
    taken = near & ((charges[mm_sites] != 0.0) | np.isin(mm_sites, keep))
    return Cluster(qm_positions, mm_positions[taken], charges[mm_sites][taken], mm_sites[taken])


def minimum_image(vectors: FloatArray, cell: FloatArray | None) -> FloatArray:
    """Shortest of the periodic images of each vector, (n, 3) in the unit of the cell."""
    if cell is None:
        return np.asarray(vectors)
    return np.asarray(find_mic(vectors, cell, pbc=True)[0]).reshape(-1, 3)


def make_whole(positions: FloatArray, cell: FloatArray | None) -> FloatArray:
    """Bring the atoms of one molecule together, each next to its nearest atom already placed.

    Needs no bonds, and works for molecules longer than half the cell. The first atom stays.

    Parameters
    ----------
    positions : (n, 3)
        Å, wrapped in any way.
    cell : (3, 3)
        Lattice vectors as rows, Å; None leaves everything where it is.
    """
    whole = np.array(positions, float)
    waiting = np.arange(len(whole)) > 0
    anchor = np.zeros(len(whole), int)  # nearest placed atom of each waiting one
    steps = minimum_image(whole - whole[0], cell)  # from that atom to the waiting one
    while waiting.any():
        atom = int(np.argmin(np.where(waiting, (steps**2).sum(axis=1), np.inf)))
        whole[atom] = whole[anchor[atom]] + steps[atom]
        waiting[atom] = False
        candidates = minimum_image(whole - whole[atom], cell)
        closer = waiting & ((candidates**2).sum(axis=1) < (steps**2).sum(axis=1))
        anchor[closer], steps[closer] = atom, candidates[closer]
    return whole


def shortest_repeat(cell: FloatArray) -> float:
    """Length of the shortest lattice vector, in the unit of the cell."""
    reduced, _ = minkowski_reduce(np.asarray(cell, float), pbc=True)
    return float(np.linalg.norm(reduced, axis=1).min())


def required_repeat(radius: float, qm_extent: float, residue_extent: float) -> float:
    """Shortest lattice vector at which no residue can be within ``radius`` twice.

    Extents are the largest distances of an atom from its centroid. All in one unit.
    """
    return 2.0 * (radius + qm_extent + residue_extent)


def _nearest_residues(
    positions: FloatArray, owner: IntArray, cell: FloatArray | None
) -> tuple[FloatArray, float]:
    """Whole residues, each in the image whose centroid is nearest to the origin; their extent."""
    if len(positions) == 0:
        return positions.reshape(0, 3), 0.0
    first = np.unique(owner, return_index=True)[1]  # (n_residues,)
    inner = minimum_image(positions - positions[first][owner], cell)  # from the first atom
    size = np.bincount(owner)[:, None]
    offsets = np.stack([np.bincount(owner, inner[:, k]) for k in range(3)], axis=1) / size
    inner = inner - offsets[owner]  # from the centroid
    centroids = minimum_image(offsets + positions[first], cell)
    return inner + centroids[owner], float(np.linalg.norm(inner, axis=1).max())


def _check_cell(
    cell: FloatArray, radius: float, qm_positions: FloatArray, residue_extent: float
) -> None:
    found = shortest_repeat(cell)
    qm_extent = float(np.linalg.norm(qm_positions, axis=1).max())
    needed = required_repeat(radius, qm_extent, residue_extent)
    if found <= needed:
        raise PartitionError(
            f"the box repeats every {found:.2f} Å, too small for a radius of {radius:g} Å around "
            f"this QM region: more than {needed:.2f} Å is needed, or one residue would be near "
            f"it twice; the largest radius that fits is {radius - (needed - found) / 2:.1f} Å"
        )
