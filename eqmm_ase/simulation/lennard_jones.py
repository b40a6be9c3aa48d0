"""Lennard-Jones between QM atoms and MM sites that are fixed in place.

    E = Σ_i Σ_k 4 ε_ik [(σ_ik/r_ik)¹² − (σ_ik/r_ik)⁶],   σ_ik = (σ_i + σ_k)/2,   ε_ik = √(ε_i ε_k)

A QM/MM energy holds electrostatics only, and nothing in it keeps an atom from falling onto a bare
charge: a molecule that relaxes in fixed charges needs this repulsion beside it, as a QM/MM program
would add it.

    >>> from ase.calculators.mixing import SumCalculator
    >>> atoms.calc = SumCalculator([model, HeldLennardJones(...)])   # doctest: +SKIP

Source: H. A. Lorentz, Ann. Phys. 248, 127 (1881); D. Berthelot, C. R. Acad. Sci. 126, 1703 (1898).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from eqmm_ase.data.checks import MIN_DISTANCE


class HeldLennardJones(Calculator):
    """ASE calculator of the Lennard-Jones energy of atoms with fixed MM sites (no periodicity).

    Parameters
    ----------
    sigma, epsilon
        σ and ε of the QM atoms, (n_qm,), Å and eV.
    mm_positions
        Positions of the MM sites, (n_mm, 3), Å.
    mm_sigma, mm_epsilon
        σ and ε of the MM sites, (n_mm,), Å and eV.

    Raises
    ------
    ValueError
        When shapes do not match; names the array.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def __init__(
        self,
        sigma: ArrayLike,
        epsilon: ArrayLike,
        mm_positions: ArrayLike,
        mm_sigma: ArrayLike,
        mm_epsilon: ArrayLike,
    ) -> None:
        super().__init__()
        atoms = _columns(sigma=sigma, epsilon=epsilon)
        sites = _columns(mm_sigma=mm_sigma, mm_epsilon=mm_epsilon)
        self._sites = np.array(mm_positions, dtype=np.float64)
        if self._sites.shape != (len(sites[0]), 3):
            raise ValueError(
                f"mm_positions has shape {self._sites.shape}; expected ({len(sites[0])}, 3)"
            )
        self._sigma = (atoms[0][:, None] + sites[0]) / 2.0  # (n_qm, n_mm)
        self._epsilon = np.sqrt(atoms[1][:, None] * sites[1])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy and forces; ASE calls this when the atoms have moved.

        Raises
        ------
        ValueError
            When there are other atoms than parameters, or an atom sits on a site.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        if len(self.atoms) != len(self._sigma):
            raise ValueError(
                f"there are {len(self.atoms)} atoms; sigma and epsilon are for {len(self._sigma)}"
            )
        separation = self.atoms.positions[:, None] - self._sites  # (n_qm, n_mm, 3)
        squared = np.einsum("ikx,ikx->ik", separation, separation)
        if squared.size and squared.flat[closest := int(squared.argmin())] < MIN_DISTANCE**2:
            i, k = divmod(closest, squared.shape[1])
            raise ValueError(
                f"QM atom {i} lies on Lennard-Jones site {k} ({np.sqrt(squared[i, k]):.2g} Å "
                "apart); QM atoms must not be among the sites, and all positions must be in Å"
            )
        sixth = (self._sigma**2 / squared) ** 3
        energy = float(np.sum(4.0 * self._epsilon * (sixth**2 - sixth)))
        slope = 24.0 * self._epsilon * (2.0 * sixth**2 - sixth) / squared  # −dE/dr / r
        forces = np.einsum("ik,ikx->ix", slope, separation)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


def _columns(**arrays: ArrayLike) -> list[np.ndarray]:
    """Two (n,) arrays of equal length and non-negative numbers."""
    values = [np.array(array, dtype=np.float64) for array in arrays.values()]
    for name, value in zip(arrays, values, strict=True):
        if value.shape != (len(values[0]),):
            raise ValueError(f"{name} has shape {value.shape}; expected ({len(values[0])},)")
        if not (value >= 0.0).all():
            raise ValueError(f"{name} has negative or NaN values; expected none below 0")
    return values
