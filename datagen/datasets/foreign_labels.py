"""Labels under the names that other programs give them, found in ASE atoms.

An energy is called ``energy``, ``REF_energy``, ``dft_energy`` …, alone in ``atoms.info`` or as the
result of the calculator that ASE makes of such a key when it reads a file. Names that say another
method (``MACE_energy``, ``xtb_forces``) are no labels. What was taken is counted by name, what was
there and not taken is remembered, so that a user is told both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from datagen.errors import ExchangeError
from eqmm_ase.data.dataset_format import field_of

NAMES: Mapping[str, tuple[str, ...]] = {
    "energy": ("energy", "total_energy", "potential_energy", "free_energy"),
    "energy_vacuum": ("energy_vacuum",),
    "qm_forces": ("forces", "force", "qm_forces"),
    "mm_forces": ("mm_forces",),
    "mm_potential": ("mm_potential",),
    "dipole": ("dipole", "dipole_moment"),
    "charges/unnamed": ("charges", "atomic_charges", "partial_charges"),
}
"""Field → names, any of which may have a part of `_MARKS` before or behind it."""

_MARKS = ("ref", "reference", "dft", "scf", "target", "label", "true")
_AGREE = 1e-4
"""eV, eV/Å, e·Å: a file may give the same twice, once with fewer digits."""

_NO_LABELS = {"numbers", "positions", "eqmm", "config_type"}


@dataclass
class Found:
    """What was read from the frames of a file."""

    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(field, key) → frames."""
    seen: Counter[str] = field(default_factory=Counter)
    """Keys that were there and are none of ours → frames."""

    def unread(self) -> str:
        """Keys that nobody read, the most frequent first; the first ten of them."""
        names = [repr(key) for key, _ in self.seen.most_common(10)]
        return ", ".join(names) + (" …" if len(self.seen) > 10 else "")


def looked_for() -> str:
    """The keys of energies and forces, for the sentence that none of them was there."""
    return "REF_energy, energy, dft_energy, free_energy …, REF_forces, forces, dft_forces …"


def labels_of(atoms: Atoms, known: set[str], found: Found, where: str) -> dict[str, Any]:
    """Labels of atoms that stand under names of other programs.

    Parameters
    ----------
    atoms
        As ASE reads them, with entries, columns and results of a calculator.
    known
        Keys that were read already, or mean something else.
    found
        Gets what was taken and what was not.
    where
        File and frame, for errors.

    Returns
    -------
    Values by the name of the field.

    Raises
    ------
    ExchangeError
        When a key has another shape, or two keys of one label contradict each other.
    """
    values: dict[str, Any] = {}
    used = known | _NO_LABELS
    for key, value in _everything(atoms):
        if key in used:
            continue
        if (name := field_called(key)) is None:
            found.seen[key] += 1
            continue
        label = _shaped(value, name, key, len(atoms), where)
        if np.size(label) and np.isnan(label).all():
            continue  # how others write that it is not known
        if name in values:
            _refuse_contradiction(name, values[name], label, key, where)
        else:
            values[name] = label
            found.taken[name, key] += 1
    return values


def _everything(atoms: Atoms) -> list[tuple[str, Any]]:
    """Entries, columns and results of a calculator; entries first, as they have all digits."""
    results = getattr(atoms.calc, "results", None) or {}
    pairs = [*atoms.info.items(), *atoms.arrays.items(), *results.items()]
    return [(key, value) for key, value in pairs if value is not None]


def field_called(key: str) -> str | None:
    """The field that other programs call so."""
    plain = key.lower()
    for mark in _MARKS:
        plain = plain.removeprefix(f"{mark}_").removesuffix(f"_{mark}")
    for name, names in NAMES.items():
        if plain in names:
            return name
    return None


def _shaped(value: Any, name: str, key: str, n_qm: int, where: str) -> Any:
    """A label as an array of the shape of its field; those of MM sites as the file has them."""
    wanted = field_of(name)
    try:
        array = np.asarray(value, np.float64)
        if wanted.rows == "frame":
            return float(array) if wanted.item == () else array.reshape(wanted.item)
        return array.reshape(-1 if wanted.rows == "mm" else n_qm, *wanted.item)
    except (TypeError, ValueError) as error:
        raise ExchangeError(
            f"{where}: {key!r} is {np.shape(value)} and cannot be {name} ({error})"
        ) from error


def _refuse_contradiction(name: str, one: Any, other: Any, key: str, where: str) -> None:
    difference = float(np.max(np.abs(np.subtract(one, other)))) if np.size(one) else 0.0
    if not difference <= _AGREE:
        raise ExchangeError(
            f"{where}: {key!r} and another key for {name} differ by {difference:.6g}; expected one "
            "label: take out the one that is none"
        )
