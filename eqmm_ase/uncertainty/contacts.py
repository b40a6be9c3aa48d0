"""How close atoms may come to each other and to MM charges before an answer means nothing.

A QM/MM energy holds electrostatics only: nothing in it keeps an atom off a bare charge, and the
closer it comes the harder it is pulled, with a QM program as with a model. What a model learned
ends at the closest contacts of its training frames, by element and sign of the charge
(`eqmm_ase.uncertainty.domain`); far within them its energies fall without end.

    d/d_closest < MUCH_CLOSER: a warning;   d/d_closest < TOO_CLOSE: an error

Of 10 to 100 training frames drawn from 1260 of a reaction in water and from 300 of methanol, the
contacts of all others are above 0.74 of the closest one in training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.uncertainty.domain import Domain

MUCH_CLOSER = 0.8
TOO_CLOSE = 0.7

FLOOR = 0.6
"""Å, the limit of models that do not know their closest contacts. Charges in the middle of a bond,
as redistribution at a boundary puts them, are 0.75 Å and more from the cap."""

COLLAPSED = 0.55
"""Of the sum of the covalent radii: two atoms this close are 10 eV and more above their bond. The
shortest bond there is, in Cr2, has 0.60."""


class ContactError(ValueError):
    """An atom is much closer to an MM charge, or to another atom, than any in the training data."""


class Contact(NamedTuple):
    """An atom and a charge that are closer than in training."""

    atom: int
    site: int
    distance: float  # Å
    closest: float | None  # Å, in training, for this element and sign of the charge

    @property
    def limit(self) -> float:
        """Å, below which there is no answer."""
        return FLOOR if self.closest is None else TOO_CLOSE * self.closest

    def sentence(self, numbers: NDArray[np.integer], charges: FloatArray) -> str:
        """Who is how close, and what was seen."""
        symbol, charge = chemical_symbols[int(numbers[self.atom])], charges[self.site]
        sign = "negative" if charge < 0.0 else "positive"
        found = (
            f"MM charge {self.site} ({charge:+.3g} e) is {self.distance:.2f} Å from QM atom "
            f"{self.atom} ({symbol})"
        )
        if self.closest is None:
            return f"{found}, and the model does not say that charges came as close in training"
        return (
            f"{found}, much closer than any {sign} charge came to {symbol} in training "
            f"({self.closest:.2f} Å)"
        )


def closest_in_training(
    numbers: NDArray[np.integer], charges: FloatArray, domain: Domain
) -> FloatArray:
    """Å, how close each pair came in training, (n_qm, n_mm); 0 where the model does not know.

    `numbers` (n_qm,) are atomic numbers, of the `charges` (n_mm,) the signs count.
    """
    negative, positive = (domain.reach(numbers, sign)[:, None] for sign in (-1.0, 1.0))
    return np.where(charges < 0.0, negative, positive)


def farthest_contact(numbers: NDArray[np.integer], domain: Domain) -> float:
    """Å, beyond which no charge is a contact of atoms with these atomic numbers (n_qm,)."""
    return _farthest(_reaches(numbers, domain))


def deepest_contact(
    squared: FloatArray, numbers: NDArray[np.integer], charges: FloatArray, domain: Domain
) -> Contact | None:
    """The contact that is shortest beside the closest one of its kind in training.

    Parameters
    ----------
    squared
        (n_qm, n_mm), Å², from atoms to charges.
    numbers, charges
        (n_qm,) atomic numbers; (n_mm,) e, of which those of zero do not count.
    domain
        Of the model.

    Returns
    -------
    Contact or None
        None where no contact is below `MUCH_CLOSER` of what was seen, or below `FLOOR`.
    """
    if not squared.size:
        return None
    negative, positive = reaches = _reaches(numbers, domain)
    # Few pairs are near: one pass over all, then only those.
    farthest = _farthest(reaches)
    atom, site = np.divmod(np.flatnonzero(squared < farthest**2), squared.shape[1])
    felt = charges[site] != 0.0
    atom, site = atom[felt], site[felt]
    if not len(atom):
        return None
    closest = np.where(charges[site] < 0.0, negative[atom], positive[atom])
    distance = np.sqrt(np.maximum(squared[atom, site], 0.0))
    worst = int((distance / closest).argmin())
    if distance[worst] >= MUCH_CLOSER * closest[worst]:
        return None
    seen = None if domain.closest_mm is None else float(closest[worst])
    return Contact(int(atom[worst]), int(site[worst]), float(distance[worst]), seen)


def _reaches(numbers: NDArray[np.integer], domain: Domain) -> tuple[FloatArray, FloatArray]:
    """Å, closest in training of negative and of positive charges, (n_qm,) each."""
    if domain.closest_mm is None:
        unknown = np.full(len(numbers), FLOOR / MUCH_CLOSER)
        return unknown, unknown
    return domain.reach(numbers, -1.0), domain.reach(numbers, 1.0)


def _farthest(reaches: tuple[FloatArray, FloatArray]) -> float:
    return float(MUCH_CLOSER * max(reach.max() for reach in reaches))


def collapsed(numbers: NDArray[np.integer], distances: FloatArray) -> str:
    """Name two atoms that have fallen onto each other; an empty text where there are none.

    Parameters
    ----------
    numbers, distances
        (n,) atomic numbers and (n, n) Å.
    """
    radii = covalent_radii[np.asarray(numbers)]
    share = distances / (radii[:, None] + radii)
    np.fill_diagonal(share, np.inf)
    i, j = np.unravel_index(share.argmin(), share.shape)
    if not share[i, j] < COLLAPSED:
        return ""
    pair = "–".join(chemical_symbols[int(numbers[k])] for k in (i, j))
    return f"atoms {i} and {j} ({pair}) have come as close as {distances[i, j]:.2f} Å"
