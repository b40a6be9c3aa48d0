"""What a label needs of the program that computes it: the one seam between the two.

`label_frame` builds the molecule, climbs the SCF fallback stages, takes charges and dipole from the
density and checks the label against itself. Everything else is asked of a backend:

    PlainPySCF        textbook PySCF, the reference that others are tested against
    AcceleratedPySCF  kernels of our own where they cover the method, and the plain ones elsewhere
    GPU4PySCF         the same objects on an NVIDIA GPU

`datagen.labels.devices` says which one a device has. All values are in atomic units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from datagen.labels.method import Method
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import BOHR


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives of a converged QM/MM energy by all positions, every response included."""

    qm: np.ndarray
    """By the QM nuclei, (n_qm, 3), Hartree/Bohr."""

    mm: np.ndarray
    """By the MM sites, (n_mm, 3), Hartree/Bohr."""


class Backend(Protocol):
    """Computes mean fields of a QM region in MM point charges, and their derivatives.

    A mean field is an object with PySCF's interface (``mol``, ``kernel``, ``make_rdm1``,
    ``e_tot`` …) whose arrays are NumPy's; what it holds inside is the backend's affair.
    """

    def versions(self) -> dict[str, str]:
        """Versions of the programs that compute, by name."""

    def mean_field(self, molecule: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the QM region in its charges, not yet run.

        Restricted for spin multiplicity 1, else unrestricted; without charges a gas-phase one.
        """

    def without_charges(self, field: Any, frame: Frame, method: Method) -> Any:
        """Mean field of the same molecule in vacuum, not yet run.

        It takes over the integrals and the grid of ``field``, which do not know of the charges.
        """

    def run(self, field: Any, density: np.ndarray) -> bool:
        """Bring a mean field to self-consistency from a density matrix; whether it got there."""

    def interaction_energy(self, field: Any) -> float:
        """Energy of a converged density in its charges less that of the same density without.

        Hartree.
        """

    def site_potential(self, field: Any, sites: np.ndarray) -> np.ndarray:
        """Electrostatic potential of nuclei and electrons at sites (n, 3) in Bohr.

        (n,), Hartree/e.
        """

    def gradients(self, field: Any, sites: np.ndarray, charges: np.ndarray) -> Gradients:
        """Derivatives of a converged energy, with sites (n_mm, 3) in Bohr and charges in e.

        The integration grid and the auxiliary basis move with the atoms, and their response is
        included: without it forces are not the derivative of the energy (3e-5 Hartree/Bohr at
        grid level 3) and momentum is not conserved.

        Raises
        ------
        LabelCheckError
            When the charges were wrapped in an order that loses their gradient.
        """


def mm_sites(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n_mm, 3) in Bohr and charges (n_mm,) in e of the MM sites, float64."""
    sites = np.asarray(frame.mm_positions, dtype=np.float64).reshape(-1, 3) / BOHR
    return sites, np.asarray(frame.mm_charges, dtype=np.float64)


def total_density(field: Any) -> np.ndarray:
    """Spin-summed density matrix (nao, nao) of a converged mean field."""
    density = np.asarray(field.make_rdm1())
    return density if density.ndim == 2 else density.sum(0)
