"""A QM region in words: formula, total charge and multiplicity, for people to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula

from eqmm_ase.frame import Frame

_MULTIPLICITIES = ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet")
_MOST_REGIONS = 5


def describe_region(frame: Frame) -> str:
    """Formula, total charge and spin multiplicity: ``CH4O, total charge 0, singlet``.

    Link atoms count apart: ``CH3 and 1 link atom, total charge 0, singlet``.
    """
    numbers = np.asarray(frame.atomic_numbers)
    caps = [link.cap for link in frame.boundary.links] if frame.boundary else []
    symbols = Counter(chemical_symbols[z] for z in np.delete(numbers, caps).tolist())
    formula = str(Formula.from_dict(symbols).format("hill"))
    if caps:
        formula += f" and {len(caps)} link atom{'s' if len(caps) > 1 else ''}"
    multiplicity = int(frame.spin_multiplicity)
    known = 1 <= multiplicity <= len(_MULTIPLICITIES)
    spin = _MULTIPLICITIES[multiplicity - 1] if known else f"multiplicity {multiplicity}"
    charge = int(frame.total_charge)
    return f"{formula}, total charge {charge:+d}, {spin}".replace("charge +0", "charge 0")


def describe_regions(frames: Iterable[Frame]) -> str:
    """The different QM regions among frames, the most frequent first, with their numbers.

    One region is described alone; of more than five, the others are counted.
    """
    counts = Counter(describe_region(frame) for frame in frames)
    if len(counts) == 1:
        return next(iter(counts))
    parts = [f"{text} ({n})" for text, n in counts.most_common(_MOST_REGIONS)]
    if len(counts) > _MOST_REGIONS:
        parts.append(f"{len(counts) - _MOST_REGIONS} others")
    return "; ".join(parts)
