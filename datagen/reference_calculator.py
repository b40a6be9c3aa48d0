"""The reference method as an ASE calculator: PySCF in held MM charges, with the labels' settings.

It answers exactly what `label_frame` would write into a dataset, so that a relaxation or a
trajectory of the model can be compared with one of the method it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from datagen.method import Method
from datagen.single_point import label_frame
from datagen.warm_start import WarmDensity
from eqmm_ase.frame import Frame


class ReferenceCalculator(Calculator):
    """ASE calculator of a QM region in MM charges that stay where they are.

    The energy includes QM–MM electrostatics, as in `eqmm_ase.EqMM`. Every call starts from the
    density of the one before.

    Parameters
    ----------
    method
        The level of theory.
    mm_charges, mm_positions
        (n_mm,) in e and (n_mm, 3) in Å; none at all means gas phase.
    total_charge, spin_multiplicity
        Of the QM region.
    charge_scheme
        Which of the method's charges ASE gets.

    Raises
    ------
    ValueError
        When the method has no such charges.
    InvalidFrameError, SCFNotConvergedError, LabelCheckError
        From a calculation, as in `label_frame`.
    """

    implemented_properties = ["energy", "free_energy", "forces", "charges", "dipole"]  # noqa: RUF012

    def __init__(
        self,
        method: Method,
        mm_charges: ArrayLike = (),
        mm_positions: ArrayLike = (),
        *,
        total_charge: int = 0,
        spin_multiplicity: int = 1,
        charge_scheme: str = "mulliken",
    ) -> None:
        super().__init__()
        if charge_scheme not in method.charges:
            raise ValueError(
                f"charge_scheme is {charge_scheme!r}; the method has {', '.join(method.charges)}"
            )
        self.method = method
        self._mm_charges = np.array(mm_charges, dtype=np.float64)
        self._mm_positions = np.array(mm_positions, dtype=np.float64).reshape(-1, 3)
        self._total_charge = total_charge
        self._spin_multiplicity = spin_multiplicity
        self._charge_scheme = charge_scheme
        self._density: WarmDensity | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all results; ASE calls this when the atoms have moved."""
        super().calculate(atoms, list(properties), list(system_changes))
        frame = Frame(
            self.atoms.numbers,
            self.atoms.positions,
            self._mm_positions,
            self._mm_charges,
            self._total_charge,
            self._spin_multiplicity,
        )
        result = label_frame(frame, self.method, density=self._density)
        self._density = result.density
        self.results = {
            "energy": result.frame.energy,
            "free_energy": result.frame.energy,
            "forces": result.frame.qm_forces,
            "charges": result.frame.charges[self._charge_scheme],
            "dipole": result.frame.dipole,
        }
