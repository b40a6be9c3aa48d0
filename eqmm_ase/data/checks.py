"""Checks on what users hand in, each failing with one sentence.

Everything here raises `ValueError`. A check refuses only what cannot be meant: wrong shapes, NaN,
electron counts that no spin allows, nuclei or charges on top of each other, and numbers whose size
gives away another unit. What is merely unusual is the business of `eqmm_ase.uncertainty.domain`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import ArrayLike, NDArray

from eqmm_ase.arrays import FloatArray

MAX_CHARGE = 10.0
"""e. Force fields stay below 5 e; Amber files hold charges times 18.2."""

MIN_DISTANCE = 0.3
"""Å, between nuclei and from a nucleus to a charge; in labels, training data and calculators alike.
H2 is 0.74 Å long, which is 0.074 for someone who gives nm; a charge beside a link atom may come as
close as 0.4 Å and is meant."""

MAX_CHARGE_DENSITY = 5.0
"""Charges per Å³. Four-site water has 0.13; the same water in nm has 130."""

_SETTINGS = ("total_charge", "spin_multiplicity")
_FEW_CHARGES = 30
_BOX_MARGIN = 0.5  # Å on each side, so that charges in a plane or on a line have a volume


class ElectronCountError(ValueError):
    """A total charge and a spin multiplicity that contradict each other."""

    def __init__(self, reason: str, allowed: str = "", settings: tuple[str, str] = _SETTINGS):
        self.reason, self.allowed, self.settings = reason, allowed, settings
        hint = f"; set {settings[0]} or {settings[1]} (one of {allowed})" if allowed else ""
        super().__init__(f"{reason}{hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.allowed, self.settings)

    def set_by(self, *settings: str) -> ElectronCountError:
        """Copy of the error for charge and multiplicity that are set in another way."""
        return ElectronCountError(self.reason, self.allowed, (settings[0], settings[1]))


def point_charges(values: ArrayLike, name: str = "mm_charges") -> FloatArray:
    """MM charges as a new float64 array (n_mm,), in e.

    Raises
    ------
    ValueError
        Not one-dimensional, not finite, or larger than any atomic charge in e.
    """
    charges = _real(values, name)
    if charges.ndim != 1:
        raise ValueError(f"{name} must have shape (n_mm,), got {charges.shape}")
    _finite(charges, name)
    if charges.size and (largest := float(np.abs(charges).max())) > MAX_CHARGE:
        raise ValueError(
            f"{name} must be in units of the elementary charge, but the largest is {largest:.4g} "
            f"(number {int(np.abs(charges).argmax())}); are they in another unit?"
        )
    return charges


def mm_positions(values: ArrayLike, n_mm: int, name: str = "mm_positions") -> FloatArray:
    """Positions of MM charges as a new float64 array (n_mm, 3), in Å.

    Raises
    ------
    ValueError
        Wrong shape, or not finite.
    """
    positions = _real(values, name)
    if n_mm == 0 and positions.size == 0:
        return np.zeros((0, 3))
    if positions.shape != (n_mm, 3):
        raise ValueError(
            f"{name} must have shape ({n_mm}, 3), one row for each of the {n_mm} charges, "
            f"got {positions.shape}"
        )
    _finite(positions, name)
    return positions


def not_too_dense(positions: FloatArray, name: str = "mm_positions") -> None:
    """Refuse charges that are packed as only positions in nm, taken for Å, can be.

    Raises
    ------
    ValueError
        More than `MAX_CHARGE_DENSITY`, of enough charges to tell.
    """
    if len(positions) < _FEW_CHARGES:
        return
    box = np.prod(np.ptp(positions, axis=0) + 2 * _BOX_MARGIN)
    if len(positions) > MAX_CHARGE_DENSITY * box:
        raise ValueError(
            f"{name}: {len(positions)} charges lie within a box of {box:.3g} Å³, far denser than "
            "any material; are they in nm instead of Å?"
        )


def not_too_dense_in_box(n_mm: int, volume: float) -> None:
    """Refuse a periodic box (Å³) packed with charges as only one in nm, taken for Å, can be.

    Raises
    ------
    ValueError
        More than `MAX_CHARGE_DENSITY`.
    """
    if n_mm >= _FEW_CHARGES and n_mm > MAX_CHARGE_DENSITY * volume:
        raise ValueError(
            f"{n_mm} charges are to fill a cell of {volume:.3g} Å³, far denser than any material; "
            "is it in nm instead of Å?"
        )


def qm_positions(values: ArrayLike) -> FloatArray:
    """Positions of the QM atoms as float64 (n_qm, 3), in Å.

    Raises
    ------
    ValueError
        No atoms, not finite, or two nuclei on top of each other.
    """
    positions = np.asarray(values, dtype=np.float64)
    if len(positions) == 0:
        raise ValueError("there are no QM atoms: an empty Atoms object has no energy")
    _finite(positions, "the positions of the QM atoms")
    squared = squared_distances(positions, positions)
    np.fill_diagonal(squared, np.inf)
    closest = int(squared.argmin())
    if squared.flat[closest] < MIN_DISTANCE**2:
        i, j = divmod(closest, len(positions))
        raise ValueError(
            f"QM atoms {i} and {j} are {np.sqrt(max(squared[i, j], 0.0)):.3g} Å apart; "
            "are the positions in Å?"
        )
    return positions


def rows_near(qm: FloatArray, mm: FloatArray, distance: float) -> NDArray[np.int64]:
    """Rows of all MM positions (n_mm, 3) that may be within a distance of QM atoms (n_qm, 3), Å."""
    near = (mm >= qm.min(axis=0) - distance) & (mm <= qm.max(axis=0) + distance)
    return np.flatnonzero(near.all(axis=1))


def distances_to_charges(
    qm: FloatArray,
    numbers: NDArray[np.integer],
    mm: FloatArray,
    charges: FloatArray,
    rows: NDArray[np.int64] | None = None,
) -> FloatArray:
    """Squared distances from nuclei to MM charges, (n_qm, n_mm), Å².

    Parameters
    ----------
    qm, numbers
        Positions (n_qm, 3) in Å and atomic numbers (n_qm,) of the QM atoms.
    mm, charges
        Positions (n_mm, 3) in Å and charges (n_mm,) in e.
    rows
        Which of the charges to take; None for all.

    Raises
    ------
    ValueError
        When any of them, zero or not, sits on a nucleus, where its potential has no value.
    """
    squared = squared_distances(qm, mm if rows is None else mm[rows])
    if squared.size and squared.flat[worst := int(squared.argmin())] < MIN_DISTANCE**2:
        i, k = divmod(worst, squared.shape[1])
        least = np.sqrt(max(squared[i, k], 0.0))
        k = k if rows is None else rows[k]
        raise ValueError(
            f"MM charge {k} ({charges[k]:+.3g} e) lies on QM atom {i} "
            f"({chemical_symbols[int(numbers[i])]}, {least:.2g} Å "
            "apart): are QM atoms among the charges, are positions not in Å, or has an atom fallen "
            "onto a bare charge?"
        )
    return squared


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Squared distances |a_i − b_k|², (n_a, n_b), to about 1e-10 Å² for positions within 1000 Å.

    One matrix product instead of an (n_a, n_b, 3) array, which would cost more than a
    millisecond for 30 atoms in 3000 charges.
    """
    origin = a.mean(axis=0)
    a, b = a - origin, b - origin
    squared: FloatArray = a @ (-2.0 * b.T)
    squared += np.einsum("ix,ix->i", a, a)[:, None]
    squared += np.einsum("kx,kx->k", b, b)
    return squared


