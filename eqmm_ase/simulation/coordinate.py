"""A reaction coordinate: a sum of distances with signs, such as ζ = d(C–Cl1) − d(C–Cl2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from eqmm_ase.arrays import FloatArray

_TERM = re.compile(r"([+-]?)d\((\d+),(\d+)\)")


class CoordinateError(ValueError):
    """The text is no reaction coordinate, or names an atom that there is not."""


@dataclass(frozen=True)
class Coordinate:
    """ζ = Σ_t s_t |r_i(t) − r_j(t)| with signs s_t = ±1, in Å."""

    text: str
    terms: tuple[tuple[float, int, int], ...]
    """(sign, atom, atom), atoms counted from zero."""

    @classmethod
    def parse(cls, text: str) -> Coordinate:
        """Read ``d(0,1)-d(0,2)``.

        Raises
        ------
        CoordinateError
            When the text has another form.
        """
        compact = "".join(text.split())
        found = list(_TERM.finditer(compact))
        unread = _TERM.sub("", compact)
        signless = any(term.start() > 0 and not term.group(1) for term in found)
        if not found or unread or signless:
            raise CoordinateError(
                f"{text!r} is no reaction coordinate; expected distances between atoms counted "
                "from 0, added or subtracted, such as 'd(0,1)-d(0,2)'"
            )
        terms = tuple(
            (-1.0 if t.group(1) == "-" else 1.0, int(t.group(2)), int(t.group(3))) for t in found
        )
        if any(first == second for _, first, second in terms):
            raise CoordinateError(f"{text!r} has a distance from an atom to itself")
        return cls(compact, terms)

    def check_atoms(self, n_atoms: int) -> None:
        """Refuse a molecule that lacks one of the atoms.

        Raises
        ------
        CoordinateError
        """
        last = max(max(first, second) for _, first, second in self.terms)
        if last >= n_atoms:
            raise CoordinateError(
                f"{self.text!r} names atom {last}, counted from 0; the molecule has {n_atoms} atoms"
            )

    def value(self, positions: FloatArray) -> float:
        """ζ of positions (n, 3) in Å."""
        distances = [
            sign * np.linalg.norm(positions[first] - positions[second])
            for sign, first, second in self.terms
        ]
        return float(np.sum(distances))

    def restraint(
        self, positions: FloatArray, centre: float, stiffness: float
    ) -> tuple[float, FloatArray]:
        """Energy k/2 (ζ − ζ₀)², eV, and its forces (n, 3), eV/Å; ζ₀ in Å, k in eV/Å²."""
        away = self.value(positions) - centre
        return 0.5 * stiffness * away**2, -stiffness * away * self.gradient(positions)

    def gradient(self, positions: FloatArray) -> FloatArray:
        """dζ/dr, (n, 3), without a unit."""
        gradient = np.zeros_like(positions, dtype=float)
        for sign, first, second in self.terms:
            step = positions[first] - positions[second]
            direction = sign * step / np.linalg.norm(step)
            gradient[first] += direction
            gradient[second] -= direction
        return gradient
