"""Molecules made whole that a simulation wrapped into its box atom by atom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.lattice import minimum_image

IntArray = NDArray[np.integer]

_FIRST = 1e6  # Å², by which bonds come before all other distances


class Unwrapper:
    """Puts atoms that belong together side by side, however they are wrapped.

    Parameters
    ----------
    residues : (n,)
        Residue of each site, any numbers.
    bonds : (m, 2)
        Rows of sites that are bonded. Pieces of a residue without bonds between them go where they
        are nearest to its first site.
    """

    def __init__(self, residues: IntArray, bonds: IntArray | None = None) -> None:
        n = len(residues)
        none = np.zeros((0, 2), int)
        self._bonds = none if bonds is None else np.asarray(bonds, int).reshape(-1, 2)
        within = residues[self._bonds[:, 0]] == residues[self._bonds[:, 1]]
        self._levels = _levels(n, np.asarray(residues), self._bonds[within])

    def residues(self, positions: FloatArray, cell: FloatArray | None) -> FloatArray:
        """Positions with every residue whole; its first site stays, (n, 3) Å."""
        if cell is None:
            return np.asarray(positions)
        whole = np.array(positions, np.float64)
        for sites, neighbours in self._levels:
            whole[sites] = whole[neighbours] + minimum_image(whole[sites] - whole[neighbours], cell)
        return whole

    def region(self, positions: FloatArray, sites: IntArray, cell: FloatArray | None) -> FloatArray:
        """Positions of some sites as one cluster, by their bonds; molecules where they are nearest.

        Parameters
        ----------
        positions : (n, 3)
            Of all sites, Å.
        sites : (m,)
            Rows, ascending.

        Returns
        -------
        (m, 3)
            Å; the first stays.
        """
        inside = self._bonds[np.isin(self._bonds, sites).all(axis=1)]
        return make_whole(positions[sites], cell, np.searchsorted(sites, inside))


def make_whole(
    positions: FloatArray, cell: FloatArray | None, bonds: IntArray | None = None
) -> FloatArray:
    """Bring atoms together: each next to one it is bonded to, or else to its nearest.

    Works for molecules longer than half the cell, without bonds as long as each atom is nearer to
    its own molecule than to an image of it. The first atom stays.

    Parameters
    ----------
    positions : (n, 3)
        Å, wrapped in any way.
    cell : (3, 3)
        Lattice vectors as rows, Å; None leaves everything where it is.
    bonds : (m, 2)
        Rows of atoms that are bonded.

    Raises
    ------
    ValueError
        When a position is not a number.
    """
    whole = np.array(positions, float)
    if cell is None:
        return whole
    if not np.isfinite(whole).all():
        raise ValueError("positions of atoms are not finite numbers; check the structure")
    bonded = np.zeros((len(whole), len(whole)), dtype=bool)
    if bonds is not None:
        bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = True
    waiting = np.ones(len(whole), dtype=bool)
    anchor = np.zeros(len(whole), int)  # placed atom that each waiting one would go to
    steps = np.zeros_like(whole)  # from that atom to the waiting one
    order = np.full(len(whole), np.inf)
    atom = 0
    while True:
        waiting[atom] = False
        if not waiting.any():
            return whole
        candidates = minimum_image(whole - whole[atom], cell)
        distances = (candidates**2).sum(axis=1) - _FIRST * bonded[atom]
        closer = waiting & (distances < order)
        anchor[closer], steps[closer], order[closer] = atom, candidates[closer], distances[closer]
        atom = int(np.argmin(np.where(waiting, order, np.inf)))
        whole[atom] = whole[anchor[atom]] + steps[atom]


def molecules_of(n: int, bonds: IntArray) -> IntArray:
    """Number of the molecule that each of n atoms is in, by bonds (m, 2) alone."""
    return np.asarray(connected_components(_graph(n, bonds), directed=False)[1])


def _levels(n: int, residues: IntArray, bonds: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Sites to place one after another, each with the placed neighbour that it goes to."""
    if n == 0:
        return []
    _, first, owner = np.unique(residues, return_index=True, return_inverse=True)
    piece = molecules_of(n, bonds)
    starts = np.unique(piece, return_index=True)[1]  # first site of each piece
    loose = starts[starts != first[owner[starts]]]
    joined = np.concatenate([bonds, np.stack([loose, first[owner[loose]]], axis=1)])
    root = np.stack([first, np.full(len(first), n)], axis=1)  # one more site holds all residues
    order, parent = breadth_first_order(
        _graph(n + 1, np.concatenate([joined, root])), n, directed=False
    )
    depth = np.zeros(n + 1, int)
    for site in order[1:]:
        depth[site] = depth[parent[site]] + 1
    deep = [np.flatnonzero(depth[:n] == level) for level in range(2, int(depth.max()) + 1)]
    return [(sites, parent[sites]) for sites in deep]


def _graph(n: int, pairs: IntArray) -> coo_array:
    return coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n)).tocsr()
