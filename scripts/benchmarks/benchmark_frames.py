"""Frames for benchmarks: molecules from SMILES in water as dense as TIP3P's, made in a moment."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from datagen.molecules.solute import read_solute
from eqmm_ase.data.frame import Frame

SMILES = {
    "water": "O",
    "methanol": "CO",
    "acetamide": "CC(N)=O",
    "alanine dipeptide": "CC(=O)N[C@@H](C)C(=O)NC",
}
LATTICE = 3.104  # Å, edge of the cube that a molecule of liquid water takes
NEAREST = {"oxygen": 2.7, "hydrogen": 1.8}  # Å, contacts with any QM atom
TIP3P = np.array([[0.0, 0.0, 0.0], [0.75695, 0.0, 0.58588], [-0.75695, 0.0, 0.58588]])  # Å
CHARGES = np.array([-0.834, 0.417, 0.417])


def benchmark_frame(name: str, n_charges: int, seed: int) -> Frame:
    """A molecule, its atoms displaced by some 0.03 Å, among the nearest waters of a lattice.

    Parameters
    ----------
    name
        One of `SMILES`.
    n_charges
        Rounded down to whole waters.
    seed
        Of displacements, orientations and the disorder of the lattice.

    Returns
    -------
    Frame
        Without labels.
    """
    solute = read_solute(SMILES[name])
    return frame_in_water(np.asarray(solute.atomic_numbers), solute.positions, n_charges, seed)


def frame_in_water(
    numbers: np.ndarray,
    positions: np.ndarray,
    n_charges: int,
    seed: int,
    total_charge: int = 0,
    spin_multiplicity: int = 1,
) -> Frame:
    """Atoms, displaced by some 0.03 Å, among the nearest waters of a lattice, as `benchmark_frame`.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (n,), and positions (n, 3) in Å.
    """
    generator = np.random.default_rng(seed)
    atoms = positions + generator.normal(0.0, 0.03, positions.shape)
    waters = _waters(atoms, n_charges // 3, generator)
    return Frame(
        numbers,
        atoms,
        waters.reshape(-1, 3),
        np.tile(CHARGES, len(waters)),
        medium="water",
        source="lattice",
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
    )


def _waters(atoms: np.ndarray, n_waters: int, generator: np.random.Generator) -> np.ndarray:
    """The nearest waters that keep their distance, (n_waters, 3, 3) Å."""
    extent = np.ptp(atoms, axis=0).max() + 4.0
    steps = int(np.ceil(((2 * n_waters) ** (1 / 3) + extent / LATTICE) / 2)) + 1
    ticks = LATTICE * np.arange(-steps, steps + 1)
    oxygens = np.stack(np.meshgrid(ticks, ticks, ticks), axis=-1).reshape(-1, 3) + atoms.mean(0)
    oxygens += generator.uniform(-0.3, 0.3, oxygens.shape)
    turns = Rotation.random(len(oxygens), random_state=generator).as_matrix()
    waters = oxygens[:, None] + np.einsum("nij,kj->nki", turns, TIP3P)
    contact = np.linalg.norm(waters[:, :, None] - atoms, axis=3).min(2)  # (n, 3)
    allowed = (contact[:, 0] > NEAREST["oxygen"]) & (contact[:, 1:].min(1) > NEAREST["hydrogen"])
    waters, contact = waters[allowed], contact[allowed]
    return waters[contact[:, 0].argsort()[:n_waters]]
