"""Frames cut out of snapshots of the boxes that were sampled, each with a hash."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from datagen.solvent.md import Box, Snapshots, charges_and_residues
from eqmm_ase.cutting.cluster import cut_cluster
from eqmm_ase.cutting.frame_id import frame_hash
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.unwrapping import Unwrapper

_RESOLUTION = 2.0**-13
"""Å. MM positions are multiples of it, 1.2e-4 Å: an engine in single precision knows no more, and
a file in single precision, half as large, still holds exactly what the QM program saw."""


@dataclass(frozen=True, eq=False)
class QMRegion:
    """What all frames of a sampling share; the first atoms of the box, in this order."""

    atomic_numbers: NDArray[np.integer]  # (n_qm,)
    total_charge: int
    spin_multiplicity: int


class FrameCutter:
    """Turns snapshots of a box into frames.

    Parameters
    ----------
    region
        The QM region.
    box
        Where charges and residues come from.
    radius
        Å; residues with an atom this near to a QM atom are in the frame.
    medium
        Name of the surroundings.
    """

    def __init__(self, region: QMRegion, box: Box, radius: float, medium: str) -> None:
        self._region, self._radius, self._medium = region, radius, medium
        self._charges, self._residues = charges_and_residues(box.prmtop)
        self._unwrapper = Unwrapper(self._residues)

    def check(self, box: Box) -> None:
        """Make sure that the equilibrated box can be cut, before any trajectory is run.

        Raises
        ------
        ClusterError
            When the box is too small for the radius.
        """
        self._frame(box.positions, box.cell, "")

    def __call__(self, snapshots: Snapshots, source: str) -> list[Frame]:
        """Frames of one trajectory, in its order."""
        return [
            self._frame(positions, cell, source)
            for positions, cell in zip(snapshots.positions, snapshots.cells, strict=True)
        ]

    def _frame(self, positions: np.ndarray, cell: np.ndarray, source: str) -> Frame:
        region = self._region
        cluster = cut_cluster(
            positions,
            self._charges,
            self._residues,
            np.arange(len(region.atomic_numbers)),
            cell,
            self._radius,
            unwrapper=self._unwrapper,
        )
        frame = Frame(
            atomic_numbers=region.atomic_numbers,
            qm_positions=cluster.qm_positions,
            mm_positions=np.round(cluster.mm_positions / _RESOLUTION) * _RESOLUTION,
            mm_charges=cluster.mm_charges,
            total_charge=region.total_charge,
            spin_multiplicity=region.spin_multiplicity,
            cell=cell,
            medium=self._medium,
            source=source,
        )
        return replace(frame, frame_id=frame_hash(frame))
