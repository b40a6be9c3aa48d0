"""A QM region in words: formula, total charge and multiplicity, for people to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import NDArray

from eqmm_ase.data.frame import Frame

_MULTIPLICITIES = ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet")
_MOST_REGIONS = 5


def describe_region(frame: Frame) -> str:
    """Formula, total charge and spin multiplicity: ``CH4O, total charge 0, singlet``.

    Link atoms count apart: ``CH3 and 1 link atom, total charge 0, singlet``.
    """
    caps = [link.cap for link in frame.boundary.links] if frame.boundary else []
    numbers = np.delete(np.asarray(frame.atomic_numbers), caps)
    return describe_molecule(
        numbers, int(frame.total_charge), int(frame.spin_multiplicity), len(caps)
    )


def describe_molecule(
    atomic_numbers: NDArray[np.integer],
    total_charge: int,
    spin_multiplicity: int,
    n_link_atoms: int = 0,
) -> str:
    """Description of a QM region, given by its atoms, charge and spin multiplicity."""
    symbols = Counter(chemical_symbols[z] for z in atomic_numbers.tolist())
    formula = str(Formula.from_dict(symbols).format("hill"))
    if n_link_atoms:
        formula += f" and {n_link_atoms} link atom{'s' if n_link_atoms > 1 else ''}"
    known = 1 <= spin_multiplicity <= len(_MULTIPLICITIES)
    spin = _MULTIPLICITIES[spin_multiplicity - 1] if known else f"multiplicity {spin_multiplicity}"
    return f"{formula}, total charge {total_charge:+d}, {spin}".replace("charge +0", "charge 0")


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
