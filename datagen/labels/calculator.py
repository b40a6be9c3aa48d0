"""The reference method as an ASE calculator: PySCF in fixed MM charges, with the labels' settings.

It answers exactly what `label_frame` would write into a dataset, so that a relaxation or a
trajectory of the model can be compared with one of the method it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from datagen.labels.devices import backend_of
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from datagen.labels.warm_start import WarmDensity
from eqmm_ase.data.charge_and_spin import State, spin_multiplicity_of, total_charge_of
from eqmm_ase.data.frame import Frame


class ReferenceCalculator(Calculator):
    """ASE calculator of the QM program (PySCF): a QM region in fixed MM point charges.

    The energy includes QM–MM electrostatics, as in `eqmm_ase.EqMM`. Every call starts from the
    density of the one before.

    Parameters
    ----------
    method
        The level of theory.
    mm_charges, mm_positions
        (n_mm,) in e and (n_mm, 3) in Å; none at all means gas phase.
    total_charge, spin_multiplicity
        Those of the QM region. None: as the atoms say (`eqmm_ase.data.charge_and_spin`), or else 0
        and 1.
    charge_scheme
        Which of the method's charges ASE gets.
    device
        Where it computes: ``cpu``, or ``gpu`` by GPU4PySCF, on the first device that CUDA shows.

    Raises
    ------
    ValueError
        When the method has no such charges, or the atoms contradict themselves.
    DeviceError
        When there is no such device.
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
        total_charge: int | None = None,
        spin_multiplicity: int | None = None,
        charge_scheme: str = "mulliken",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        if charge_scheme not in method.charges:
            raise ValueError(
                f"charge_scheme is {charge_scheme!r}; the method has {', '.join(method.charges)}"
            )
        self._backend = backend_of(device)
        self.method = method
        self._mm_charges = np.array(mm_charges, dtype=np.float64)
        self._mm_positions = np.array(mm_positions, dtype=np.float64).reshape(-1, 3)
        self._given = total_charge, spin_multiplicity
        self._computed_for: State | None = None
        self._charge_scheme = charge_scheme
        self._density: WarmDensity | None = None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; ASE itself does not look into ``atoms.info``."""
        changes: list[str] = super().check_state(atoms, tol)
        return changes or (["state"] if self._state(atoms) != self._computed_for else [])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all results; ASE calls this when the atoms have moved."""
        super().calculate(atoms, list(properties), list(system_changes))
        state = self._state(self.atoms)
        frame = Frame(
            self.atoms.numbers,
            self.atoms.positions,
            self._mm_positions,
            self._mm_charges,
            *state,
        )
        result = label_frame(frame, self.method, density=self._density, backend=self._backend)
        self._density = result.density
        self.results = {
            "energy": result.frame.energy,
            "free_energy": result.frame.energy,
            "forces": result.frame.qm_forces,
            "charges": result.frame.charges[self._charge_scheme],
            "dipole": result.frame.dipole,
        }
        self._computed_for = state

    def _state(self, atoms: Atoms) -> State:
        charge, spin = self._given
        if charge is None:
            charge = total_charge_of(atoms) or 0
        if spin is None:
            spin = spin_multiplicity_of(atoms, charge) or 1
        return State(charge, spin)
