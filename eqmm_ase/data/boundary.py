"""Covalent bonds cut between a QM region and its surroundings: what a frame remembers of them.

Along a cut bond, Q1 is the QM atom, M1 the classical atom that it was bonded to, M2 each classical
atom bonded to M1. A hydrogen atom, the cap, takes the place of M1 in the QM region. M1 itself has
no charge for the QM region and is no MM site of the frame; its charge may have moved to M2 and to
sites on the lines between them. All other atoms of the frame are real.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from eqmm_ase.arrays import FloatArray

CapRule = Literal["scaled", "fixed"]

NO_ATOM = -1
"""In place of a row of the topology: a cap, an added charge, or an atom that is not known."""

_RULES = get_args(CapRule)


@dataclass(frozen=True)
class LinkAtom:
    """A cap, and the bond that it stands for."""

    cap: int
    """Row of the cap among the QM atoms."""

    qm_atom: int
    """Row of Q1 among the QM atoms."""

    rule: CapRule
    """``scaled``: R_cap = R_Q1 + g (R_M1 − R_Q1); ``fixed``: at a distance from Q1 towards M1."""

    length: float
    """g, or the distance in Å."""

    m1_position: tuple[float, float, float]
    """Å."""

    m1_charge: float
    """Of the force field, e."""

    m1_atom_index: int = NO_ATOM
    """Row of M1 in the topology."""

    m1_residue_index: int = NO_ATOM
    """Of its residue, likewise."""


@dataclass(frozen=True)
class ChargeSite:
    """A point charge that is no atom, at R_M1 + fraction (R_M2 − R_M1)."""

    site: int
    """Row among the MM charges."""

    link: int
    """Number of the link atom whose M1 it is."""

    m2: int
    """Row of M2 among the MM charges."""

    fraction: float


@dataclass(frozen=True)
class Boundary:
    """All cut bonds of a frame."""

    charge_scheme: str
    """What became of the charges of the M1 atoms."""

    links: tuple[LinkAtom, ...]
    sites: tuple[ChargeSite, ...] = ()

    def to_json(self) -> str:
        """As text; numbers survive exactly."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Boundary:
        """The boundary that `to_json` wrote.

        Raises
        ------
        ValueError
            When the text is something else; the message is a clause for a sentence.
        """
        try:
            values = json.loads(text)
            return cls(
                str(values["charge_scheme"]),
                tuple(_link(link) for link in values["links"]),
                tuple(_site(site) for site in values["sites"]),
            )
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"it is no description of link atoms ({error})") from error

    def check(self, n_qm: int, n_mm: int) -> None:
        """Refuse rows that a frame of this size does not have.

        Raises
        ------
        ValueError
            The message is a clause for a sentence.
        """
        _check_rows("QM atom", n_qm, (row for x in self.links for row in (x.cap, x.qm_atom)))
        _check_rows("MM charge", n_mm, (row for x in self.sites for row in (x.site, x.m2)))
        _check_rows("link atom", len(self.links), (x.link for x in self.sites))


def cutting_rules(boundaries: Iterable[Boundary | None]) -> list[dict[str, str]]:
    """The ways in which bonds are cut in some frames, each once; plain JSON values.

    An empty list where no bond is cut.
    """
    found = {
        (boundary.charge_scheme, link.rule)
        for boundary in boundaries
        if boundary is not None
        for link in boundary.links
    }
    return [{"redistribution": scheme, "cap_rule": rule} for scheme, rule in sorted(found)]


def cap_position(
    q1_position: FloatArray, m1_position: FloatArray, rule: CapRule, length: float
) -> FloatArray:
    """Where the cap of a cut bond is, (3,) Å; ``rule`` and ``length`` as in `LinkAtom`."""
    bond = np.asarray(m1_position, np.float64) - np.asarray(q1_position, np.float64)
    fraction = length if rule == "scaled" else length / np.linalg.norm(bond)
    position: FloatArray = np.asarray(q1_position, np.float64) + fraction * bond
    return position


def cap_jacobian(
    q1_position: FloatArray, m1_position: FloatArray, rule: CapRule, length: float
) -> FloatArray:
    """∂R_cap/∂R_M1 of `cap_position`, symmetric, (3, 3); with respect to Q1 it is 1 minus that.

    The two atoms must not lie on each other.
    """
    if rule == "scaled":
        return length * np.eye(3)
    bond = np.asarray(m1_position, np.float64) - np.asarray(q1_position, np.float64)
    distance = float(np.linalg.norm(bond))
    unit = bond / distance
    jacobian: FloatArray = length / distance * (np.eye(3) - np.outer(unit, unit))
    return jacobian


def _link(values: dict[str, Any]) -> LinkAtom:
    link = LinkAtom(**{**values, "m1_position": tuple(float(x) for x in values["m1_position"])})
    if link.rule not in _RULES or len(link.m1_position) != 3:
        raise ValueError(f"rule {link.rule!r}, {len(link.m1_position)} coordinates of M1")
    _check_finite(link.length, link.m1_charge, *link.m1_position)
    return link


def _site(values: dict[str, Any]) -> ChargeSite:
    site = ChargeSite(**values)
    _check_finite(site.fraction)
    return site


def _check_finite(*numbers: Any) -> None:
    for number in numbers:
        if not (isinstance(number, int | float) and math.isfinite(number)):
            raise ValueError(f"{number!r} is no finite number")


def _check_rows(what: str, count: int, rows: Iterable[int]) -> None:
    for row in rows:
        if not (isinstance(row, int) and 0 <= row < count):
            raise ValueError(f"it names {what} {row!r} of {count}")
