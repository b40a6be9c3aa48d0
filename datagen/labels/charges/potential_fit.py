"""Charges fitted to the electrostatic potential of the QM region: CHELPG and RESP.

With V_g the potential of nuclei and electrons at point g, the charges minimise

    ½ Σ_g (V_g − Σ_A q_A / |r_g − R_A|)² + a Σ_A √(q_A² + b²)

while they add up to the total charge.

CHELPG takes the points of a cubic grid of 0.3 Å that lie up to 2.8 Å from an atom and outside all
Bondi radii, and a = 0. RESP takes four shells at 1.4 to 2.0 times Merz and Kollman's radii, and
a > 0 for atoms other than hydrogen: the first of its two stages, without the second that makes
equivalent atoms equal, which atoms of one frame of a trajectory are not.

Sources: C. M. Breneman, K. B. Wiberg, J. Comput. Chem. 11, 361 (1990); B. H. Besler,
K. M. Merz, P. A. Kollman, ibid. 431; C. I. Bayly et al., J. Phys. Chem. 97, 10269 (1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import vdw_radii as bondi_radii
from ase.data.vdw_alvarez import vdw_radii as alvarez_radii

from datagen.errors import LabelCheckError
from datagen.labels.accelerated.charge_integrals import site_potential
from datagen.labels.charges.density import ElectronDensity
from datagen.labels.charges.shares import AtomicCharges
from eqmm_ase.units import BOHR, HARTREE

GRID_SPACING = 0.3  # Å
GRID_REACH = 2.8  # Å

SHELLS = (1.4, 1.6, 1.8, 2.0)
SHELL_DENSITY = 4.0
"""Points per Å². The usual one makes the charges depend on the molecule's orientation four times
as much; the restraint is scaled with the density, as it would be weaker on more points."""

MERZ_KOLLMAN_RADII = {1: 1.20, 6: 1.50, 7: 1.50, 8: 1.40, 9: 1.35, 15: 1.80, 16: 1.75, 17: 1.70}
"""Å; other elements have Bondi's."""

RESTRAINT = 0.0005  # a, Hartree²/e² with points of 1/Å²
RESTRAINT_WIDTH = 0.1  # b, e
_CONVERGED = 1e-9  # e
_MAX_CYCLES = 200


def chelpg(density: ElectronDensity) -> AtomicCharges:
    """CHELPG charges, with the RMS error of their potential on the points of the fit."""
    return _fit(density, chelpg_points(density.molecule), restraint=0.0)


def resp(density: ElectronDensity) -> AtomicCharges:
    """RESP charges (one stage), with the RMS error of their potential on the points of the fit."""
    points = merz_kollman_points(density.molecule)
    return _fit(density, points, restraint=RESTRAINT * SHELL_DENSITY)


def chelpg_points(molecule: Any) -> np.ndarray:
    """Points of the CHELPG grid, (n, 3), Bohr; the grid follows the coordinate axes."""
    nuclei = molecule.atom_coords() * BOHR
    radii = np.array([_bondi_radius(z) for z in _elements(molecule)])
    low, high = nuclei.min(0) - GRID_REACH, nuclei.max(0) + GRID_REACH
    # Centred on the molecule: a grid that starts at a corner would cut off the other one.
    counts = np.floor((high - low) / GRID_SPACING).astype(int) + 1
    axes = [
        (a + b) / 2 + GRID_SPACING * (np.arange(n) - (n - 1) / 2)
        for a, b, n in zip(low, high, counts, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.array([np.linalg.norm(points - nucleus, axis=1) for nucleus in nuclei])
    outside = (distances > radii[:, None]).all(0)
    return points[outside & (distances.min(0) <= GRID_REACH)] / BOHR


def merz_kollman_points(molecule: Any, factors: Sequence[float] = SHELLS) -> np.ndarray:
    """Points on shells at these multiples of the radii around the molecule, (n, 3), Bohr."""
    nuclei = molecule.atom_coords() * BOHR
    elements = _elements(molecule)
    radii = np.array([MERZ_KOLLMAN_RADII.get(z, _bondi_radius(z)) for z in elements])
    points = []
    for factor in factors:
        reach = factor * radii
        for atom, nucleus in enumerate(nuclei):
            count = round(SHELL_DENSITY * 4.0 * np.pi * reach[atom] ** 2)
            sphere = nucleus + reach[atom] * _even_directions(count)
            distances = np.linalg.norm(sphere[:, None] - nuclei, axis=2)
            distances[:, atom] = np.inf
            points.append(sphere[(distances >= reach).all(1)])
    return np.concatenate(points) / BOHR


def potential_rms(
    points: np.ndarray, potential: np.ndarray, nuclei: np.ndarray, charges: np.ndarray
) -> float:
    """RMS deviation of the potential of point charges (e) from a given one (n,) in V, in V.

    Points (n, 3) and nuclei (n_qm, 3) are in Bohr.
    """
    of_charges = _inverse_distances(points, nuclei) @ charges * HARTREE
    return float(np.sqrt(np.mean((of_charges - potential) ** 2)))


def _fit(density: ElectronDensity, points: np.ndarray, restraint: float) -> AtomicCharges:
    molecule = density.molecule
    nuclei = molecule.atom_coords()
    potential = site_potential(molecule, density.matrix, points) * HARTREE
    inverse = _inverse_distances(points, nuclei)  # (n, n_qm)
    restrained = restraint * np.not_equal(_elements(molecule), 1)
    charges = _least_squares(inverse, potential / HARTREE, molecule.charge, restrained)
    return AtomicCharges(charges, potential_rms=potential_rms(points, potential, nuclei, charges))


def _least_squares(
    inverse: np.ndarray, potential: np.ndarray, total_charge: int, restrained: np.ndarray
) -> np.ndarray:
    """Solve with a Lagrange multiplier; the restraint is linear around the charges before."""
    n = inverse.shape[1]
    normal = np.zeros((n + 1, n + 1))
    normal[:n, :n] = inverse.T @ inverse
    normal[n, :n] = normal[:n, n] = 1.0
    right = np.append(inverse.T @ potential, float(total_charge))
    charges = np.zeros(n)
    for _ in range(_MAX_CYCLES):
        matrix = normal.copy()
        matrix[np.arange(n), np.arange(n)] += restrained / np.hypot(charges, RESTRAINT_WIDTH)
        before, charges = charges, np.linalg.lstsq(matrix, right, rcond=None)[0][:n]
        if np.abs(charges - before).max() < _CONVERGED:
            return charges
    raise LabelCheckError(
        f"the restrained charges still change after {_MAX_CYCLES} cycles; "
        f"expected to within {_CONVERGED:.0e} e"
    )


def _inverse_distances(points: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    return 1.0 / np.linalg.norm(points[:, None] - nuclei, axis=2)


def _elements(molecule: Any) -> list[int]:
    from pyscf import gto

    return [gto.charge(molecule.atom_pure_symbol(atom)) for atom in range(molecule.natm)]


def _bondi_radius(element: int) -> float:
    """Bondi's radius in Å; Alvarez' (2013) for the metals that Bondi leaves out; 2 Å at last."""
    for table in (bondi_radii, alvarez_radii):
        if element < len(table) and np.isfinite(table[element]):
            return float(table[element])
    return 2.0


def _even_directions(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread evenly: a spiral of golden angles."""
    number = np.arange(count) + 0.5
    z = 1.0 - 2.0 * number / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * number
    width = np.sqrt(1.0 - z**2)
    return np.stack([width * np.cos(angle), width * np.sin(angle), z], axis=1)
