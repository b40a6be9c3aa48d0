"""A network that sees its own atoms only, as a force of OpenMM: mechanical embedding."""

from __future__ import annotations

import os

import numpy as np
import openmm
from numpy.typing import NDArray

from eqmm_ase.calculator.settings import DTYPES
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.unwrapping import make_whole
from eqmm_ase.engines.openmm_context import positions_in
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee, members_of
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import cast, load_model
from eqmm_ase.network.traced import TracedModels
from eqmm_ase.units import KJ_PER_MOL, NANOMETRE


class VacuumPotential:
    """Function that an `openmm.PythonForce` of some atoms calls at every step.

    Parameters
    ----------
    model
        A model file, model or committee.
    atomic_numbers
        (n,) of the force's particles.
    total_charge, spin_multiplicity
        Of these atoms.
    bonds
        (m, 2) rows of bonded atoms, by which they are made whole in a box.
    periodic
        Whether the state has a box; images do not act.
    dtype
        ``float32`` or ``float64``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | MultiscaleModel | Committee,
        atomic_numbers: NDArray[np.integer],
        *,
        total_charge: int = 0,
        spin_multiplicity: int = 1,
        bonds: NDArray[np.integer] | None = None,
        periodic: bool = False,
        dtype: str = "float32",
    ) -> None:
        source = model if isinstance(model, MultiscaleModel | Committee) else load_model(model)[0]
        source = cast(source.cpu().eval(), DTYPES[dtype]).requires_grad_(False)
        self._models, self._dtype = TracedModels(members_of(source)), DTYPES[dtype]
        self._numbers, self._bonds, self._periodic = np.asarray(atomic_numbers), bonds, periodic
        self._state = total_charge, spin_multiplicity

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces, (n, 3) kJ/mol/nm."""
        wrapped, cell = positions_in(state, self._periodic)
        positions = make_whole(wrapped, cell, self._bonds)
        frame = Frame(
            self._numbers,
            positions - positions.mean(axis=0),
            np.zeros((0, 3)),
            np.zeros(0),
            *self._state,
        )
        frames = FrameBatch.from_frames([frame], dtype=self._dtype)
        prediction, _ = self._models.mean_and_spread(frames)
        forces = prediction.qm_forces.numpy().astype(np.float64)
        return float(prediction.energy[0]) / KJ_PER_MOL, forces * (NANOMETRE / KJ_PER_MOL)
