"""Frames from snapshots of a user's own simulation: whole residues around a QM region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.cutting.cluster import (
    RECOMMENDED_RADIUS,
    Cluster,
    ClusterError,
    cut_cluster,
    largest_radius,
    rounded_down,
)
from eqmm_ase.cutting.frame_id import frame_hash
from eqmm_ase.cutting.link_atoms import LONGEST_BOND, SHORTEST_BOND, cap_frame, check_redistribution
from eqmm_ase.cutting.qm_region import SelectedRegion, total_charge
from eqmm_ase.cutting.redistribution import REDISTRIBUTIONS, RedistributionName
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.boundary import CapRule
from eqmm_ase.data.checks import electron_count
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.lattice import minimum_image
from eqmm_ase.data.switching import residue_scales
from eqmm_ase.data.unwrapping import Unwrapper
from eqmm_ase.settings_help import with_help
from eqmm_ase.topology import Topology

SMALLEST_RADIUS = 3.0  # Å
_TYPICAL_BOND = 1.2  # Å


class CutError(ValueError):
    """A setting or a snapshot makes no sense; the message is one sentence for the user."""


@with_help
@dataclass(frozen=True)
class CutSettings:
    """How frames are cut out of snapshots."""

    medium: str
    """Name of the surroundings: water, protein …"""

    radius: float = RECOMMENDED_RADIUS
    """Whole residues with an atom this near to a QM atom are kept, Å; infinity for all."""

    switch_from: float | None = None
    """Fade the charges of residues out from here to the radius, Å; None: no fading."""

    cap_rule: CapRule = "scaled"
    """Hydrogen on a cut bond: at a fraction of its length, or at a fixed distance."""

    redistribution: RedistributionName = "rcd"
    """What becomes of the charge of the classical atom of a cut bond."""

    total_charge: int | None = None
    """Total charge of the QM region, e; None: from its force-field charges."""

    spin_multiplicity: int = 1
    """Spin multiplicity 2S+1."""

    isolated: bool = False
    """The system does not repeat; ignore any box."""

    def __post_init__(self) -> None:
        if not self.radius >= SMALLEST_RADIUS:
            raise CutError(f"radius is {self.radius:g}; expected at least {SMALLEST_RADIUS:g} Å")
        if self.switch_from is not None and not 0.0 < self.switch_from < self.radius < np.inf:
            raise CutError(
                f"switch_from is {self.switch_from:g}; expected more than 0 and less than a "
                f"finite radius, here {self.radius:g} Å"
            )
        _check_name("cap_rule", self.cap_rule, get_args(CapRule))
        _check_name("redistribution", self.redistribution, get_args(RedistributionName))


class SnapshotCutter:
    """Cuts frames out of snapshots; what all snapshots share is checked once.

    Parameters
    ----------
    topology
        From `eqmm_ase.topology.read_topology`.
    region
        From `eqmm_ase.cutting.qm_region.find_region`.
    settings
        How to cut.
    topology_name
        What frames call the topology, from `eqmm_ase.data.atom_map.topology_name`.

    Raises
    ------
    CutError, RegionError, BoundaryError, ValueError
        When total charge, spin multiplicity or cut bonds make no sense; one sentence.
    """

    def __init__(
        self,
        topology: Topology,
        region: SelectedRegion,
        settings: CutSettings,
        topology_name: str = "",
    ) -> None:
        self.topology, self.region, self.settings = topology, region, settings
        self.topology_name = topology_name
        _check_inner_radius(settings, region)
        self.total_charge = (
            total_charge(region) if settings.total_charge is None else settings.total_charge
        )
        self._redistribution = REDISTRIBUTIONS[settings.redistribution]
        check_redistribution(topology, region.bonds, self._redistribution)
        numbers = [*topology.atomic_numbers[region.atoms], *([1] * len(region.bonds))]
        electron_count(np.array(numbers), self.total_charge, settings.spin_multiplicity)
        self._kept = [site for bond in region.bonds for site in (bond.m1, *bond.m2)]
        inside = np.isin(topology.bonds, region.atoms)
        self._qm_bonds = topology.bonds[inside.all(axis=1)]
        within = topology.residues[topology.bonds[:, 0]] == topology.residues[topology.bonds[:, 1]]
        self._mm_bonds = topology.bonds[within & ~inside.any(axis=1)]
        virtual = np.flatnonzero(topology.parents >= 0)
        attached = np.stack([virtual, topology.parents[virtual]], axis=1)
        self._unwrapper = Unwrapper(topology.residues, np.concatenate([topology.bonds, attached]))
        self.complete_to = np.inf
        """Å from the nearest QM atom up to which nothing is missing in any frame cut so far;
        infinity where that is the whole radius."""

    def __call__(self, snapshot: Snapshot, source: str) -> Frame:
        """Cut one frame.

        Raises
        ------
        CutError, ClusterError, BoundaryError
            When the snapshot has no box, one that is too small, or torn molecules.
        """
        region, settings = self.region, self.settings
        cell = self._cell(snapshot)
        cluster = self._cluster(snapshot, cell, settings.radius)
        self._check_bonds(cluster, snapshot, cell)
        frame = Frame(
            atomic_numbers=self.topology.atomic_numbers[region.atoms],
            qm_positions=cluster.qm_positions,
            mm_positions=cluster.mm_positions,
            mm_charges=cluster.mm_charges,
            total_charge=self.total_charge,
            spin_multiplicity=settings.spin_multiplicity,
            cell=cell,
            medium=settings.medium,
            source=source,
            topology=self.topology_name,
            qm_atom_indices=region.atoms,
            mm_atom_indices=cluster.mm_sites,
            mm_residue_indices=self.topology.residues[cluster.mm_sites],
        )
        if settings.switch_from is not None:
            self._check_fading(cluster.complete_to, snapshot.number)
            frame = self._switched(frame, settings.switch_from)
        if region.bonds:
            frame = cap_frame(frame, self.topology, region, settings.cap_rule, self._redistribution)
        self.complete_to = min(self.complete_to, cluster.complete_to)
        return replace(frame, frame_id=frame_hash(frame))

    def largest_radius(self, snapshot: Snapshot) -> float:
        """Å; the largest radius with which this snapshot can be cut, infinity without a box.

        Raises
        ------
        CutError, ClusterError
            As cutting does.
        """
        cell = self._cell(snapshot)
        if cell is None:
            return np.inf
        region = self._unwrapper.region(snapshot.positions, self.region.atoms, cell)
        largest = largest_radius(cell, region)
        if self.settings.switch_from is None:
            return largest
        return min(largest, self._cluster(snapshot, cell, largest).complete_to)

    def within(self, radius: float) -> SnapshotCutter:
        """Cutter of the same region with a radius, in Å, that is rounded down to tenths."""
        settings = replace(self.settings, radius=rounded_down(radius))
        return SnapshotCutter(self.topology, self.region, settings, self.topology_name)

    def _cluster(
        self, snapshot: Snapshot, cell: NDArray[np.floating] | None, radius: float
    ) -> Cluster:
        try:
            return cut_cluster(
                snapshot.positions,
                self.topology.charges,
                self.region.groups,
                self.region.atoms,
                cell,
                radius,
                keep=self._kept,
                unwrapper=self._unwrapper,
            )
        except ClusterError as error:
            raise ClusterError(f"frame {snapshot.number}: {error}") from error

    def _cell(self, snapshot: Snapshot) -> NDArray[np.floating] | None:
        if self.settings.isolated:
            return None
        if snapshot.cell is None:
            raise CutError(
                f"frame {snapshot.number} has no periodic box; give a trajectory that holds it, or "
                "say that the system is isolated"
            )
        return snapshot.cell

    def _check_bonds(
        self, cluster: Cluster, snapshot: Snapshot, cell: NDArray[np.floating] | None
    ) -> None:
        """Bonds of the QM region as it was gathered, and those within the residues taken."""
        rows = np.searchsorted(self.region.atoms, self._qm_bonds)
        self._check_lengths(
            self._qm_bonds,
            cluster.qm_positions[rows[:, 0]] - cluster.qm_positions[rows[:, 1]],
            snapshot.number,
        )
        taken = np.unique(self.topology.residues[cluster.mm_sites])
        bonds = self._mm_bonds[np.isin(self.topology.residues[self._mm_bonds[:, 0]], taken)]
        apart = snapshot.positions[bonds[:, 0]] - snapshot.positions[bonds[:, 1]]
        self._check_lengths(bonds, minimum_image(apart, cell), snapshot.number)

    def _check_lengths(
        self, bonds: NDArray[np.integer], vectors: NDArray[np.floating], number: int
    ) -> None:
        lengths = np.linalg.norm(vectors, axis=1)
        wrong = (lengths > LONGEST_BOND) | (lengths < SHORTEST_BOND)
        if not wrong.any():
            return
        worst = int(np.argmax(np.abs(np.log(np.maximum(lengths, 1e-9) / _TYPICAL_BOND))))
        name = "–".join(self.topology.label(site) for site in bonds[worst])
        doubt = "the trajectory belong to the topology, and the box to the positions"
        if lengths[worst] < SHORTEST_BOND:
            doubt = "the trajectory belong to the topology, and are its positions in Å"
        elif self.settings.isolated:
            doubt = "the trajectory belong to the topology, and does the system really not repeat"
        raise CutError(
            f"in frame {number} the bond {name} is {lengths[worst]:.2f} Å long; does {doubt}?"
        )

    def _check_fading(self, complete_to: float, number: int) -> None:
        if complete_to < self.settings.radius:
            raise CutError(
                f"frame {number}: a residue is within {self.settings.radius:g} Å of the QM region "
                "twice, and its charges, which fade, would jump from one image to the other; the "
                f"largest radius that fits is {rounded_down(complete_to):.1f} Å"
            )

    def _switched(self, frame: Frame, inner: float) -> Frame:
        """Scale the charges; those that vanish leave the frame, but for atoms at cut bonds."""
        sites, residues = frame.mm_atom_indices, frame.mm_residue_indices
        assert sites is not None
        assert residues is not None
        outer = self.settings.radius
        scales = residue_scales(frame.qm_positions, frame.mm_positions, residues, inner, outer)
        kept = (scales * frame.mm_charges != 0.0) | np.isin(sites, self._kept)
        return replace(
            frame,
            mm_positions=frame.mm_positions[kept],
            mm_charges=(scales * frame.mm_charges)[kept],
            mm_charges_original=frame.mm_charges[kept],
            mm_atom_indices=sites[kept],
            mm_residue_indices=residues[kept],
            switch_radii=np.array([inner, outer]),
        )


def _check_inner_radius(settings: CutSettings, region: SelectedRegion) -> None:
    """What stands at a cut bond must count in full: its charge is shared out, caps point at it."""
    inner = settings.switch_from
    if region.bonds and inner is not None and inner < LONGEST_BOND:
        raise CutError(
            f"switch_from is {inner:g}; expected at least {LONGEST_BOND:g} Å where bonds are cut, "
            "so that the charges at them do not fade"
        )


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise CutError(f"{what} is {name!r}; expected one of {', '.join(known)}")
