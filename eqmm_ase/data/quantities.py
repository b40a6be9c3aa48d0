"""What a model predicts, learns and is judged by: the one table of quantities.

Labels and their arrays in files, weights in the loss, errors in reports and plots all go by it. A
new quantity is a row here and a readout in `eqmm_ase.network.prediction.READOUTS`; where no frame
holds such labels yet, also a field of `eqmm_ase.data.frame.Frame`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eqmm_ase.units import KCAL_PER_MOL

Rows = Literal["frame", "qm", "mm"]


@dataclass(frozen=True)
class Quantity:
    """One quantity: its labels, its place in the loss, and how its errors are quoted."""

    title: str
    """In reports."""
    unit: str
    """Of labels and predictions."""
    rows: Rows
    """What its rows belong to: frames, QM atoms or MM sites."""
    weight: float
    """In the loss, unless settings say otherwise; 0 leaves it out."""
    meaning: str
    """Of that weight, for the settings."""
    quoted: str
    """Unit of errors."""
    factor: float
    """The unit of errors in units of labels: divide by it."""
    resolution: float
    """In the unit of labels, below which differences between them mean nothing. Where the RMS of
    the reference is no larger, it is zero as far as the labels tell (the dipole of a symmetric
    molecule, the charges of N2), and an error relative to it is no figure."""
    item: tuple[int, ...] = ()
    """Shape of a row."""
    by_scheme: bool = False
    """Labels go by charge scheme, as ``frame.charges["mbis"]``."""
    total_energy: bool = False
    """Thousands of eV above an arbitrary zero: held in float64, its errors are sums over atoms in
    units of the force, and no error is relative to it."""
    of_difference: bool = False
    """Labels of a cheaper method can be subtracted from those of another (delta-learning)."""
    robust: bool = False
    """The loss grows with large errors, not with their squares."""
    reported: bool = True
    """In tables of errors."""
    plotted: bool = True
    """Gets a parity plot where there are labels."""


# Resolutions: integration grids of level 3 leave 1e-3 eV/Å in QM forces; an SCF converged to an
# orbital gradient of 1e-5 leaves 2e-5 e of the density somewhere else, which is 3e-5 V and
# 2e-5 eV/(Å·e) at 3 Å; schemes that share out the density on a grid scatter by 1e-4 e; the grid
# breaks the symmetry of a molecule, and with it a dipole of zero, by 1e-3 e·Å. An energy of 1e-5 eV
# is rounding in float32.
QUANTITIES: dict[str, Quantity] = {
    "energy": Quantity(
        title="energy",
        unit="eV",
        rows="frame",
        weight=6.0,
        meaning="Weight of energy errors, divided by the RMS QM force × 1 Å × √n_qm.",
        quoted="kcal/mol",
        factor=KCAL_PER_MOL,
        resolution=1e-5,
        total_energy=True,
        of_difference=True,
        robust=True,
    ),
    "qm_forces": Quantity(
        title="QM forces",
        unit="eV/Å",
        rows="qm",
        item=(3,),
        weight=4.0,
        meaning="Weight of errors of forces on QM atoms, divided by their RMS, as all below.",
        quoted="kcal/mol/Å",
        factor=KCAL_PER_MOL,
        resolution=1e-3,
        of_difference=True,
        robust=True,
    ),
    "mm_forces": Quantity(
        title="MM forces",
        unit="eV/Å",
        rows="mm",
        item=(3,),
        weight=1.0,
        meaning="Weight of errors of forces on MM charges.",
        quoted="kcal/mol/Å",
        factor=KCAL_PER_MOL,
        resolution=2e-5,
        of_difference=True,
    ),
    "mm_potential": Quantity(
        title="potential at MM sites",
        unit="V",
        rows="mm",
        weight=0.1,
        meaning="Weight of errors of the potential of the QM region at the MM charges.",
        quoted="kcal/mol/e",
        factor=KCAL_PER_MOL,
        resolution=1e-4,
        of_difference=True,
    ),
    "charges": Quantity(
        title="charges",
        unit="e",
        rows="qm",
        weight=0.1,
        meaning="Weight of errors of the atomic charges.",
        quoted="e",
        factor=1.0,
        resolution=1e-4,
        by_scheme=True,
    ),
    "dipole": Quantity(
        title="dipole",
        unit="e·Å",
        rows="frame",
        item=(3,),
        weight=0.1,
        meaning="Weight of errors of the dipole.",
        quoted="e·Å",
        factor=1.0,
        resolution=1e-3,
    ),
}
