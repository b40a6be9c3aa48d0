"""Tells, once each, in which ways a calculation leaves what the model was trained on."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.calibration import Calibration, Uncertainty
from eqmm_ase.domain import Domain, DomainWarning


class Watch:
    """Warnings of one calculator.

    Parameters
    ----------
    domain, calibration
        From the model's card.
    """

    def __init__(self, domain: Domain, calibration: Calibration) -> None:
        self.domain = domain
        self.calibration = calibration
        self._told: set[str] = set()
        self._known_region: tuple[bytes, int, int] | None = None

    def look(
        self,
        numbers: NDArray[np.integer],
        total_charge: int,
        spin_multiplicity: int,
        closest: float,
        uncertainty: Uncertainty | None,
    ) -> None:
        """Warn of what is outside training.

        Parameters
        ----------
        numbers, total_charge, spin_multiplicity
            Of the QM region.
        closest
            Å, from a nucleus to an MM charge.
        uncertainty
            Of a committee's prediction.
        """
        region = (numbers.tobytes(), total_charge, spin_multiplicity)
        strange: dict[str, str] = {}
        # A formula takes longer to spell than everything else here: once per region is enough.
        if region != self._known_region:
            self._known_region = region
            strange = self.domain.strangers(numbers, total_charge, spin_multiplicity)
        if self.domain.too_close(closest):
            strange["closest"] = (
                f"an MM charge is {closest:.2f} Å from a nucleus, much closer than any in "
                f"training ({self.domain.closest_mm:.2f} Å)"
            )
        if uncertainty and (sentence := self.calibration.unusual(uncertainty)):
            strange["uncertainty"] = sentence
        for key, sentence in strange.items():
            self.tell(key, f"{sentence}; results may be wrong", DomainWarning)

    def tell(self, key: str, sentence: str, category: type[Warning]) -> None:
        """Warn, unless this was told before."""
        if key not in self._told:
            self._told.add(key)
            warnings.warn(sentence, category, stacklevel=2)
