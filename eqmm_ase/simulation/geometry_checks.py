"""Invalid geometries and near-duplicates, neither of which is worth a label.

A trajectory that has left everything its model knows may end anywhere. A quantum-chemical label of
such a structure costs as much as any other, and a network that has to learn it forgets others.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse.csgraph import connected_components

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.checks import squared_distances
from eqmm_ase.data.frame import Frame
from eqmm_ase.uncertainty.contacts import MUCH_CLOSER, closest_in_training, collapsed
from eqmm_ase.uncertainty.domain import Domain
from eqmm_ase.units import COULOMB_CONSTANT

APART = 6.0
"""Å. A part of the QM region this far from the rest is on its own."""
CHARGE_CONTACT = 1.2
"""Å from a nucleus to an MM charge; the shortest hydrogen bonds have 1.5 Å. Charges beside a link
atom are nearer, and are meant where training frames had them as near."""

SAME_DISTANCES = 0.05
"""Å, root mean square over all pairs of QM atoms: what an atom moves in a few femtoseconds."""
SAME_POTENTIAL = 0.1
"""V, root mean square over the QM atoms: a tenth of how potentials differ between frames."""


def invalid_geometry(frame: Frame, domain: Domain | None = None) -> str | None:
    """Reason why a geometry is invalid (collapsed, flown apart, on a charge); None for a valid one.

    What a model of this `domain` has seen is no reason.
    """
    positions = np.asarray(frame.qm_positions, np.float64)
    if not np.isfinite(positions).all():
        return "positions are not finite"
    distances = _distances(positions, positions)
    return (
        collapsed(frame.atomic_numbers, distances)
        or _apart(distances)
        or _on_a_charge(frame, positions, domain or Domain())
        or None
    )


def _apart(distances: FloatArray) -> str:
    n_parts, part = connected_components(distances < APART, directed=False)
    if n_parts == 1:
        return ""
    gap = min(distances[np.ix_(part == k, part != k)].min() for k in range(n_parts))
    return f"the QM region is in {n_parts} parts, {gap:.1f} Å from each other"


def _on_a_charge(frame: Frame, positions: FloatArray, domain: Domain) -> str:
    charges = np.asarray(frame.mm_charges, np.float64)
    felt = charges != 0.0
    if not felt.any():
        return ""
    distances = _distances(positions, np.asarray(frame.mm_positions, np.float64)[felt])
    seen = MUCH_CLOSER * closest_in_training(frame.atomic_numbers, charges[felt], domain)
    near = distances < np.where(seen > 0.0, np.minimum(seen, CHARGE_CONTACT), CHARGE_CONTACT)
    if not near.any():
        return ""
    return f"an MM charge is {distances[near].min():.2f} Å from a nucleus"


class KnownFrames:
    """Known frames, among which near-duplicates of others are looked for.

    Two frames are near-duplicates where the same atoms, in the same order, have nearly the same
    distances from each other and nearly the same MM potential, up to a constant.

    Parameters
    ----------
    frames
        Known from the start.
    """

    def __init__(self, frames: Iterable[Frame] = ()) -> None:
        self._seen: dict[bytes, list[tuple[FloatArray, FloatArray]]] = {}
        for frame in frames:
            self.add(frame)

    def add(self, frame: Frame) -> None:
        """Remember a frame."""
        self._seen.setdefault(_region(frame), []).append(_description(frame))

    def has_near_duplicate(self, frame: Frame) -> bool:
        """Whether a known frame is nearly the same as this one."""
        distances, potential = _description(frame)
        return any(
            _rms(distances - other) < SAME_DISTANCES and _rms(potential - its) < SAME_POTENTIAL
            for other, its in self._seen.get(_region(frame), ())
        )


def _region(frame: Frame) -> bytes:
    numbers = [*frame.atomic_numbers, frame.total_charge, frame.spin_multiplicity]
    return np.asarray(numbers, np.int64).tobytes()


def _description(frame: Frame) -> tuple[FloatArray, FloatArray]:
    """Distances of all pairs, (n (n − 1) / 2,) Å, and the MM potential less its mean, (n,) V."""
    positions = np.asarray(frame.qm_positions, np.float64)
    charges = np.asarray(frame.mm_charges, np.float64)
    felt = charges != 0.0
    sites = np.asarray(frame.mm_positions, np.float64)[felt]
    potential = np.zeros(len(positions))
    if len(sites):
        potential = COULOMB_CONSTANT * (charges[felt] / _distances(positions, sites)).sum(axis=1)
    return _distances(positions, positions)[
        np.triu_indices(len(positions), 1)
    ], potential - potential.mean()


def _distances(a: FloatArray, b: FloatArray) -> FloatArray:
    # Rounding can leave a squared distance of zero below it.
    return np.sqrt(np.maximum(squared_distances(a, b), 0.0))


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.square(values).mean())) if len(values) else 0.0
