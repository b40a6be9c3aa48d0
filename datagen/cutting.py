"""Frames from snapshots of a user's own simulation: whole residues around a QM region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from datagen.boundary_charges import CHARGE_SCHEMES
from datagen.frame_cutter import frame_hash
from datagen.link_atoms import LONGEST_BOND, cap_frame, check_scheme
from datagen.partition import cut_cluster, make_whole
from datagen.qm_region import SelectedRegion, total_charge
from datagen.sampling import RECOMMENDED_RADIUS
from datagen.switching import residue_scales
from datagen.topology import Topology
from datagen.trajectory_files import Snapshot
from eqmm_ase.boundary import CapRule
from eqmm_ase.frame import Frame
from eqmm_ase.settings_help import with_help
from eqmm_ase.validation import electron_count

_SMALLEST_RADIUS = 3.0  # Å


class CutError(ValueError):
    """A setting or a snapshot makes no sense; the message is one sentence for the user."""


@with_help
@dataclass(frozen=True)
class CutSettings:
    """How frames are cut out of snapshots."""

    medium: str
    """Name of the surroundings."""

    radius: float = RECOMMENDED_RADIUS
    """Å; residues with an atom this near to a QM atom are in the frame; infinity for all."""

    switch_from: float | None = None
    """Å; charges fade out from here to the radius. None leaves them as they are."""

    cap_rule: CapRule = "scaled"
    """Hydrogen on a cut bond: at a fraction of its length (scaled), or at a fixed distance."""

    charge_scheme: str = "rcd"
    """One of `datagen.boundary_charges.CHARGE_SCHEMES`."""

    total_charge: int | None = None
    """Of the QM region; None takes the integer near the sum of its force-field charges."""

    spin_multiplicity: int = 1
    """2S + 1 of the QM region."""

    isolated: bool = False
    """The system does not repeat; a box in the file is ignored."""

    def __post_init__(self) -> None:
        if not self.radius >= _SMALLEST_RADIUS:
            raise CutError(f"radius is {self.radius:g}; expected at least {_SMALLEST_RADIUS:g} Å")
        if self.switch_from is not None and not 0.0 < self.switch_from < self.radius < np.inf:
            raise CutError(
                f"switch_from is {self.switch_from:g}; expected more than 0 and less than a "
                f"finite radius, here {self.radius:g} Å"
            )
        _check_name("cap_rule", self.cap_rule, get_args(CapRule))
        _check_name("charge_scheme", self.charge_scheme, tuple(CHARGE_SCHEMES))


class SnapshotCutter:
    """Cuts frames out of snapshots; what all snapshots share is checked once.

    Parameters
    ----------
    topology
        From `datagen.topology.read_topology`.
    region
        From `datagen.qm_region.find_region`.
    settings
        How to cut.

    Raises
    ------
    CutError, RegionError, BoundaryError, ValueError
        When total charge, spin multiplicity or cut bonds make no sense; one sentence.
    """

    def __init__(self, topology: Topology, region: SelectedRegion, settings: CutSettings) -> None:
        self.topology, self.region, self.settings = topology, region, settings
        self.total_charge = (
            total_charge(region) if settings.total_charge is None else settings.total_charge
        )
        self._scheme = CHARGE_SCHEMES[settings.charge_scheme]
        check_scheme(topology, region.bonds, self._scheme)
        numbers = [*topology.atomic_numbers[region.atoms], *([1] * len(region.bonds))]
        electron_count(np.array(numbers), self.total_charge, settings.spin_multiplicity)
        self._kept = [site for bond in region.bonds for site in (bond.m1, *bond.m2)]
        inside = np.isin(topology.bonds, region.atoms).all(axis=1)
        self._bonds = np.searchsorted(region.atoms, topology.bonds[inside])  # rows of QM atoms

    def __call__(self, snapshot: Snapshot, source: str) -> Frame:
        """Cut one frame.

        Raises
        ------
        CutError, PartitionError, BoundaryError
            When the snapshot has no box, one that is too small, or torn molecules.
        """
        region, settings = self.region, self.settings
        cell = self._cell(snapshot)
        qm_positions = make_whole(snapshot.positions[region.atoms], cell)
        self._check_bonds(qm_positions, snapshot.number)
        cluster = cut_cluster(
            snapshot.positions,
            self.topology.charges,
            region.groups,
            region.atoms,
            cell,
            settings.radius,
            keep=self._kept,
        )
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
        )
        sites = cluster.mm_sites
        if settings.switch_from is not None:
            frame, sites = self._switched(frame, sites)
        if region.bonds:
            frame = cap_frame(frame, self.topology, region, sites, settings.cap_rule, self._scheme)
        return replace(frame, frame_id=frame_hash(frame))

    def _cell(self, snapshot: Snapshot) -> NDArray[np.floating] | None:
        if self.settings.isolated:
            return None
        if snapshot.cell is None:
            raise CutError(
                f"frame {snapshot.number} has no periodic box; give a trajectory that holds it, or "
                "say that the system is isolated"
            )
        return snapshot.cell

    def _check_bonds(self, qm_positions: NDArray[np.floating], number: int) -> None:
        first, second = self._bonds.T
        lengths = np.linalg.norm(qm_positions[first] - qm_positions[second], axis=1)
        if len(lengths) and lengths.max() > LONGEST_BOND:
            i, j = self.region.atoms[self._bonds[lengths.argmax()]]
            raise CutError(
                f"in frame {number} the bond {self.topology.label(i)}–{self.topology.label(j)} is "
                f"{lengths.max():.2f} Å long; does the trajectory belong to the topology?"
            )

    def _switched(
        self, frame: Frame, sites: NDArray[np.integer]
    ) -> tuple[Frame, NDArray[np.integer]]:
        """Scale the charges; those that vanish leave the frame, but for atoms at cut bonds."""
        scales = residue_scales(
            frame.qm_positions,
            frame.mm_positions,
            self.region.groups[sites],
            float(self.settings.switch_from or 0.0),
            self.settings.radius,
        )
        kept = (scales * frame.mm_charges != 0.0) | np.isin(sites, self._kept)
        switched = replace(
            frame,
            mm_positions=frame.mm_positions[kept],
            mm_charges=(scales * frame.mm_charges)[kept],
            mm_charges_original=frame.mm_charges[kept],
        )
        return switched, sites[kept]


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise CutError(f"{what} is {name!r}; expected one of {', '.join(known)}")
