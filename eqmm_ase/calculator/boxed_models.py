"""Models of QM atoms in a periodic box of charges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from eqmm_ase.arrays import FloatArray
from eqmm_ase.calculator.point_charges import PointCharges
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.periodic.ewald import Ewald
from eqmm_ase.periodic.prediction import SurroundedModels


class BoxedModels:
    """Models in the periodic boxes of one embedding after the other.

    Ewald's sum is split anew for every embedding, so that it does not matter what was computed
    before; as long as the same charges move and their box changes a little, the splitting stays, so
    that their energy is smooth.

    Parameters
    ----------
    members
        Of one precision, on the CPU.
    """

    def __init__(self, members: Sequence[MultiscaleModel]) -> None:
        self._members = members
        self._latest: tuple[PointCharges, SurroundedModels] | None = None

    def __call__(
        self, frame: Frame, cell: FloatArray, embedding: PointCharges, *, strained: bool
    ) -> tuple[list[Prediction], FloatArray | None]:
        """Predictions of every member, and the stress of their mean where it is asked for.

        Parameters
        ----------
        frame
            The QM atoms as one cluster, and the charges.
        cell
            Lattice vectors as rows, (3, 3) Å.
        embedding
            Which the charges of the frame and the cell are of.
        strained
            Whether the stress is asked for: dE/dε / V, (3, 3) eV/Å³.

        Raises
        ------
        UnknownElementError, BoxTooSmallError, ImagesTooNearError, ValueError
            As `SurroundedModels`.
        """
        each = self._models_in(embedding)(FrameBatch.from_frames([frame]), cell, strain=strained)
        totals = [one.total for one in each]
        strains = [one.strain.numpy() for one in each if one.strain is not None]
        if not strains:
            return totals, None
        return totals, np.mean(strains, axis=0) / abs(np.linalg.det(cell))

    def _models_in(self, embedding: PointCharges) -> SurroundedModels:
        if self._latest is None or self._latest[0] is not embedding:
            first = self._members[0]
            dtype: torch.dtype = next(first.parameters()).dtype
            ewald = Ewald(first.config.l_expansion, dtype=dtype)
            self._latest = embedding, SurroundedModels(self._members, ewald)
        return self._latest[1]
