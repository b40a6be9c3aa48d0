"""The charge that is left over where the force field's charges of a region and its total differ.

A force field neutralises molecules, not parts of them: a side chain that is cut off may have
+0.04 e and the rest of the residue −0.04 e. The network's charges add up to the total charge, and
the difference does not vanish by itself.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray

RestCharge = Literal["refuse", "hosts", "background"]

TOLERANCE = 0.01
"""e. Less than this is rounding in the files of force fields."""


class RestChargeError(ValueError):
    """Charge is left over; the message is one sentence for the user."""


def charges_with_rest(
    charges: FloatArray, hosts: NDArray[np.integer], rest: float, wanted: RestCharge
) -> FloatArray:
    """Charges of all sites, (n,) e, with the rest where the user wants it.

    Parameters
    ----------
    charges
        Of the force field, (n,) e.
    hosts
        Rows of the classical atoms of cut bonds.
    rest
        Force-field charge of the region minus its total charge, e.
    wanted
        ``refuse`` more than `TOLERANCE`; ``hosts``: shared out over the classical atoms of the cut
        bonds, so that the system keeps its charge; ``background``: left to the uniform background
        that neutralises a periodic box, or lost without one.

    Raises
    ------
    RestChargeError
        When there is a rest that is not wanted, or no host to take it.
    ValueError
        When `wanted` is something else.
    """
    if wanted not in get_args(RestCharge):
        raise ValueError(
            f"rest_charge is {wanted!r}; expected one of {', '.join(get_args(RestCharge))}"
        )
    if wanted == "background" or (wanted == "refuse" and abs(rest) <= TOLERANCE):
        return charges
    if wanted == "refuse":
        raise RestChargeError(
            f"the force field gives the ML region {rest:+.3f} e more than its total charge; check "
            "the total charge, or say where the rest goes: rest_charge (--rest-charge) hosts, the "
            "classical atoms of cut bonds, or background"
        )
    if not len(hosts):
        raise RestChargeError(
            f"no bond is cut, so that there is no host for the rest of {rest:+.3f} e; check the "
            "total charge, or give rest_charge (--rest-charge) background"
        )
    shared = charges.copy()
    shared[hosts] += rest / len(hosts)
    return shared
