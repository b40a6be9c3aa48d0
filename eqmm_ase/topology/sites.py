"""What is known of the sites of a simulation, once a file has been read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray

IntArray = NDArray[np.integer]


class TopologyError(ValueError):
    """The topology cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Topology:
    """Sites in the order of the trajectory: atoms, and virtual sites with atomic number 0."""

    atomic_numbers: IntArray  # (n,)
    charges: FloatArray  # (n,) e
    names: tuple[str, ...]  # of the sites, n
    residues: IntArray  # (n,) row of each site's residue
    residue_names: tuple[str, ...]
    residue_numbers: tuple[int, ...]  # as the file counts them
    segments: tuple[str, ...]  # of each residue
    bonds: IntArray  # (n_bonds, 2), between atoms only
    parents: IntArray  # (n,) the atom that a virtual site belongs to; −1 for an atom

    doubts: Mapping[int, str] = field(default_factory=dict)
    """Site → why it cannot be part of a QM region: its element is not certain.

    Its atomic number is the best guess then, or 0, which does for a classical charge.
    """

    unplaced: frozenset[int] = frozenset()
    """Virtual sites of which it is not known to which atom of their residue they belong."""

    notes: tuple[str, ...] = ()
    """What the user should know about the file, a sentence each."""

    @property
    def n_sites(self) -> int:
        """Number of atoms and virtual sites."""
        return len(self.charges)

    def label(self, site: int) -> str:
        """A site as people call it: ``SER 3 CB``."""
        residue = self.residues[site]
        return f"{self.residue_names[residue]} {self.residue_numbers[residue]} {self.names[site]}"
