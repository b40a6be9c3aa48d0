"""Initial guess of an SCF from the density of an earlier frame of the same molecule.

Worth 2 of 10 SCF cycles while the atoms have hardly moved, as between neighbouring steps of a
trajectory. From a geometry that has turned or bent further it saves nothing over an atomic guess
(measured on decorrelated methanol frames, even after turning and re-orthogonalising it), and might
lead to another electronic state; it is then not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eqmm_ase.units import BOHR

_REACH = 0.2 / BOHR  # Bohr


@dataclass(frozen=True, eq=False)
class WarmDensity:
    """A converged density and the molecule it belongs to."""

    matrix: np.ndarray  # (nao, nao) or (2, nao, nao)
    nuclei: tuple[int, ...]  # atomic numbers in their order
    positions: np.ndarray  # (n_qm, 3) Bohr

    @classmethod
    def of(cls, field: Any) -> WarmDensity:
        """Keep the density of a converged PySCF mean-field object."""
        molecule = field.mol
        nuclei = tuple(int(z) for z in molecule.atom_charges())
        return cls(np.asarray(field.make_rdm1()), nuclei, molecule.atom_coords())

    def on(self, field: Any) -> np.ndarray | None:
        """The density where it is a good start for ``field``, None where it is not.

        It is one when spin treatment, basis size and atoms agree and no atom moved by more
        than 0.2 Å.
        """
        molecule = field.mol
        shape = (molecule.nao,) * 2 if molecule.spin == 0 else (2, molecule.nao, molecule.nao)
        same = self.matrix.shape == shape and self.nuclei == tuple(molecule.atom_charges())
        if not same:
            return None
        moved = np.linalg.norm(molecule.atom_coords() - self.positions, axis=1).max()
        return self.matrix if moved <= _REACH else None
