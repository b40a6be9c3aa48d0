"""ASE calculators of QM atoms in MM charges: which atoms and charges, and what is still valid.

ASE keeps results as long as the QM atoms stay; here they also go when the charges or their box
change, or when ``atoms.info`` names another total charge or spin.

Atoms that were computed in charges remember it in ``atoms.info["embedding"]``, which copies and
files keep; exported frames have the charges themselves in ``atoms.info["mm_charges"]``. A
calculator that was never told of any charges refuses both instead of answering for vacuum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from eqmm_ase.calculator.domain_warnings import DomainWarnings
from eqmm_ase.calculator.point_charges import PointCharges
from eqmm_ase.calculator.settings import (
    Setting,
    given_charge,
    given_multiplicity,
    what_changed,
)
from eqmm_ase.concurrency import Lock, SeenByThread
from eqmm_ase.files.stored_charges import CHARGES, EMBEDDING


class EmbeddedCalculator(Calculator):
    """ASE calculator in point charges: input and cache; subclasses compute energies and forces.

    Parameters
    ----------
    watch
        Knows which regions the calculator is made for.
    """

    def __init__(self, watch: DomainWarnings) -> None:
        self._watch = watch
        self._charges = PointCharges([])
        self._embedded = False
        self._latest = SeenByThread()  # the atoms last asked about
        self._lock = Lock()  # each thread gets the answers to its own questions
        self._computed_for: Setting | None = None
        super().__init__()

    def embed(
        self,
        mm_charges: ArrayLike | None,
        mm_positions: ArrayLike | None = None,
        *,
        cell: Any = None,
        **parameters: Any,
    ) -> PointCharges:
        """Put the QM atoms into the potential of point charges, in place of any earlier ones.

        Parameters
        ----------
        mm_charges
            (n_mm,), e. None or empty: vacuum, also for atoms that were computed in charges.
        mm_positions
            (n_mm, 3), Å. None: to follow by ``set_positions`` of the returned handle.
        cell
            Periodic box, Å: three lattice vectors as rows, or three lengths, or whatever else
            `ase.cell.Cell.new` takes. All charges and all their periodic images then act (Ewald's
            sum, with a uniform background where the box is charged), and the images of the QM
            atoms act on them. It needs the extra ``periodic``. None: the charges given act once.
        **parameters
            What ASE's ``Embedding`` passes on for other programs, such as ``rc``: EqMM neither cuts
            off nor smears charges, and warns that it leaves these aside.

        Returns
        -------
        PointCharges
            The handle to move the charges by, as EIQMMM expects it.

        Raises
        ------
        ValueError
            Wrong shapes, NaN, or values that look like nm, Bohr or coulomb; earlier charges then
            stay.
        ImportError
            A box without finufft.
        """
        if parameters:
            self._watch.tell(
                f"embed {sorted(parameters)}",
                f"embed() leaves {', '.join(sorted(parameters))} aside: EqMM has no cutoff and no "
                "smearing of MM charges",
                UserWarning,
            )
        charges = PointCharges([] if mm_charges is None else mm_charges, mm_positions, cell)
        with self._lock:
            self._charges._detach()
            self._charges, self._embedded = charges, True
        return charges

    @property
    def point_charges(self) -> PointCharges:
        """The MM charges in use; of length zero in vacuum."""
        return self._charges

    @property
    def state(self) -> tuple[int, int]:
        """Total charge and spin multiplicity that the last results are for.

        Raises
        ------
        ValueError
            When nothing was computed yet.
        """
        if self._computed_for is None:
            raise ValueError("the calculator has no results: ask for an energy first")
        return self._computed_for.state

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A result by its ASE name; without `atoms`, for those asked about last, as they now are.

        Raises
        ------
        ValueError
            As `calculate`; also when no atoms were ever given, or when they were computed in
            charges that this calculator was never given.
        """
        if atoms is not None:
            self._latest.see(atoms)
        with self._lock:
            atoms = self._current_atoms() if atoms is None else atoms
            if allow_calculation:
                self._refuse_forgotten_charges(atoms)
            elif self._forgotten_charges(atoms):
                return None
            value = super().get_property(name, atoms, allow_calculation)
            if value is not None and self._charges.label:
                atoms.info[EMBEDDING] = self._charges.label
            elif value is not None:
                atoms.info.pop(EMBEDDING, None)
            return value

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, as ASE's names or ``"embedding"``.

        The latter stands for the MM charges, their box, the total charge and the spin.
        """
        if self.atoms is None or self._computed_for is None:
            return list(all_changes)
        changed = what_changed(self.atoms, atoms, tol)
        if not self._computed_for.equals(self._setting(atoms)):
            changed.append("embedding")
        return changed

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Settings that are not the default, and the label of the charges, as files keep them."""
        settings: dict[str, Any] = super().todict(skip_default)
        label = self._charges.label
        return settings | ({EMBEDDING: label} if label else {})

    def _forgotten_charges(self, atoms: Atoms) -> str:
        if self._embedded:
            return ""
        if label := atoms.info.get(EMBEDDING):
            return f"were computed in {label}"
        if np.size(atoms.info.get(CHARGES, ())):  # as exported frames have them
            return f"have MM charges in atoms.info[{CHARGES!r}]"
        return ""

    def _refuse_forgotten_charges(self, atoms: Atoms) -> None:
        if earlier := self._forgotten_charges(atoms):
            raise ValueError(
                f"these atoms {earlier}, which this calculator was not given: "
                "embed(mm_charges, mm_positions) them (read_structure finds those that a file "
                "holds), or embed(None) for vacuum"
            )

    def _setting(self, atoms: Atoms) -> Setting:
        charges = self._charges
        if charges._positions is None:
            raise ValueError(
                "the MM charges have no positions yet: give embed() mm_positions, or call "
                "set_positions() of the handle it returned"
            )
        charge = given_charge(self.parameters, atoms)
        if charge is None:
            charge, _ = self._watch.state(atoms.numbers, None, None)
        multiplicity = given_multiplicity(self.parameters, atoms, charge)
        state = self._watch.state(atoms.numbers, charge, multiplicity)
        return Setting(charges._positions, charges._charges, *state, charges._cell)

    def _current_atoms(self) -> Atoms:
        # ASE keeps a copy of the atoms; the original may have moved since.
        atoms = self.atoms if (latest := self._latest.last()) is None else latest
        if atoms is None:
            raise ValueError("the calculator has not seen any atoms yet: ask for an energy first")
        return atoms