def check_number(
    name: str,
    value: float,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    unit: str = "",
    error: type[ValueError] = ValueError,
) -> None:
    """Refuse a setting that is not a finite number within its range.

    Parameters
    ----------
    name, value
        Of the setting.
    above, least, most
        What it must exceed, or at least be; and at most be. None: no bound.
    unit
        Of the value.
    error
        What is raised.
    """
    fits = np.isfinite(value) and (above is None or value > above)
    if fits and (least is None or value >= least) and (most is None or value <= most):
        return
    unit = f" {unit}" if unit else ""
    if above is not None:
        expected = f"above {above:g}{unit}"
    elif most is not None and least is not None:
        expected = f"{least:g} to {most:g}{unit}"
    else:
        expected = f"at least {least:g}{unit}" if least is not None else f"at most {most:g}{unit}"
    raise error(f"{name} is {value:g}; expected {expected}")


def whole_number(value: Any, name: str) -> int:
    """`value` as an int.

    Raises
    ------
    ValueError
        When it is not a whole number; names it.
    """
    try:
        number = int(value)
        if number == value:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be a whole number, got {value!r}")


def electron_count(
    numbers: NDArray[np.integer],
    total_charge: int,
    spin_multiplicity: int,
    settings: tuple[str, str] = _SETTINGS,
) -> None:
    """Refuse a charge and a spin multiplicity that no electron count allows.

    Parameters
    ----------
    numbers
        Atomic numbers (n_qm,).
    total_charge
        e.
    spin_multiplicity
        2S + 1.
    settings
        What the user can set the two by, for the sentence.

    Raises
    ------
    ElectronCountError
        No electrons left, multiplicity below 1, or an odd number of electrons with an odd
        multiplicity (even with even).
    """
    electrons = int(np.sum(numbers)) - total_charge
    count = f"total charge {total_charge:+d} has {electrons} electrons"
    unpaired = spin_multiplicity - 1
    if spin_multiplicity < 1:
        raise ElectronCountError(f"spin_multiplicity must be 1 or more, got {spin_multiplicity}")
    if electrons < unpaired:
        raise ElectronCountError(
            f"{composition(numbers)} with {count}, too few for spin multiplicity "
            f"{spin_multiplicity}"
        )
    if (electrons - unpaired) % 2:
        kind, allowed = ("odd", "2, 4, …") if electrons % 2 else ("even", "1, 3, …")
        raise ElectronCountError(
            f"{composition(numbers)} with {count}, an {kind} number, which spin multiplicity "
            f"{spin_multiplicity} does not allow",
            allowed,
            settings,
        )


