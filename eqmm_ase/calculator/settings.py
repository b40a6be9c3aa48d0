"""The settings of the calculator: their defaults, their checks, and what a result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data import checks
from eqmm_ase.data.charge_and_spin import StateError, spin_multiplicity_of, total_charge_of

DTYPES = {"float32": torch.float32, "float64": torch.float64}

DEFAULTS: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "total_charge": None,
    "spin_multiplicity": None,
    "contacts": "error",
}

CONTACTS = ("error", "warn")
_OF_REGION = ("total_charge", "spin_multiplicity")


_SET_BY = (
    'total_charge= of the calculator or atoms.info["total_charge"]',
    'spin_multiplicity= or atoms.info["spin_multiplicity"]',
)
"""What users of the calculator set charge and spin by."""


class Setting(NamedTuple):
    """MM charges, total charge, spin and box, on which a result depends like on atoms."""

    mm_positions: FloatArray  # (n_mm, 3) Å
    mm_charges: FloatArray  # (n_mm,) e
    total_charge: int
    spin_multiplicity: int
    cell: FloatArray | None
    """(3, 3) Å, of the periodic box; None without one."""

    @property
    def state(self) -> tuple[int, int]:
        """Total charge and spin multiplicity."""
        return self.total_charge, self.spin_multiplicity

    def equals(self, other: Setting) -> bool:
        """Whether results for one hold for the other."""
        return self.state == other.state and all(
            _same(getattr(self, name), getattr(other, name))
            for name in ("mm_positions", "mm_charges", "cell")
        )

    def check_electrons(self, numbers: NDArray[np.integer]) -> None:
        """Refuse what `checks.electron_count` does, saying what to set it by here."""
        checks.electron_count(numbers, self.total_charge, self.spin_multiplicity, _SET_BY)


def given_charge(parameters: Mapping[str, Any], atoms: Atoms) -> int | None:
    """Total charge as the calculator is set, else as the atoms say, else None.

    Raises
    ------
    ValueError
        When it is not a whole number, or the atoms contradict themselves
        (`eqmm_ase.data.charge_and_spin`).
    """
    if (value := parameters["total_charge"]) is not None:
        return checks.whole_number(value, "total_charge")
    try:
        return total_charge_of(atoms)
    except StateError as error:
        raise StateError(f"{error}; total_charge= (--total-charge) replaces them") from error


def given_multiplicity(
    parameters: Mapping[str, Any], atoms: Atoms, total_charge: int
) -> int | None:
    """Spin multiplicity as set, else as the atoms of this charge say, else None; raises alike."""
    if (value := parameters["spin_multiplicity"]) is not None:
        return checks.whole_number(value, "spin_multiplicity")
    try:
        return spin_multiplicity_of(atoms, total_charge)
    except StateError as error:
        raise StateError(
            f"{error}; spin_multiplicity= (--spin-multiplicity) replaces them"
        ) from error


def what_changed(last: Atoms, atoms: Atoms, tol: float) -> list[str]:
    """In what atoms differ from those of the last calculation, by ASE's names.

    What initial charges and magnetic moments say of charge and spin is looked at elsewhere. Direct
    comparisons, as ASE's take 0.2 ms.
    """
    same = {
        "positions": _close(last.positions, atoms.positions, tol),
        "numbers": np.array_equal(last.numbers, atoms.numbers),
        # They decide whether the atoms may be taken for a cluster.
        "cell": _close(last.cell.array, atoms.cell.array, tol),
        "pbc": np.array_equal(last.pbc, atoms.pbc),
    }
    return [name for name, unchanged in same.items() if not unchanged]


def _same(a: FloatArray | None, b: FloatArray | None) -> bool:
    # The arrays are replaced, never written to: mostly it is the very same one.
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _close(a: FloatArray, b: FloatArray, tol: float) -> bool:
    return a.shape == b.shape and bool((np.abs(a - b) <= tol).all())


def check_parameter(name: str, value: Any) -> None:
    """Refuse a setting that does not exist, or a value it cannot have.

    Raises
    ------
    ValueError
        Names the setting, and the nearest that exists.
    """
    if name not in DEFAULTS:
        near = get_close_matches(name, DEFAULTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"EqMM has no setting {name!r}{hint} (it has {', '.join(DEFAULTS)})")
    if name == "dtype" and value not in DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {value!r}")
    if name == "contacts" and value not in CONTACTS:
        raise ValueError(f"contacts must be 'error' or 'warn', got {value!r}")
    if name == "device":
        _check_device(value)
    if name in _OF_REGION and value is not None:
        checks.whole_number(value, name)


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {name!r}") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ValueError(f"device {name!r} is not there: torch sees {count} CUDA devices")
