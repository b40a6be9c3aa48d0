"""Whether an ML region fits into its periodic box, so that which image is meant is no guess."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.lattice import translations
from eqmm_ase.periodic.cell import BoxTooSmallError
from eqmm_ase.periodic.images import ImagesTooNearError


class RegionInBox:
    """Checks positions of ML atoms against the box.

    Parameters
    ----------
    molecules
        (n,) number of the molecule that each atom is in.
    cutoff
        Å, up to which charges act; None where those of all images do.
    """

    def __init__(self, molecules: NDArray[np.integer], cutoff: float | None) -> None:
        self._several, self._cutoff = len(np.unique(molecules)) > 1, cutoff

    def check(self, positions: FloatArray, cell: FloatArray) -> None:
        """Refuse a region that spans too much of the box.

        Parameters
        ----------
        positions
            (n, 3) Å, in one piece.
        cell
            Lattice vectors as rows, (3, 3) Å.

        Raises
        ------
        BoxTooSmallError
            When it spans more than half of the box and consists of molecules, which may then be
            nearer to images of each other.
        ImagesTooNearError
            When it comes within the cutoff of its own images, whose charges would have to act.
        """
        inverse = np.linalg.inv(cell)
        widths = 1.0 / np.linalg.norm(inverse, axis=0)
        spans = np.ptp(positions @ inverse, axis=0)
        if self._several and spans.max() > 0.5:
            axis = int(spans.argmax())
            raise BoxTooSmallError(
                f"the ML region spans {spans[axis] * widths[axis]:.1f} Å of a box that is "
                f"{widths[axis]:.1f} Å wide, more than half of it, so that its molecules may be "
                "nearer to images of each other: take a larger box, or hold them together"
            )
        # Nearer than this no image can be; most often that is far enough.
        if self._cutoff is None or ((1.0 - spans) * widths).min() >= self._cutoff:
            return
        if (apart := _to_images(positions, cell, self._cutoff)) < self._cutoff:
            raise ImagesTooNearError(
                f"the ML region comes within {apart:.1f} Å of its own periodic images, and the "
                f"cutoff is {self._cutoff:g} Å: take a larger box, a shorter cutoff, or ewald"
            )


def _to_images(positions: FloatArray, cell: FloatArray, distance: float) -> float:
    """Shortest distance of an atom to an image of the region, Å, if it is below a distance."""
    apart = (positions[:, None] - positions).reshape(-1, 3)
    reach = distance + float(np.linalg.norm(apart, axis=1).max())
    images = apart[:, None] + translations(cell, reach)[1:]
    return float(np.linalg.norm(images, axis=2).min())
