"""Warnings, and refusals, of calculations outside of the domain that a model was trained on."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.calculator.settings import Setting
from eqmm_ase.data import checks, unit_checks
from eqmm_ase.periodic.contacts import deepest_contact_in_box
from eqmm_ase.uncertainty.calibration import Calibration, Uncertainty
from eqmm_ase.uncertainty.contacts import (
    Contact,
    ContactError,
    collapsed,
    deepest_contact,
    farthest_contact,
)
from eqmm_ase.uncertainty.domain import Domain, DomainWarning


class DomainWarnings:
    """Domain warnings and refusals of one calculator, each given once.

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
        self.strange = ""
        """How the region asked about last differs from those of training, if it does."""
        self._states: dict[tuple[bytes, int | None, int | None], tuple[int, int]] = {}

    def state(
        self,
        numbers: NDArray[np.integer],
        total_charge: int | None,
        spin_multiplicity: int | None,
    ) -> tuple[int, int]:
        """Total charge and spin multiplicity, as `Domain.state` completes them; remembered."""
        if total_charge is not None and spin_multiplicity is not None:
            return total_charge, spin_multiplicity
        key = (numbers.tobytes(), total_charge, spin_multiplicity)
        if key not in self._states:
            self._states[key] = self.domain.state(numbers, total_charge, spin_multiplicity)
        return self._states[key]

    def region(
        self,
        numbers: NDArray[np.integer],
        positions: FloatArray,
        total_charge: int,
        spin_multiplicity: int,
    ) -> None:
        """Refuse a charge or spin that the model does not know, and warn of an unknown region.

        Raises
        ------
        DomainError
            As `Domain.refuse_state`.
        """
        region = (numbers.tobytes(), total_charge, spin_multiplicity)
        # A formula takes longer to spell than everything else here: once per region is enough.
        if region == self._known_region:
            return
        self.domain.refuse_state(numbers, total_charge, spin_multiplicity)
        found = self.domain.out_of_domain(numbers, total_charge, spin_multiplicity)
        self.strange = "; ".join(found.values())
        for key, sentence in found.items():
            self._tell_of_domain(key, sentence)
        if sentence := unit_checks.qm_positions(numbers, positions):
            self.tell("QM positions", sentence, UserWarning)
        self._known_region = region

    def contacts(
        self,
        numbers: NDArray[np.integer],
        positions: FloatArray,
        setting: Setting,
        refuse: bool,
    ) -> None:
        """Refuse, or only warn of, atoms far closer to charges or each other than in training.

        Raises
        ------
        ValueError
            A charge on a nucleus, whatever is asked for.
        ContactError
            Below `Contact.limit`; two atoms within each other.
        """
        apart = np.sqrt(np.maximum(checks.squared_distances(positions, positions), 0.0))
        if sentence := collapsed(numbers, apart):
            self._contact(f"QM {sentence}", "such atoms have no bond any more", refuse, "collapsed")
        charges = setting.mm_charges
        if not len(charges):
            return
        if not self.domain.knows_charges and charges.any():
            self._tell_of_domain("no charges", "there were no MM charges in training")
        contact = self._deepest(numbers, positions, setting)
        if contact is None:
            return
        sentence = contact.sentence(numbers, charges)
        advice = (
            f"below {contact.limit:.2f} Å bare charges pull without end, so that the atoms need "
            "Lennard-Jones (HeldLennardJones) or ContactRestraints"
        )
        self._contact(sentence, advice, refuse and contact.distance < contact.limit, "closest")

    def _deepest(
        self, numbers: NDArray[np.integer], positions: FloatArray, setting: Setting
    ) -> Contact | None:
        """The contact that is shortest beside those of training, in a box among all images."""
        charges, sites = setting.mm_charges, setting.mm_positions
        if setting.cell is not None:
            box = setting.cell
            return deepest_contact_in_box(numbers, positions, charges, sites, box, self.domain)
        reach = max(farthest_contact(numbers, self.domain), checks.MIN_DISTANCE)
        near = checks.rows_near(positions, sites, reach)
        squared = checks.distances_to_charges(positions, numbers, sites, charges, near)
        contact = deepest_contact(squared, numbers, charges[near], self.domain)
        return contact and contact._replace(site=int(near[contact.site]))

    def uncertainty(self, uncertainty: Uncertainty | None) -> None:
        """Warn of members of a committee that disagree more than is usual."""
        if uncertainty and (sentence := self.calibration.unusual(uncertainty)):
            self._tell_of_domain("uncertainty", sentence)

    def tell(self, key: str, sentence: str, category: type[Warning]) -> None:
        """Warn, unless this was told before."""
        if key not in self._told:
            self._told.add(key)
            warnings.warn(sentence, category, stacklevel=2)

    def _tell_of_domain(self, key: str, sentence: str) -> None:
        self.tell(key, f"{sentence}; results may be wrong", DomainWarning)

    def _contact(self, sentence: str, advice: str, refuse: bool, key: str) -> None:
        if refuse:
            raise ContactError(f"{sentence}: {advice}; contacts='warn' goes on all the same")
        self._tell_of_domain(key, sentence)
