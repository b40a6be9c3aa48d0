"""What a set of frames looks like from outside: sizes, net charges, closest contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from eqmm_ase.data.frame import Frame


@dataclass(frozen=True)
class FrameStatistics:
    """Least and greatest values over the frames."""

    n_frames: int
    n_mm: tuple[int, int]
    net_mm_charge: tuple[float, float]
    """e. What the cut, cut bonds and fading charges make of it."""

    closest_contact: float
    """Å, between a QM atom that is no cap and a charge that is an atom."""

    def sentence(self) -> str:
        """In words."""
        charges = _range(f"{self.net_mm_charge[0]:+.4f}", f"{self.net_mm_charge[1]:+.4f}")
        sites = _range(str(self.n_mm[0]), str(self.n_mm[1]))
        return (
            f"{self.n_frames} frames, {sites} charges, net MM charge {charges} e, "
            f"closest contact {self.closest_contact:.2f} Å"
        )


def frame_statistics(frames: Sequence[Frame]) -> FrameStatistics:
    """Statistics of at least one frame."""
    sizes = [frame.n_mm for frame in frames]
    # Rounded: the sum of thousands of charges has digits that mean nothing.
    nets = [round(float(np.sum(frame.mm_charges)), 6) + 0.0 for frame in frames]
    return FrameStatistics(
        n_frames=len(frames),
        n_mm=(min(sizes), max(sizes)),
        net_mm_charge=(min(nets), max(nets)),
        closest_contact=min(_contact(frame) for frame in frames),
    )


def _contact(frame: Frame) -> float:
    """Across a cut bond, which is none, M1 is no charge of the frame; the atoms behind it are."""
    links = frame.boundary.links if frame.boundary else ()
    sites = frame.boundary.sites if frame.boundary else ()
    atoms = np.setdiff1d(np.arange(frame.n_qm), [link.cap for link in links])
    charges = np.setdiff1d(np.arange(frame.n_mm), [site.site for site in sites])
    if len(charges) == 0:
        return float("inf")
    distances, _ = cKDTree(frame.qm_positions[atoms]).query(frame.mm_positions[charges])
    return float(distances.min())


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
