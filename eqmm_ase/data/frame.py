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
    """One QM region in the potential of MM point charges, with whatever reference labels are known.

    Units: Å, e, eV, eV/Å, V, e·Å. A label that is not known is None.
    """

    atomic_numbers: NDArray[np.integer]
    """Atomic numbers of the QM atoms, (n_qm,)."""
    qm_positions: FloatArray
    """Positions of the QM atoms, (n_qm, 3), Å."""
    mm_positions: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))
    """Positions of the MM charges, (n_mm, 3), Å; by default there are none."""
    mm_charges: FloatArray = field(default_factory=lambda: np.zeros(0))
    """MM point charges, (n_mm,), e."""
    total_charge: int = 0
    """Total charge of the QM region, e."""
    spin_multiplicity: int = 1
    """Spin multiplicity of the QM region, 2S + 1."""

    energy: float | None = None
    """Energy of the QM region and its electrostatic interaction with the MM charges, eV."""
    energy_vacuum: float | None = None
    """Energy of the same geometry without MM charges, eV."""
    qm_forces: FloatArray | None = None
    """Forces on the QM atoms, (n_qm, 3), eV/Å."""
    mm_forces: FloatArray | None = None
    """Forces on the MM charges, (n_mm, 3), eV/Å."""
    mm_potential: FloatArray | None = None
    """Potential of the QM region at the MM charges, (n_mm,), V."""
    charges: Mapping[str, FloatArray] = field(default_factory=dict)
    """Atomic charges of the QM atoms by scheme, as ``{"mbis": (n_qm,)}``, e."""
    atomic_dipoles: Mapping[str, FloatArray] = field(default_factory=dict)
    """Atomic dipoles of the QM atoms by scheme, (n_qm, 3), e·Å."""
    potential_rms: Mapping[str, float] = field(default_factory=dict)
    """RMS error, by scheme, of the potential that charges were fitted to (CHELPG, RESP), V."""
    dipole: FloatArray | None = None
    """Dipole of the QM region about the coordinate origin, (3,), e·Å."""
    baseline: Mapping[str, FloatArray | float] = field(default_factory=dict)
    """Labels of a cheaper method by name: energy, qm_forces, mm_forces, mm_potential as above."""

    cell: FloatArray | None = None
    """Lattice vectors of the periodic box as rows, (3, 3), Å; None where not periodic."""
    medium: str = ""
    """Name of the surroundings: gas, water, protein …"""
    source: str = ""
    """Name of the trajectory that the frame was taken from."""
    frame_id: str = ""
    """Hash of geometry, charges and QM method."""

    mm_charges_original: FloatArray | None = None
    """MM charges before any were redistributed at cut bonds or switched off, (n_mm,), e."""
    boundary: Boundary | None = None
    """Cut covalent bonds: link atoms (caps) and redistributed charges."""
    switch_radii: FloatArray | None = None
    """Inner and outer radius between which MM charges are switched off, (2,), Å; the switching
    function is in `eqmm_ase.data.switching`."""

    topology: str = ""
    """Name and hash of the topology file that the frame was cut from, `eqmm_ase.data.atom_map`."""
    qm_atom_indices: NDArray[np.integer] | None = None
    """0-based atom indices of the QM atoms in the topology, (n_qm,); −1 for caps."""
    mm_atom_indices: NDArray[np.integer] | None = None
    """0-based atom indices of the MM charges in the topology, (n_mm,); −1 for charges added at cut
    bonds."""
    mm_residue_indices: NDArray[np.integer] | None = None
    """0-based residue indices of the MM charges in the topology, (n_mm,); −1 for charges added at
    cut bonds."""

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
