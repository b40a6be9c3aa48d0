"""Charge redistribution at a cut bond: what becomes of the charge of M1, its classical atom.

M1 sits a fraction of an ångström from the cap, where its charge would distort the density. Its
charge q is shared out as q₀ = q/n over the n bonds M1–M2. What a share becomes:

    zero           nothing: the charge is lost, the net charge changes by −q
    shift          q₀ moves to M2
    shift-dipole   q₀ moves to M2, and a pair of opposite charges around M2 restores the dipole
    rc             q₀ moves to the middle of the bond
    rcd            2 q₀ in the middle of the bond and −q₀ on M2: charge and bond dipole are kept

All sites are linear in the positions of M1 and M2. Sources: shift with dipoles, de Vries et al.,
J. Phys. Chem. B 103, 6133 (1999), and Sherwood et al., J. Mol. Struct. THEOCHEM 632, 1 (2003),
where the distance within the pair is a free choice, here 0.2 of the bond; RC and RCD, Lin and
Truhlar, J. Phys. Chem. A 109, 3991 (2005).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RedistributionName = Literal["zero", "shift", "shift-dipole", "rc", "rcd"]

_HALF_PAIR = 0.1  # distance of each charge of a pair from M2, in units of the bond M1–M2


@dataclass(frozen=True)
class Redistribution:
    """Where a share q₀ of M1's charge goes, in units of q₀."""

    name: RedistributionName
    on_m2: float = 0.0
    sites: tuple[tuple[float, float], ...] = ()
    """(fraction of the way from M1 to M2, charge) of each added site."""

    @property
    def needs_m2(self) -> bool:
        """Whether the charge goes anywhere at all."""
        return bool(self.on_m2 or self.sites)


_PAIR = ((1.0 - _HALF_PAIR, 0.5 / _HALF_PAIR), (1.0 + _HALF_PAIR, -0.5 / _HALF_PAIR))

REDISTRIBUTIONS: Mapping[str, Redistribution] = {
    each.name: each
    for each in (
        Redistribution("zero"),
        Redistribution("shift", on_m2=1.0),
        Redistribution("shift-dipole", on_m2=1.0, sites=_PAIR),
        Redistribution("rc", sites=((0.5, 1.0),)),
        Redistribution("rcd", on_m2=-1.0, sites=((0.5, 2.0),)),
    )
}
