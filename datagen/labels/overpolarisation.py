"""Overpolarisation: bare positive charges pull more density onto them than basis sets agree on.

A point charge has no electrons that would keep others away. Where it is large and near, the QM
region flows towards it, the farther the more diffuse functions there are: the label is then a
property of the basis. The measure of it is the energy of polarisation beyond linear response,

X(q) = E(q) − E(0) − q V − q²/2 · E''(0),

which is small where molecules are merely polarised. B3LYP/def2-TZVPD (aug-cc-pVTZ agrees within a
tenth; 6-31+G* has a third of it, 6-31G* none), charge q at a distance d from a lone pair,
−X in kcal/mol (`scripts/studies/overpolarisation.py`):

=====================  =====  =====  =====  =====
d / Å                    1.8    2.2    2.6    3.0
=====================  =====  =====  =====  =====
+0.417 e, any donor    < 0.6  < 0.4  < 0.3  < 0.2
+1 e, water              3.9    1.6    0.6
+1 e, ammonia            7.0    4.3    1.9    0.7
+1 e, ethylene                  11.8    5.2    1.9
+1 e, sulfane                    5.4    3.8    2.0
+1 e, hydroxide          7.4    4.0    1.7    0.7
+1 e, chloride           2.5    5.1    4.0    2.3
+1 e, formate           13.0    8.2    4.5    2.6
+2 e, water               43     19    7.2
=====================  =====  =====  =====  =====

X falls exponentially with the distance and grows with the charge as q^3.5, so that the distance at
which it is 1 kcal/mol is r₁ + s ln q. A hydrogen of a water model (0.4 to 0.5 e) in a hydrogen bond
is far from it; a sodium ion next to an anion, or a zinc ion anywhere, is not.
"""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from eqmm_ase.data.frame import Frame

EXCESS = 1.0
"""kcal/mol, of polarisation beyond linear response at the limit."""

_OXYGEN, _NITROGEN, _OTHERS, _ANION = (2.4, 1.6), (2.85, 1.6), (3.4, 2.0), (3.5, 2.45)
"""r₁ and s, Å: of oxygen and fluorine, which hold their electrons most tightly, of nitrogen, of
carbon and the heavier elements, and of all atoms of a QM region with negative total charge."""


def contact_limit(element: int, charge: ArrayLike, total_charge: int) -> NDArray[np.float64]:
    """Distances below which positive charges over-polarise a heavy atom.

    Parameters
    ----------
    element
        Atomic number of the atom.
    charge
        (n,) e, positive, of MM sites.
    total_charge
        e, of the QM region.

    Returns
    -------
    (n,), Å
        r₁ + s ln q; not positive where the charge is too small to do so at any distance.
    """
    reach, slope = _reach(element, total_charge)
    return np.asarray(reach + slope * np.log(charge))


def contact_warnings(frame: Frame) -> tuple[str, ...]:
    """What is suspicious about a frame though it can be computed; empty for a good frame."""
    numbers, charges = np.asarray(frame.atomic_numbers), np.asarray(frame.mm_charges, np.float64)
    heavy, positive = np.flatnonzero(numbers > 1), np.flatnonzero(charges > 0.0)
    if not len(heavy) or not len(positive):
        return ()
    limits = np.array(
        [contact_limit(int(z), charges[positive], frame.total_charge) for z in numbers[heavy]]
    )
    qm = np.asarray(frame.qm_positions, np.float64)[heavy]
    distances = cdist(qm, np.asarray(frame.mm_positions, np.float64)[positive])
    depth = limits - distances
    if depth.max() <= 0.0:
        return ()
    atom, site = np.unravel_index(depth.argmax(), depth.shape)
    i, k = heavy[atom], positive[site]
    more = int((depth > 0.0).any(axis=0).sum()) - 1
    return (
        f"overpolarisation: a charge of {charges[k]:+.3f} e (MM site {k}) is "
        f"{distances[atom, site]:.2f} Å from {chemical_symbols[numbers[i]]} (QM atom {i}); below "
        f"{limits[atom, site]:.2f} Å the energy depends on the basis set by more than "
        f"{EXCESS:g} kcal/mol{f'; {more} more charges are too near' if more else ''}",
    )


def _reach(element: int, total_charge: int) -> tuple[float, float]:
    if total_charge < 0:
        return _ANION
    return {7: _NITROGEN, 8: _OXYGEN, 9: _OXYGEN}.get(element, _OTHERS)
