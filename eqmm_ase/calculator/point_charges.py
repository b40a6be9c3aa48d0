"""The MM charges a calculator is embedded in: the handle that ASE's EIQMMM moves and asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from eqmm_ase.arrays import FloatArray
from eqmm_ase.calculator.box import box_of
from eqmm_ase.data import checks, unit_checks
from eqmm_ase.files.stored_charges import label_of

if TYPE_CHECKING:
    from eqmm_ase.calculator.eqmm import EqMM


class PointCharges:
    """Point charges around the QM atoms of an `EqMM` calculator, made by its `embed`.

    Parameters
    ----------
    charges
        (n_mm,), e. Copied.
    positions
        (n_mm, 3), Å. Copied. None: to follow by `set_positions`, as EIQMMM does.
    cell
        Periodic box that they and all their images fill, as `EqMM.embed` takes it. None: no images.

    Raises
    ------
    ValueError
        Wrong shapes, NaN, or numbers that look like another unit.
    ImportError
        A box without finufft, which the extra ``periodic`` installs.
    """

    def __init__(
        self, charges: ArrayLike, positions: ArrayLike | None = None, cell: Any = None
    ) -> None:
        self._charges = checks.point_charges(charges)
        unit_checks.charges(self._charges)
        self._positions: FloatArray | None = None
        self._cell = None if cell is None else box_of(cell, len(self._charges))
        self._label: str | None = None
        self._embedded = True
        if positions is not None or len(self._charges) == 0:
            self.set_positions(np.zeros((0, 3)) if positions is None else positions)

    def __len__(self) -> int:
        return len(self._charges)

    @property
    def charges(self) -> FloatArray:
        """Charges, (n_mm,), e; a copy."""
        return self._charges.copy()

    @property
    def positions(self) -> FloatArray | None:
        """Positions, (n_mm, 3), Å; a copy, or None before the first `set_positions`."""
        return None if self._positions is None else self._positions.copy()

    @property
    def cell(self) -> FloatArray | None:
        """Lattice vectors of the periodic box as rows, (3, 3), Å; a copy, or None without one."""
        return None if self._cell is None else self._cell.copy()

    @property
    def label(self) -> str:
        """Number, sum and checksum of the charges, as atoms remember them; empty for vacuum.

        The checksum is that of positions and box, too.
        """
        if self._label is None:
            self._label = label_of(self._charges, self._positions, self._cell)
        return self._label

    def set_charges(self, charges: ArrayLike) -> None:
        """Change the charges, (n_mm,), e; their number stays."""
        self._refuse_detached()
        new = checks.point_charges(charges)
        if len(new) != len(self):
            raise ValueError(f"mm_charges must have shape ({len(self)},), got {new.shape}")
        self._charges = new
        self._label = None

    def set_positions(self, positions: ArrayLike, com_pv: Any = None) -> None:
        """Move the charges.

        Parameters
        ----------
        positions
            (n_mm, 3), Å, one row per charge, virtual sites included. Copied.
        com_pv
            Molecular centres that EIQMMM passes to calculators with a cutoff. EqMM has none.
        """
        self._refuse_detached()
        new = checks.mm_positions(positions, len(self))
        if self._positions is None:  # units do not change during a run
            checks.not_too_dense(new)
            unit_checks.surroundings(self._charges, new)
        self._positions = new
        self._label = None

    def set_cell(self, cell: Any) -> None:
        """Change the periodic box, as barostats do; positions stay where they are.

        Parameters
        ----------
        cell
            As `EqMM.embed` takes it. It is not None: whether there is a box, `embed` decides.

        Raises
        ------
        ValueError
            A cell that is none, or charges that were embedded without one.
        """
        self._refuse_detached()
        if self._cell is None:
            raise ValueError("these charges have no periodic box: give embed() a cell")
        self._cell = box_of(cell, len(self))
        self._label = None

    def get_forces(self, calculator: EqMM) -> FloatArray:
        """Forces on the charges, (n_mm, 3), eV/Å, for the present atoms and charges.

        A copy: EIQMMM spreads the forces of virtual sites within the array it is given.
        """
        self._refuse_detached()
        return calculator.mm_forces

    def _detach(self) -> None:
        self._embedded = False

    def _refuse_detached(self) -> None:
        if not self._embedded:
            raise RuntimeError(
                "these point charges are no longer in use: embed() was called again on their "
                "calculator; give each EIQMMM its own calculator"
            )
