"""Numbers that were given in another unit than Å and e: refused where nothing else can be meant.

Chemistry has one length that nearly everything contains: a hydrogen stands 0.8 to 1.15 Å from the
atom it is bound to, and everything else is far from it beside that. Among MM charges such a
satellite is positive, alone near its neighbour, and about half of all sites. The same distance in
bohr, nm or pm is one that hardly anything else has, but coarse-grained sites, ions, united atoms
and grids of test charges may have it: their size alone is never refused. Water molecules in another
unit (a neutral triple, bent, with two large equal charges) are; every other case is a warning.
"""

from __future__ import annotations

import warnings

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.units import BOHR, NANOMETRE

SMALLEST_CHARGES = 1e-9
"""e. An electron has 1.6e-19 C; charges that are all smaller have no effect that could be meant."""

LARGEST_HYDROGEN = 0.8
"""e. Force fields stay below 0.6 e; charges in Amber's unit are 18.2 times as large."""

_IN_ANGSTROM = {"bohr": BOHR, "nm": NANOMETRE, "pm": 0.01}
_BOND = (0.8, 1.15)  # Å, of hydrogen
_WATER = (0.75, 1.05)  # Å; in models with four sites from the one that bears oxygen's charge
_ALONE = 1.4  # the next site is this many times as far from a satellite
_SHARE = 0.3  # of all sites; satellites are a third of acetonitrile, two thirds of water
_FEW, _MANY = 4, 10  # satellites, for a refusal and for a warning


def charges(values: FloatArray) -> None:
    """Refuse MM charges (n_mm,) that can only be in coulomb.

    Raises
    ------
    ValueError
        None is zero and all are tiny.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if 0.0 < largest < SMALLEST_CHARGES:
        raise ValueError(
            f"mm_charges must be in units of the elementary charge, but the largest is "
            f"{largest:.3g}; are they in coulomb (1 e is 1.6e-19 C)?"
        )


def surroundings(charges: FloatArray, positions: FloatArray) -> None:
    """Refuse water molecules in another unit than Å, and warn of what else looks like that.

    Parameters
    ----------
    charges, positions
        (n_mm,) e and (n_mm, 3) Å.

    Raises
    ------
    ValueError
        Names the unit.
    """
    felt = charges != 0.0
    charges, positions = charges[felt], positions[felt]
    if (charges > 0.0).sum() < _FEW:
        return
    length, satellite, neighbour = _satellites(charges, positions)
    if len(satellite) < max(_FEW, _SHARE * len(charges)):
        return
    typical = float(np.median(length))
    if _BOND[0] <= typical <= _BOND[1]:
        size = float(np.median(charges[satellite]))
        if size > LARGEST_HYDROGEN and len(satellite) >= _MANY:
            warnings.warn(
                f"mm_charges: {len(satellite)} sites stand {typical:.2f} Å from the next, as "
                f"hydrogens do, and have charges of {size:+.2f} e, which hydrogens never have; are "
                "they in units of e (Amber's files hold e times 18.2223)?",
                stacklevel=4,
            )
        return
    waters = _waters(charges, positions, satellite, neighbour)
    many = len(satellite) >= _MANY
    for unit, factor in _IN_ANGSTROM.items():
        found = f"{len(satellite)} positive charges stand {typical:.4g} from the next site"
        if waters and _WATER[0] <= typical * factor <= _WATER[1]:
            raise ValueError(
                f"mm_positions: {found}, two by two, as the hydrogens of water do in {unit}; "
                "expected positions in Å"
            )
        if many and _BOND[0] <= typical * factor <= _BOND[1]:
            warnings.warn(
                f"mm_positions: {found}, as hydrogens do in {unit}; are the positions in Å?",
                stacklevel=4,
            )


def qm_positions(numbers: NDArray[np.integer], positions: FloatArray) -> str:
    """Say so when bonds of the QM region are as long as in another unit; an empty text otherwise.

    Parameters
    ----------
    numbers, positions
        (n_qm,) atomic numbers and (n_qm, 3) Å.
    """
    if len(numbers) < 3 or 1 not in numbers:
        return ""
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = (distances / (radii[:, None] + radii)).min(axis=1)
    for unit in ("bohr", "pm"):  # in nm atoms lie on top of each other, which is refused
        bond = nearest * _IN_ANGSTROM[unit]
        # A single atom may be on its own, as the leaving group of a reaction.
        if (bond > 0.8).all() and (bond < 1.2).mean() > 0.6:
            return (
                f"no two QM atoms are near enough for a bond, and the nearest of all are "
                f"{1 / _IN_ANGSTROM[unit]:.3g} bond lengths apart, as in {unit}; are the positions "
                "of the QM atoms in Å?"
            )
    return ""


def _satellites(
    charges: FloatArray, positions: FloatArray
) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.intp]]:
    """Positive sites with one neighbour near and all others far: distance, who, neighbour."""
    from scipy.spatial import cKDTree  # takes a while to load

    positive = np.flatnonzero(charges > 0.0)
    distance, index = cKDTree(positions).query(positions[positive], k=3)
    alone = (distance[:, 1] > 0.0) & (distance[:, 2] >= _ALONE * distance[:, 1])
    return distance[alone, 1], positive[alone], index[alone, 1]


def _waters(
    charges: FloatArray,
    positions: FloatArray,
    satellite: NDArray[np.intp],
    neighbour: NDArray[np.intp],
) -> bool:
    """Whether most satellites come in twos, bent and neutral with their neighbour."""
    centres, counts = np.unique(neighbour, return_counts=True)
    pairs = centres[counts == 2]
    order = np.argsort(neighbour, kind="stable")
    start = np.searchsorted(neighbour[order], pairs)
    a, b = satellite[order[start]], satellite[order[start + 1]]
    first_arm, second_arm = positions[a] - positions[pairs], positions[b] - positions[pairs]
    arm = np.linalg.norm(first_arm, axis=1)
    spread = np.linalg.norm(first_arm - second_arm, axis=1) / arm
    water = (
        (np.abs(charges[a] + charges[b] + charges[pairs]) < 0.02)
        & (np.minimum(charges[a], charges[b]) > 0.3)
        & (np.abs(np.linalg.norm(second_arm, axis=1) / arm - 1.0) < 0.1)
        & (spread > 1.4)
        & (spread < 1.85)
    )
    return bool(4 * water.sum() >= len(satellite))
