"""Total charge and spin multiplicity in the text of inputs, outputs and comment lines.

What programs print around a geometry, where the geometry's reader leaves it out:

| program | text |
|---|---|
| ORCA, input | ``* xyz -1 1``, ``*xyzfile -1 1 a.xyz``; ``charge -1``, ``mult 1`` in a block |
| ORCA, output | ``Total Charge           Charge          ....   -1``, the same with ``Mult`` |
| Gaussian, input | ``-1 1`` below the title |
| Gaussian, output | ``Charge = -1 Multiplicity = 1`` |
| comment line of an XYZ file | ``charge=-1 mult: 2``, or both numbers alone, as in Psi4: ``-1 2`` |
"""

from __future__ import annotations

import re

from eqmm_ase.data.charge_and_spin import STATE_KEYS

_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_PAIRS = (
    re.compile(
        r"^\s*\*\s*(?:xyz|xyzfile|int|internal|gzmt|gzmtfile)\s+([+-]?\d+)\s+(\d+)", re.I | re.M
    ),
    re.compile(
        r"^\s*#[^\n]*(?:\n[^\n]+)*\n\s*\n(?:[^\n]+\n)+\s*\n\s*([+-]?\d+)[ ,]+(\d+)\s*$", re.M
    ),
    re.compile(r"\bCharge\s*=\s*([+-]?\d+)\s+Multiplicity\s*=\s*(\d+)"),
)
_CHARGE = re.compile(r"^\s*(?:Total\s+)?Charge\s+(?:Charge\s+\.+\s+)?([+-]?\d+)\s*$", re.I | re.M)
_MULTIPLICITY = re.compile(r"^\s*(?:Multiplicity\s+)?Mult\s+(?:\.+\s+)?(\d+)\s*$", re.I | re.M)
_WORDS = re.compile(rf"(?<![\w-])({'|'.join(STATE_KEYS)})\s*[:= ]\s*{_NUMBER}(?![\w.])", re.I)
_ALONE = re.compile(r"\s*([+-]?\d{1,2})\s+(\d{1,2})\s*")


def state_in_program_text(text: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity of an input or output of ORCA or Gaussian; None where it is silent.

    The first of several calculations counts.
    """
    for pattern in _PAIRS:
        if match := pattern.search(text):
            return int(match[1]), int(match[2])
    charge, multiplicity = _CHARGE.search(text), _MULTIPLICITY.search(text)
    return int(charge[1]) if charge else None, int(multiplicity[1]) if multiplicity else None


def state_in_comment(comment: str, n_protons: int) -> dict[str, float]:
    """Entries for ``atoms.info`` from the comment line of an XYZ file.

    Parameters
    ----------
    comment
        The line.
    n_protons
        Sum of the atomic numbers. Two numbers alone are charge and multiplicity only if the
        electrons can have them.
    """
    if match := _ALONE.fullmatch(comment):
        charge, multiplicity = int(match[1]), int(match[2])
        electrons = n_protons - charge
        if multiplicity >= 1 and electrons >= multiplicity - 1 and (electrons - multiplicity) % 2:
            return {"total_charge": charge, "spin_multiplicity": multiplicity}
        return {}
    return {match[1].lower(): float(match[2]) for match in _WORDS.finditer(comment)}
