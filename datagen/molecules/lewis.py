"""Bonds of a molecule from the distances between its atoms, which force fields need.

Connectivity is a matter of distances. Bond orders and formal charges need a total charge, and a
closed shell: radicals and metal complexes get the connectivity only.

Source: Kim, Kim, Bull. Korean Chem. Soc. 36, 1769 (2015), as RDKit's DetermineBonds has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datagen.molecules.valences import bonded_pairs

_MOST_TRIES = 20_000
"""Assignments of bond orders that RDKit tries; without a limit, large π systems take hours."""

_STEPS = (2, 4)  # e; an odd step would leave an electron unpaired


def without_orders(
    numbers: NDArray[np.integer], positions: NDArray[np.floating], bonds: bool = True
) -> Any:
    """RDKit molecule with one conformer, and a single bond for each pair of near atoms."""
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    molecule = Chem.RWMol()
    conformer = Chem.Conformer(len(numbers))
    conformer.Set3D(True)
    for index, (number, position) in enumerate(zip(numbers, positions, strict=True)):
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
        conformer.SetAtomPosition(index, Point3D(*map(float, position)))
    molecule.AddConformer(conformer)
    for i, j in bonded_pairs(numbers, positions).tolist() if bonds else ():
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    return molecule.GetMol()


def with_orders(
    numbers: NDArray[np.integer], positions: NDArray[np.floating], total_charge: int
) -> Any | None:
    """RDKit molecule with bond orders and formal charges; None where no closed shell fits.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (n,) and positions (n, 3) in Å.
    total_charge
        e, the sum of the formal charges.
    """
    from rdkit.Chem import rdDetermineBonds

    molecule = without_orders(numbers, positions, bonds=False)
    for atom in molecule.GetAtoms():
        atom.SetNoImplicit(False)
    try:
        rdDetermineBonds.DetermineBonds(
            molecule, charge=total_charge, maxIterations=_MOST_TRIES, embedChiral=False
        )
        _sanitise(molecule)
    # RDKit signals valences that do not fit, and its limit of tries, in several ways.
    except (ValueError, RuntimeError):
        return None
    atoms = molecule.GetAtoms()
    if any(atom.GetNumImplicitHs() or atom.GetNumRadicalElectrons() for atom in atoms):
        return None
    return molecule


def charges_that_fit(
    numbers: NDArray[np.integer], positions: NDArray[np.floating], total_charge: int
) -> list[int]:
    """The nearest total charges of the same parity that bonds can be found for, if any."""
    for step in _STEPS:
        fitting = [
            charge
            for charge in (total_charge - step, total_charge + step)
            if with_orders(numbers, positions, charge) is not None
        ]
        if fitting:
            return fitting
    return []


def _sanitise(molecule: Any) -> None:
    from rdkit import Chem

    Chem.SanitizeMol(molecule)
    Chem.AssignStereochemistryFrom3D(molecule)
