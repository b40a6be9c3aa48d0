"""The settings of the calculator: their defaults, their checks, and what a result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from eqmm_ase import validation
from eqmm_ase.charge_and_spin import StateError, spin_multiplicity_of, total_charge_of

DTYPES = {"float32": torch.float32, "float64": torch.float64}

DEFAULTS: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "total_charge": None,
    "spin_multiplicity": None,
}

_OF_REGION = {"total_charge": 0, "spin_multiplicity": 1}


_SET_BY = (
    'total_charge= of the calculator or atoms.info["total_charge"]',
    'spin_multiplicity= or atoms.info["spin_multiplicity"]',
)
"""What users of the calculator set charge and spin by."""


class Setting(NamedTuple):
    """What a result depends on besides the atoms."""

    mm_positions: NDArray[np.float64]  # (n_mm, 3) Å
    mm_charges: NDArray[np.float64]  # (n_mm,) e
    total_charge: int
    spin_multiplicity: int

    def equals(self, other: Setting) -> bool:
        """Whether results for one hold for the other."""
        # The arrays are replaced, never written to: mostly it is the very same one.
        return self[2:] == other[2:] and all(
            a is b or np.array_equal(a, b) for a, b in zip(self[:2], other[:2], strict=True)
        )

    def check_electrons(self, numbers: NDArray[np.integer]) -> None:
        """Refuse what `validation.electron_count` does, saying what to set it by here."""
        validation.electron_count(numbers, self.total_charge, self.spin_multiplicity, _SET_BY)


def of_region(name: str, parameters: Mapping[str, Any], atoms: Atoms) -> int:
    """Total charge or spin multiplicity: as set, else as the atoms say, else 0 or 1.

    Raises
    ------
    ValueError
        When it is not a whole number, or the atoms contradict themselves
        (`eqmm_ase.charge_and_spin`).
    """
    value = parameters[name]
    if value is not None:
        return validation.whole_number(value, name)
    try:
        if name == "total_charge":
            value = total_charge_of(atoms)
        else:
            value = spin_multiplicity_of(atoms, of_region("total_charge", parameters, atoms))
    except StateError as error:
        option = name.replace("_", "-")
        raise StateError(f"{error}; {name}= (--{option}) replaces them") from error
    return _OF_REGION[name] if value is None else value


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
    if name == "device":
        _check_device(value)
    if name in _OF_REGION and value is not None:
        validation.whole_number(value, name)


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {name!r}") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ValueError(f"device {name!r} is not there: torch sees {count} CUDA devices")
