"""From the spread of a committee's members to an uncertainty of their mean.

Members are trained on the same frames, so they agree better with each other than with the truth:
the spread σ tells where errors are larger, not how large they are. One factor per quantity,

    α = √(Σ e² / Σ σ²)    over the validation frames,

e the size of the error of the mean, makes the calibrated spread α σ as large as the errors are. The
ratio of sums, unlike the mean of e²/σ², bears the frames on which few members agree by accident.

Source: Imbalzano, Zhuang, Kapil, Rossi, Engel, Grasselli, Ceriotti, J. Chem. Phys. 154, 074102
(2021), sec. II, for scaling a committee's spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from eqmm_ase.arrays import FloatArray

MUCH_LARGER = 2.0
"""An uncertainty above so many times the largest usual one is far outside training."""
ROUNDING = 1e-6
"""eV, eV/Å: spreads of this size are rounding in float32."""
_USUAL = 0.99
"""Share of the validation frames whose uncertainty is usual."""


@dataclass(frozen=True, eq=False)
class Deviations:
    """Errors of a committee's mean and spreads of its members, one pair for each label."""

    error: FloatArray  # (n,), sizes: |E − E_ref| in eV, or |F_i − F_i,ref| of an atom in eV/Å
    spread: FloatArray  # (n,), in the same unit


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Uncertainty of a committee's prediction: the expected size of the errors of its mean."""

    energy: float
    """eV."""
    forces: FloatArray
    """(n_qm,) eV/Å, of the force vector of each QM atom."""
    calibrated: bool
    """Scaled to errors on validation frames; otherwise the bare spread, which is mostly smaller."""


@dataclass(frozen=True)
class Calibration:
    """Factors from spread to error and limits of what is usual, by quantity; from the card."""

    factors: dict[str, float] = field(default_factory=dict)
    """``energy`` and ``qm_forces``; a quantity without one is not calibrated."""
    limits: dict[str, float] = field(default_factory=dict)
    """Calibrated uncertainty (eV, eV/Å) above which the calculator warns."""

    @classmethod
    def fit(cls, deviations: Mapping[str, Deviations]) -> Calibration:
        """Take factors and limits from validation frames.

        Members that agree to rounding (atoms on which no force acts, a committee of copies) give
        none: an error over a spread of nothing is no factor.
        """
        factors: dict[str, float] = {}
        limits: dict[str, float] = {}
        for name, found in deviations.items():
            total = float(np.square(found.spread).sum())
            if total > len(found.spread) * ROUNDING**2:
                factors[name] = float(np.sqrt(np.square(found.error).sum() / total))
                usual = factors[name] * float(np.quantile(found.spread, _USUAL))
                limits[name] = MUCH_LARGER * usual
        return cls(factors, limits)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the model's card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`; entries this version does not know are left aside."""
        return cls(dict(values.get("factors", {})), dict(values.get("limits", {})))

    def uncertainty(self, energy: float, forces: FloatArray) -> Uncertainty:
        """Scale the spread of the energy (eV) and of the forces (n_qm,) (eV/Å)."""
        return Uncertainty(
            energy=self.factors.get("energy", 1.0) * energy,
            forces=self.factors.get("qm_forces", 1.0) * forces,
            calibrated={"energy", "qm_forces"} <= self.factors.keys(),
        )

    def unusual(self, uncertainty: Uncertainty) -> str:
        """One sentence about an uncertainty above its limit; an empty text where none is."""
        largest = {"energy": uncertainty.energy, "qm_forces": float(uncertainty.forces.max())}
        for name, (words, unit) in _WORDS.items():
            limit = self.limits.get(name, np.inf)
            if largest[name] > limit:
                return (
                    f"the members of the committee disagree: the {words} is uncertain by "
                    f"{largest[name]:.3g} {unit}, far more than on the validation frames "
                    f"(mostly below {limit / MUCH_LARGER:.3g} {unit})"
                )
        return ""


_WORDS = {"energy": ("energy", "eV"), "qm_forces": ("force on an atom", "eV/Å")}
