"""What a model was trained on, and a warning by name when it is asked for something else.

A network answers any question of the right shape. The domain, stored with the model, says which
questions it has seen: compositions, sizes, charges, spins, and how close MM charges came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from eqmm_ase.frame import Frame
from eqmm_ase.validation import composition, squared_distances

MUCH_CLOSER = 0.8
"""A charge nearer than this fraction of the closest one in training is far outside it."""


class DomainWarning(UserWarning):
    """The model is asked about a system unlike those it was trained on."""


@dataclass(frozen=True)
class Domain:
    """The systems a model has seen. An empty entry (or None) is unknown and never warned about."""

    compositions: tuple[str, ...] = ()
    """Hill formulas of the QM regions."""
    total_charges: tuple[int, ...] = ()
    spin_multiplicities: tuple[int, ...] = ()
    n_qm: tuple[int, ...] = ()
    """Smallest and largest number of QM atoms."""
    closest_mm: float | None = None
    """Å, the shortest distance between a nucleus and an MM charge; None: no charges seen."""
    closest: dict[str, float] = field(default_factory=dict)
    """Å, the same for each element and sign of the charge, as ``{"O+": 1.61, "O-": 2.55}``."""

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> Domain:
        """The domain that training frames span."""
        frames = list(frames)
        closest: dict[str, float] = {}
        for frame in frames:
            for kind, distance in _closest(frame).items():
                closest[kind] = min(distance, closest.get(kind, np.inf))
        sizes = [frame.n_qm for frame in frames]
        return cls(
            compositions=tuple(sorted({composition(f.atomic_numbers) for f in frames})),
            total_charges=tuple(sorted({int(f.total_charge) for f in frames})),
            spin_multiplicities=tuple(sorted({int(f.spin_multiplicity) for f in frames})),
            n_qm=(min(sizes), max(sizes)) if sizes else (),
            closest_mm=min(closest.values(), default=None),
            closest=dict(sorted(closest.items())),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the model's card."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Domain:
        """The inverse of `to_dict`; entries this version does not know are left aside."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name in cls.__dataclass_fields__
            if (value := values.get(name)) is not None
        }
        return cls(**known)

    def strangers(
        self, numbers: NDArray[np.integer], total_charge: int, spin_multiplicity: int
    ) -> dict[str, str]:
        """What of a QM region lies outside: a key to remember it by → a sentence."""
        found: dict[str, str] = {}
        formula, n_qm = composition(numbers), len(numbers)
        if self.total_charges and total_charge not in self.total_charges:
            found[f"charge {total_charge}"] = (
                f"total charge {total_charge:+d} was not in training "
                f"(seen: {_listed(self.total_charges, '+d')})"
            )
        if self.spin_multiplicities and spin_multiplicity not in self.spin_multiplicities:
            found[f"spin {spin_multiplicity}"] = (
                f"spin multiplicity {spin_multiplicity} was not in training "
                f"(seen: {_listed(self.spin_multiplicities)})"
            )
        if self.n_qm and not self.n_qm[0] <= n_qm <= self.n_qm[1]:
            found[f"size {n_qm}"] = (
                f"{n_qm} QM atoms lie outside training (seen: {self.n_qm[0]} to {self.n_qm[1]})"
            )
        if self.compositions and formula not in self.compositions:
            found[f"composition {formula}"] = (
                f"the QM region {formula} was not in training (seen: {_listed(self.compositions)})"
            )
        return found

    def too_close(self, distance: float) -> bool:
        """Whether a charge at this distance in Å is much nearer than any in training."""
        return self.closest_mm is not None and distance < MUCH_CLOSER * self.closest_mm


def kind_of_pair(symbol: str, charge: float) -> str:
    """How `Domain.closest` calls a QM element and a charge: ``"O-"``."""
    return symbol + ("-" if charge < 0.0 else "+")


def _closest(frame: Frame) -> dict[str, float]:
    squared = squared_distances(
        np.asarray(frame.qm_positions, np.float64), np.asarray(frame.mm_positions, np.float64)
    )
    found: dict[str, float] = {}
    for sign in (-1.0, 1.0):
        near = squared[:, np.sign(frame.mm_charges) == sign]
        for number in np.unique(frame.atomic_numbers) if near.size else ():
            nearest = near[np.asarray(frame.atomic_numbers) == number].min()
            kind = kind_of_pair(chemical_symbols[int(number)], sign)
            found[kind] = round(float(np.sqrt(max(nearest, 0.0))), 4)
    return found


def _listed(values: Iterable[Any], form: str = "") -> str:
    words = [format(value, form) for value in values]
    shown = words if len(words) <= 8 else [*words[:7], f"… {len(words)} in all"]
    return ", ".join(shown)
