"""Which atoms of a molecule have open valences, and whether hydrogens are missing.

Structures of crystals and united-atom force fields come without some or all hydrogens. They still
have an electron count, mostly an even one, and a QM program computes benzene as C6 without a word.
Bond orders by themselves do not show it, because they vary with temperature and conjugation; the
number of neighbours and the angles between them do: a carbon with two neighbours at 120° lacks
something.

Open valences are not always a mistake. Carbenium and carbanions, radicals and carbenes have them:
as many are allowed as the charge and the spin explain, if the spin was given and not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from datagen.molecules.valence_rules import NONMETALS, RULES, surroundings

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.floating]

HOW_TO_ADD = (
    "add them (a SMILES string brings its own; files: RDKit's AddHs, obabel -h, for proteins "
    "reduce, pdb4amber or OpenMM's Modeller)"
)
"""What to do about missing hydrogens, for errors."""


class MissingHydrogensError(ValueError):
    """A molecule without all of its hydrogens; the sentence names atoms and a remedy."""


_IF_MEANT = ", or give the spin multiplicity (--multiplicity) if a radical or carbene is meant"
_NEAR = 1.3  # of the sum of radii: bonds that vibrate, and half-broken ones
_ALKALI, _ALKALINE_EARTH = (3, 11, 19, 37, 55, 87), (4, 12, 20, 38, 56, 88)
_NAMED = 6  # atoms listed in an error


def bonded_pairs(numbers: IntArray, positions: FloatArray, near: float = _NEAR) -> IntArray:
    """Pairs of atoms (n_bonds, 2), the smaller index first, closer than `near` times their radii.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (n,) and positions (n, 3) in Å.
    near
        Of the sum of the covalent radii.
    """
    radii = covalent_radii[np.asarray(numbers, dtype=int)]
    farthest = 2 * near * radii.max(initial=0.0)
    pairs = cKDTree(positions).query_pairs(farthest, output_type="ndarray")
    i, j = pairs.T
    near_enough = np.linalg.norm(positions[i] - positions[j], axis=1) < near * (radii[i] + radii[j])
    found = np.sort(pairs[near_enough], axis=1)
    return found[np.lexsort(found.T[::-1])]


def open_valences(
    numbers: IntArray, positions: FloatArray, bonds: IntArray | None = None
) -> NDArray[np.int64]:
    """Number of bonds that each atom lacks, (n,); 0 for metals and where there is any doubt.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (n,) and positions (n, 3) in Å.
    bonds
        Pairs of atoms (n_bonds, 2) where they are known; otherwise by distance.
    """
    numbers = np.asarray(numbers, dtype=int)
    positions = np.asarray(positions, dtype=np.float64)
    pairs = bonded_pairs(numbers, positions) if bonds is None else np.asarray(bonds, dtype=int)
    partners = _partners(numbers, pairs.reshape(-1, 2))
    found = np.zeros(len(numbers), dtype=np.int64)
    for atom, number in enumerate(numbers):
        rule = RULES.get(int(number))
        if rule is not None:
            found[atom] = rule(surroundings(atom, partners, numbers, positions))
    return found


def lacking_hydrogens(
    numbers: IntArray,
    positions: FloatArray,
    *,
    total_charge: int = 0,
    spin_multiplicity: int | None = None,
    bonds: IntArray | None = None,
) -> tuple[IntArray, int]:
    """Atoms with open valences that neither charge nor spin explain.

    Parameters
    ----------
    numbers, positions, bonds
        As for `open_valences`.
    total_charge
        e. A carbanion, an alkoxide or a carbenium ion has one open valence a charge.
    spin_multiplicity
        As the user gave it: unpaired electrons, or the two of a singlet carbene. None when a
        closed shell was only assumed.

    Returns
    -------
    atoms
        All that have open valences; empty when these are explained.
    missing
        How many of the valences are not.
    """
    found = open_valences(numbers, positions, bonds)
    if not found.any():
        return np.zeros(0, dtype=np.int64), 0
    pairs = bonded_pairs(numbers, positions) if bonds is None else np.asarray(bonds).reshape(-1, 2)
    allowed = abs(_formal_charge(np.asarray(numbers), pairs) - total_charge)
    allowed += sum(_cation_of(int(number)) for number in numbers)
    # A hydrogen atom that has come off is not one that was never there.
    allowed += int(np.sum(np.asarray(numbers) == 1) - len(np.unique(_hydrogens(numbers, pairs))))
    if spin_multiplicity is not None:
        allowed += spin_multiplicity - 1
        # A carbene, and what is left of a single heavy atom, has a pair more.
        allowed += 2 if spin_multiplicity == 1 or np.sum(np.asarray(numbers) > 1) == 1 else 0
    missing = int(found.sum()) - allowed
    return (np.flatnonzero(found), missing) if missing > 0 else (np.zeros(0, dtype=np.int64), 0)


def refuse_missing_hydrogens(
    numbers: IntArray,
    images: Sequence[FloatArray],
    *,
    name: str,
    total_charge: int,
    spin_multiplicity: int | None,
    atom_names: Sequence[str] | None = None,
) -> None:
    """Refuse a molecule that lacks hydrogens in every one of its geometries.

    A reaction breaks bonds, but where one geometry is complete, so are the atoms of all.

    Parameters
    ----------
    numbers
        Atomic numbers (n,).
    images
        Positions (n, 3) in Å, of at least one geometry.
    name
        Of the molecule or its file.
    total_charge, spin_multiplicity
        As for `lacking_hydrogens`.
    atom_names
        (n,), as the file has them.

    Raises
    ------
    MissingHydrogensError
    """
    best: tuple[IntArray, int] | None = None
    for positions in images:
        atoms, missing = lacking_hydrogens(
            numbers, positions, total_charge=total_charge, spin_multiplicity=spin_multiplicity
        )
        if missing == 0:
            return
        if best is None or missing < best[1]:
            best = atoms, missing
    if best is not None:
        meant = "" if spin_multiplicity is not None else _IF_MEANT
        raise MissingHydrogensError(
            f"{name} lacks hydrogen atoms: {named_atoms(numbers, best[0], atom_names)} "
            f"{'has' if len(best[0]) == 1 else 'have'} open valences; {HOW_TO_ADD}{meant}"
        )


def named_atoms(
    numbers: IntArray, atoms: IntArray | Sequence[int], names: Sequence[str] | None = None
) -> str:
    """A few of the atoms for an error: by their names, or as ``C0`` counted from 0."""
    listed = [
        names[i] if names is not None else f"{chemical_symbols[int(numbers[i])]}{i}"
        for i in list(atoms)[:_NAMED]
    ]
    more = f" and {len(atoms) - _NAMED} more" if len(atoms) > _NAMED else ""
    return ", ".join(listed) + more


def _partners(numbers: IntArray, pairs: IntArray) -> list[list[int]]:
    """Neighbours of each atom, without metals that it shares with a neighbour (side-on bonds)."""
    every: list[list[int]] = [[] for _ in numbers]
    for i, j in pairs.tolist():
        every[i].append(j)
        every[j].append(i)
    return [
        [
            j
            for j in own
            if numbers[j] in NONMETALS
            or not any(j in every[k] for k in own if k != j and numbers[k] > 1)
        ]
        for own in every
    ]


def _formal_charge(numbers: IntArray, pairs: IntArray) -> int:
    """Charges of atoms with more bonds than their valence: ammonium and the like, borates."""
    charge = 0
    coordination = np.bincount(pairs.ravel(), minlength=len(numbers))
    for atom in np.flatnonzero(np.isin(numbers, (5, 7, 8, 15, 16))):
        ends = pairs[(pairs == atom).any(axis=1)]
        partners = ends[ends != atom]
        bare = np.isin(numbers[partners], (8, 16)) & (coordination[partners] == 1)
        onium = {7: 4, 8: 3, 15: 4, 16: 3}.get(int(numbers[atom]))
        if coordination[atom] == onium and not bare.any():
            charge += int(np.isin(numbers[partners], NONMETALS).all())
        elif (numbers[atom], coordination[atom]) in ((5, 4), (15, 6)):
            charge -= 1
    return charge


def _cation_of(number: int) -> int:
    """The charge that a metal may have, at most, for counter-ions that are not bonded to it."""
    if number in NONMETALS:
        return 0
    return 1 if number in _ALKALI else 2 if number in _ALKALINE_EARTH else 3


def _hydrogens(numbers: IntArray, pairs: IntArray) -> IntArray:
    """Bonded hydrogens, once a bond."""
    return pairs.ravel()[np.asarray(numbers)[pairs.ravel()] == 1]
