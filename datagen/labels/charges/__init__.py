"""Atomic charges of a converged density, by scheme; one family of schemes a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from datagen.labels.charges.density import ElectronDensity
from datagen.labels.charges.hirshfeld import hirshfeld
from datagen.labels.charges.iao import check_reference_basis, iao
from datagen.labels.charges.mbis import check_all_electron, mbis
from datagen.labels.charges.populations import dipole, lowdin, mulliken
from datagen.labels.charges.potential_fit import chelpg, resp
from datagen.labels.charges.shares import AtomicCharges

__all__ = [
    "SCHEMES",
    "AtomicCharges",
    "ElectronDensity",
    "atomic_charges",
    "check_schemes",
    "dipole",
]

SCHEMES: Mapping[str, Callable[[ElectronDensity], AtomicCharges]] = MappingProxyType(
    {
        "mulliken": mulliken,
        "lowdin": lowdin,
        "mbis": mbis,
        "hirshfeld": hirshfeld,
        "iao": iao,
        "chelpg": chelpg,
        "resp": resp,
    }
)

_REQUIREMENTS = MappingProxyType({"mbis": check_all_electron, "iao": check_reference_basis})


def check_schemes(molecule: Any, schemes: Sequence[str]) -> None:
    """Refuse, before anything is computed, a molecule that one of the schemes cannot treat.

    Raises
    ------
    InvalidFrameError
        Naming the scheme and the element.
    """
    for scheme in schemes:
        if scheme in _REQUIREMENTS:
            _REQUIREMENTS[scheme](molecule)


def atomic_charges(density: ElectronDensity, schemes: Sequence[str]) -> dict[str, AtomicCharges]:
    """Charges of the QM atoms.

    Parameters
    ----------
    density
        A converged density.
    schemes
        Names in `SCHEMES`.

    Returns
    -------
    dict
        Scheme → charges (n_qm,) in e, that add up to the total charge, and atomic dipoles where
        the scheme has them.
    """
    return {scheme: SCHEMES[scheme](density) for scheme in schemes}
