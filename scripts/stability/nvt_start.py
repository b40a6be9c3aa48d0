"""Where the runs of `nvt_stability.py` start, and all that acts on the atoms beside the model.

The start is a frame of the water sweeps that no model was trained on: of all these, the one whose
ζ = d(C–Cl1) − d(C–Cl2) is nearest to −1.5 Å, where chloride and chloromethane are in contact.

Lennard-Jones acts between the QM atoms and the oxygens of water (TIP3P, Lorentz–Berthelot): GAFF2
for carbon, hydrogen and the chlorine that is bound, the ion's of Joung and Cheatham for the other
(`datagen.solvent.frozen_force_field`). In water the two do not change places within nanoseconds.

In water the complex is bound by little more than RT. So that its parts do not leave each other, and
with that the training data, which end at a distance of some 5.3 Å, a spring pulls each chlorine
back that is more than `WALL_START` from carbon; below it does nothing.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from datagen.solvent.frozen_force_field import charged_sphere, element_sphere
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.units import KCAL_PER_MOL
from scripts.flagship.flagship_data import load_flagship, zeta

FloatArray = NDArray[np.float64]

START_ZETA = -1.5
"""Å."""
CARBON, CHLORINES, HYDROGENS = 0, (1, 2), (3, 4, 5)
TOTAL_CHARGE = -1
HYDROGEN_MASS = 4.0
"""amu, of the solute's hydrogen atoms: a step of 2 fs then resolves C–H as 1 fs does with light
ones. Averages at constant temperature do not depend on masses."""
WALL_START = 4.7
"""Å, the distance from C to Cl beyond which a spring pulls back."""
WALL_STIFFNESS = 20.0 * KCAL_PER_MOL
"""eV/Å²; RT at 350 K gets 0.26 Å into it."""
WATER_SIGMA, WATER_EPSILON = 3.1506, 0.1521 * KCAL_PER_MOL
"""Å and eV, of TIP3P's oxygen; its hydrogens have none."""


class Start(NamedTuple):
    """The solute among whole waters, carbon at the origin."""

    atoms: Atoms
    """C, Cl, Cl, H, H, H."""
    sigma: FloatArray
    """(6,) Å, Lennard-Jones of the solute."""
    epsilon: FloatArray
    """(6,) eV."""
    waters: FloatArray
    """(n, 3, 3) Å: oxygen, hydrogen, hydrogen."""
    charges: FloatArray
    """(3,) e, of these."""
    origin: str
    """Which frame it is."""


@cache
def load_start() -> Start:
    """Choose the frame by the rule above; the same object each time, not to be changed.

    Raises
    ------
    ValueError
        When the surroundings of the frame are not whole three-site waters.
    """
    frames = load_flagship().test("water")
    away = [abs(zeta(f) - START_ZETA) for f in frames]
    number = int(np.argmin(away))
    frame = frames[number]
    atoms = atoms_of_frame(frame)
    if atoms.get_chemical_symbols() != ["C", "Cl", "Cl", "H", "H", "H"]:
        raise ValueError(f"expected the atoms C, Cl, Cl, H, H, H; got {atoms.symbols}")
    origin = atoms.positions[CARBON].copy()
    atoms.positions -= origin
    masses = atoms.get_masses()
    masses[list(HYDROGENS)] = HYDROGEN_MASS
    atoms.set_masses(masses)
    waters, charges = _whole_waters(
        np.asarray(frame.mm_positions, float) - origin, np.asarray(frame.mm_charges, float)
    )
    spheres = [element_sphere(symbol) for symbol in atoms.symbols]
    ion = max(CHLORINES, key=lambda i: float(np.linalg.norm(atoms.positions[i])))
    spheres[ion] = charged_sphere("Cl", -1.0)
    return Start(
        atoms,
        np.array([sphere.sigma for sphere in spheres]),
        np.array([sphere.depth for sphere in spheres]) * KCAL_PER_MOL,
        waters,
        charges,
        f"{frame.source}, frame {number} of the held-out ones in water",
    )


def _whole_waters(positions: FloatArray, charges: FloatArray) -> tuple[FloatArray, FloatArray]:
    if len(charges) % 3 or not np.allclose(charges.reshape(-1, 3), charges[:3], atol=1e-4):
        raise ValueError("the MM charges of the frame are not those of whole waters")
    waters = positions.reshape(-1, 3, 3)
    bonds = np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=2)
    if not (np.abs(bonds - 0.9572) < 0.01).all() or abs(charges[:3].sum()) > 1e-4:
        raise ValueError("the MM sites of the frame are not in the order O, H, H of TIP3P")
    return waters, np.array([-0.834, 0.417, 0.417])
