"""The energy that velocity Verlet really conserves.

The total energy H of an exact model swings by O(Δt²) even when nothing is wrong, and as heat
wanders between stiff and soft vibrations its average wanders too. What the integrator conserves, up
to O(Δt⁴), is

    H̃ = H + Δt² (p·M⁻¹ V″ M⁻¹ p / 12 − F·M⁻¹ F / 24)

so that forces which are not the gradient of the energy show here an order of magnitude earlier.

Source: Leimkuhler, Reich, Simulating Hamiltonian Dynamics (2004), ch. 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

_DISPLACEMENT = 1e-3  # Å·√(u/eV): time by which atoms move along their velocities, to either side


def shadow_energies(images: Sequence[Atoms], atoms: Atoms, timestep: float) -> np.ndarray:
    """H̃ of every image of a trajectory.

    Parameters
    ----------
    images
        With momenta.
    atoms
        The same atoms with calculator and constraints; they are moved.
    timestep
        In ASE's unit.

    Returns
    -------
    (n_images,) eV
    """
    energies = []
    masses = atoms.get_masses()[:, None]
    for image in images:
        velocities = image.get_momenta() / masses
        atoms.positions = image.positions
        energy = atoms.get_potential_energy() + 0.5 * float((masses * velocities**2).sum())
        forces = atoms.get_forces()
        ends = []
        for sign in (1, -1):
            atoms.positions = image.positions + sign * _DISPLACEMENT * velocities
            ends.append(atoms.get_forces())
        curvature = -((ends[0] - ends[1]) * velocities).sum() / (2 * _DISPLACEMENT)
        correction = curvature / 12 - (forces**2 / masses).sum() / 24
        energies.append(energy + timestep**2 * float(correction))
    return np.array(energies)