def refuse_periodic(atoms: Atoms, cutoff: float) -> None:
    """Refuse atoms with a periodic image closer than the model's cutoff in Å.

    Raises
    ------
    ValueError
        Names a pair.
    """
    from ase.neighborlist import neighbor_list  # takes SciPy along, half a second

    i, j, shift = neighbor_list("ijS", atoms, cutoff)
    across = np.flatnonzero(shift.any(axis=1))
    if len(across):
        k = across[0]
        raise ValueError(
            f"EqMM takes the QM atoms as one cluster, but atom {i[k]} has a periodic image of atom "
            f"{j[k]} within the model's cutoff of {cutoff:g} Å: make the molecule whole, or set "
            "atoms.pbc = False"
        )


def composition(numbers: NDArray[np.integer]) -> str:
    """Chemical formula in Hill order: C first, H second, the rest by symbol."""
    symbols = "".join(chemical_symbols[int(z)] for z in numbers)
    return str(Formula(symbols).format("hill")) if symbols else ""


def _real(values: ArrayLike, name: str) -> FloatArray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of plain numbers ({error})") from error


def _finite(values: FloatArray, name: str) -> None:
    # A sum is one pass without a temporary array; only a bad one is looked at again.
    if np.isfinite(values.sum()):
        return
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = ", ".join(map(str, bad[0]))
        raise ValueError(
            f"{name}: {len(bad)} values are NaN or infinite, the first at index {where}"
        )
