"""One QM region in its charges, with whatever labels are known: what files hold and users make.

NumPy only: programs that make or read labels need not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.boundary import Boundary
from eqmm_ase.settings_help import with_help


@with_help
@dataclass(frozen=True, eq=False)
class Frame:
    """One QM region in the potential of MM point charges, with whatever labels are known.

    Units: Å, e, eV, eV/Å, V, e·Å. A label that is not known is None.
    """

    atomic_numbers: NDArray[np.integer]
    """(n_qm,)."""
    qm_positions: FloatArray
    """(n_qm, 3), Å."""
    mm_positions: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))
    """(n_mm, 3), Å; by default there are no charges."""
    mm_charges: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(n_mm,), e."""
    total_charge: int = 0
    """Of the QM region, e."""
    spin_multiplicity: int = 1
    """2S + 1 of the QM region."""

    energy: float | None = None
    """Of the QM region and its electrostatic interaction with the charges, eV."""
    energy_vacuum: float | None = None
    """Of the same geometry without charges, eV."""
    qm_forces: FloatArray | None = None
    """(n_qm, 3), eV/Å."""
    mm_forces: FloatArray | None = None
    """(n_mm, 3), eV/Å, on the charges."""
    mm_potential: FloatArray | None = None
    """(n_mm,), V: potential of the QM region at the charges."""
    charges: Mapping[str, FloatArray] = field(default_factory=dict)
    """Scheme → atomic charges (n_qm,), e."""
    atomic_dipoles: Mapping[str, FloatArray] = field(default_factory=dict)
    """Scheme → dipoles of the atoms (n_qm, 3), e·Å."""
    potential_rms: Mapping[str, float] = field(default_factory=dict)
    """Scheme → RMS error of the potential of charges that were fitted to it, V."""
    dipole: FloatArray | None = None
    """(3,), e·Å about the origin."""
    baseline: Mapping[str, FloatArray | float] = field(default_factory=dict)
    """Labels by a cheaper method: energy, qm_forces, mm_forces, mm_potential as above."""

    cell: FloatArray | None = None
    """(3, 3), lattice vectors as rows, Å."""
    medium: str = ""
    """Name of the surroundings: gas, water, protein …"""
    source: str = ""
    """Name of the trajectory that the frame is of."""
    frame_id: str = ""
    """Hash of what was computed and how."""

    mm_charges_original: FloatArray | None = None
    """(n_mm,), e: before charges were moved at cut bonds or faded out."""
    boundary: Boundary | None = None
    """Where covalent bonds were cut."""
    switch_radii: FloatArray | None = None
    """(2,), Å, between which charges fade; see `eqmm_ase.data.switching`."""

    topology: str = ""
    """Name and hash of the topology file that the frame was cut from, `eqmm_ase.data.atom_map`."""
    qm_atom_indices: NDArray[np.integer] | None = None
    """(n_qm,), rows in it, from 0; −1 for caps."""
    mm_atom_indices: NDArray[np.integer] | None = None
    """(n_mm,), rows in it; −1 for charges that are no site."""
    mm_residue_indices: NDArray[np.integer] | None = None
    """(n_mm,), residues in it; −1 for charges that are no site."""

    @property
    def n_qm(self) -> int:
        """Number of QM atoms."""
        return len(self.atomic_numbers)

    @property
    def n_mm(self) -> int:
        """Number of MM point charges."""
        return len(self.mm_charges)

    def in_vacuum(self) -> Frame:
        """QM region alone, without charges and labels."""
        return Frame(
            self.atomic_numbers,
            self.qm_positions,
            total_charge=self.total_charge,
            spin_multiplicity=self.spin_multiplicity,
            medium="gas",
            source=self.source,
        )
