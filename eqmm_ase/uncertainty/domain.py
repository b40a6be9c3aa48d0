"""What a model was trained on: a warning or a refusal by name when it is asked for something else.

A network answers any question of the right shape. The domain, stored with the model, says which
questions it has seen: compositions, sizes, charges, spins, and how close MM charges came.

A total charge or a spin multiplicity that no training frame had is refused. Where all frames have
one, its weights were never trained, and answers for another are off by any amount: 4e5 eV for a
committee that knows the charge −1 and is asked for 0. Compositions and contacts warn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from eqmm_ase.data.checks import composition, squared_distances
from eqmm_ase.data.frame import Frame


class DomainWarning(UserWarning):
    """The system is unlike those in the training data, so that errors may be larger."""


class DomainError(ValueError):
    """A total charge or spin multiplicity that does not occur in the training data."""


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
    regions: tuple[tuple[str, int, int], ...] = ()
    """Which formula was seen with which total charge and spin multiplicity."""

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
            regions=tuple(sorted({_region(frame) for frame in frames})),
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
        known["regions"] = tuple((f, q, m) for f, q, m in known.get("regions", ()))
        return cls(**known)

    def state(
        self,
        numbers: NDArray[np.integer],
        total_charge: int | None,
        spin_multiplicity: int | None,
    ) -> tuple[int, int]:
        """Total charge and spin multiplicity of a region where one or both (None) are not given.

        The only value that was seen with this formula, or at all, is meant; where there are
        several or none, a neutral molecule and a singlet, as everywhere.

        Raises
        ------
        DomainError
            When several were seen, and those are not among them.
        """
        formula = composition(numbers)
        alike = [r for r in self.regions if r[0] == formula and spin_multiplicity in (None, r[2])]
        if total_charge is None:
            charges = {r[1] for r in alike} or set(self.total_charges)
            total_charge = _meant(charges, 0, "total_charge", formula)
        if spin_multiplicity is None:
            spins = {r[2] for r in alike if r[1] == total_charge} or set(self.spin_multiplicities)
            electrons = int(np.sum(numbers)) - total_charge
            possible = {spin for spin in spins if (electrons - spin) % 2} or spins
            spin_multiplicity = _meant(possible, 1, "spin_multiplicity", formula)
        return total_charge, spin_multiplicity

    def refuse_state(
        self, numbers: NDArray[np.integer], total_charge: int, spin_multiplicity: int
    ) -> None:
        """Refuse a total charge or spin multiplicity that no training frame had.

        Raises
        ------
        DomainError
            Names what was asked for and what the model knows.
        """
        for name, value, seen, form in (
            ("total charge", total_charge, self.total_charges, "+d"),
            ("spin multiplicity", spin_multiplicity, self.spin_multiplicities, "d"),
        ):
            if seen and value not in seen:
                raise DomainError(
                    f"{composition(numbers)} with {name} {value:{form}}: the model knows only "
                    f"{_listed(seen, form)}; set {name.replace(' ', '_')}, or take a model that "
                    "was trained for it"
                )

    def out_of_domain(
        self, numbers: NDArray[np.integer], total_charge: int, spin_multiplicity: int
    ) -> dict[str, str]:
        """How a QM region lies outside of the domain: a key to remember it by → a sentence."""
        found: dict[str, str] = {}
        formula, n_qm = composition(numbers), len(numbers)
        if self.n_qm and not self.n_qm[0] <= n_qm <= self.n_qm[1]:
            found[f"size {n_qm}"] = (
                f"{n_qm} QM atoms lie outside training (seen: {self.n_qm[0]} to {self.n_qm[1]})"
            )
        if self.compositions and formula not in self.compositions:
            found[f"composition {formula}"] = (
                f"the QM region {formula} was not in training (seen: {_listed(self.compositions)})"
            )
        elif self.regions and (formula, total_charge, spin_multiplicity) not in self.regions:
            states = [f"{q:+d} with {m}" for f, q, m in self.regions if f == formula]
            found[f"state {formula} {total_charge} {spin_multiplicity}"] = (
                f"{formula} with total charge {total_charge:+d} and spin multiplicity "
                f"{spin_multiplicity} was not in training (seen: {_listed(states)})"
            )
        return found

    @property
    def knows_charges(self) -> bool:
        """Whether there were MM charges in training; true where that is unknown."""
        return self.closest_mm is not None or not self.compositions

    def reach(self, numbers: NDArray[np.integer], sign: float) -> NDArray[np.float64]:
        """Å, how close charges of a sign came to each atom's element in training, (n_qm,).

        A kind of pair that was not seen has the closest contact of all, and 0 in models that
        do not know it.
        """
        default = self.closest_mm or 0.0
        kinds = [kind_of_pair(chemical_symbols[int(z)], sign) for z in numbers]
        return np.array([self.closest.get(kind, default) for kind in kinds])


def _region(frame: Frame) -> tuple[str, int, int]:
    formula = composition(frame.atomic_numbers)
    return formula, int(frame.total_charge), int(frame.spin_multiplicity)


def _meant(seen: set[int], usual: int, name: str, formula: str) -> int:
    if not seen or usual in seen:
        return usual
    if len(seen) > 1:
        raise DomainError(
            f"no {name} of {formula} is given, and the model knows {_listed(sorted(seen))}: set "
            f"{name} or atoms.info[{name!r}]"
        )
    return next(iter(seen))


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
