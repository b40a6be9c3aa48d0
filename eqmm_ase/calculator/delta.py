"""A model of differences together with the cheaper method it builds on, as one ASE calculator.

>>> from datagen.labels.method import Method                                        # doctest: +SKIP
>>> from datagen.labels.single_point import label_frame                             # doctest: +SKIP
>>> cheap = Method(functional="hf", basis="sto-3g")                          # doctest: +SKIP
>>> atoms.calc = DeltaEqMM("delta.eqmm", lambda frame: label_frame(frame, cheap).frame)
... # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import ArrayLike

from eqmm_ase.calculator.eqmm import EqMM
from eqmm_ase.calculator.point_charges import PointCharges
from eqmm_ase.data.dataset_format import BASELINE
from eqmm_ase.data.frame import Frame


class DeltaEqMM(EqMM):
    """ASE calculator of baseline + model: energy and forces on QM atoms and MM charges.

    Everything else is as in `EqMM`, but charges and dipole are not available, since the model
    learns energy differences only, and neither are periodic boxes, which the baseline knows nothing
    of.

    Parameters
    ----------
    model
        A model file that was trained with ``data.baseline=true``.
    baseline
        The cheaper method: takes a frame without labels, and returns one with energy, QM forces,
        MM forces and the potential at the MM charges. It must be the method that the model's card
        names.
    **settings
        Those of `EqMM`.

    Raises
    ------
    ValueError
        As `EqMM`; also when the model predicts energies and not differences.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def __init__(
        self, model: str | os.PathLike[str], baseline: Callable[[Frame], Frame], **settings: Any
    ) -> None:
        super().__init__(model, **settings)
        self._baseline = baseline

    def embed(
        self,
        mm_charges: ArrayLike | None,
        mm_positions: ArrayLike | None = None,
        *,
        cell: Any = None,
        **parameters: Any,
    ) -> PointCharges:
        """Put the QM atoms into the potential of point charges, as `EqMM.embed`, without a box.

        Raises
        ------
        ValueError
            As `EqMM.embed`; also for a box.
        """
        if cell is not None:
            raise ValueError(
                "DeltaEqMM has no periodic box, since its baseline takes charges without images: "
                "leave out cell, or take a model that predicts energies"
            )
        return super().embed(mm_charges, mm_positions, **parameters)

    def _predicts_what_is_asked(self) -> bool:
        """Whether the model predicts differences from a cheaper method's energies."""
        return "baseline" in self.card

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all results, as `EqMM.calculate`, by both methods.

        Raises
        ------
        ValueError
            As `EqMM.calculate`; also when the baseline leaves something out.
        """
        super().calculate(atoms, properties, system_changes)
        try:
            self._add(self._baseline(self._frame()))
        except BaseException:
            self.reset()  # half of the answer must not pass for the whole
            raise

    def _frame(self) -> Frame:
        assert self.atoms is not None
        assert self._computed_for is not None
        setting = self._computed_for
        return Frame(
            np.array(self.atoms.numbers),
            np.array(self.atoms.positions),
            np.array(setting.mm_positions),
            np.array(setting.mm_charges),
            setting.total_charge,
            setting.spin_multiplicity,
        )

    def _add(self, baseline: Frame) -> None:
        assert self._mm_results is not None
        wanted = BASELINE if len(self._mm_results[0]) else BASELINE[:2]
        if missing := [name for name in wanted if getattr(baseline, name) is None]:
            raise ValueError(
                f"the baseline gave no {' and no '.join(missing)}; expected {', '.join(wanted)}"
            )
        known: dict[str, Any] = {name: getattr(baseline, name) for name in wanted}
        energy = self.results["energy"] + known["energy"]
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": self.results["forces"] + known["qm_forces"],
        }
        if "mm_forces" in known:
            forces, potential = self._mm_results
            self._mm_results = forces + known["mm_forces"], potential + known["mm_potential"]
