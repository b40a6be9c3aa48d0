"""Carbons of a QM region that lack hydrogens: topologies from which someone has stripped them.

United atoms tell themselves by their mass; a file without some of its atoms tells nothing but that
carbon atoms with one or two neighbours are not linear, as they are in nitriles and alkynes.
"""

from __future__ import annotations

import numpy as np

from eqmm_ase.arrays import FloatArray
from eqmm_ase.cutting.qm_region import RegionError, SelectedRegion
from eqmm_ase.data.lattice import minimum_image
from eqmm_ase.topology import Topology

_CARBON = 6
_LONGEST_TRIPLE_BOND = 1.35  # Å, with room for vibrations; C≡O 1.13, C≡N 1.16, C≡C 1.20
_LEAST_LINEAR = -0.8  # cosine of 143°; linear chains bend by less


def check_hydrogens(
    topology: Topology, region: SelectedRegion, positions: FloatArray, cell: FloatArray | None
) -> None:
    """Refuse a QM region with carbons that have too few neighbours for their geometry.

    Parameters
    ----------
    topology, region
        From `eqmm_ase.topology.read_topology` and `eqmm_ase.cutting.qm_region.find_region`.
    positions : (n, 3)
        Å, of all sites in one snapshot.
    cell : (3, 3)
        Å; None if the system does not repeat.

    Raises
    ------
    RegionError
        With the first such carbon, how many there are, and what to do.
    """
    partners: dict[int, list[int]] = {int(atom): [] for atom in region.atoms}
    for i, j in topology.bonds.tolist():
        for atom, partner in ((i, j), (j, i)):
            if atom in partners:
                partners[atom].append(partner)
    bare = [
        atom
        for atom, ends in partners.items()
        if topology.atomic_numbers[atom] == _CARBON
        and 1 <= len(ends) <= 2
        and not _is_linear(minimum_image(positions[ends] - positions[atom], cell))
    ]
    if bare:
        others = f", as have {len(bare) - 1} others" if len(bare) > 1 else ""
        n = len(partners[bare[0]])
        raise RegionError(
            f"{topology.label(bare[0])} is carbon with {n} neighbour{'s' if n > 1 else ''} "
            f"only{others}; the QM region lacks hydrogens: use a topology and trajectories that "
            "hold every atom"
        )


def _is_linear(bonds: FloatArray) -> bool:
    lengths = np.linalg.norm(bonds, axis=1)
    if len(bonds) == 1:
        return bool(lengths[0] < _LONGEST_TRIPLE_BOND)
    return bool(bonds[0] @ bonds[1] < _LEAST_LINEAR * lengths[0] * lengths[1])
