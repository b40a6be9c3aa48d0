"""A molecule as the user gives it: a SMILES string, a mol file with bonds, or atoms alone.

All become an RDKit molecule with one geometry, a total charge and a spin multiplicity. Atoms alone
get bonds from their distances; where no closed shell fits these, as in radicals and metal
complexes, the bonds have no orders and the reason is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from datagen.molecules.given_geometries import OPTIONS, atom_names, common_state
from datagen.molecules.lewis import charges_that_fit, with_orders, without_orders
from datagen.molecules.valences import HOW_TO_ADD, MissingHydrogensError, named_atoms
from eqmm_ase.data.charge_and_spin import State, spin_multiplicity_of, total_charge_of
from eqmm_ase.data.checks import electron_count
from eqmm_ase.files.geometry_files import StructureError, read_geometries
from eqmm_ase.files.mol_file import is_drawing

FORCE_FIELD_ELEMENTS = frozenset(["H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"])
"""Those of GAFF2."""

_WITH_BONDS = (".sdf", ".mol")
FORMATS = (".xyz", ".extxyz", ".pdb", ".ent", *_WITH_BONDS)
"""Suffixes of the files that are read."""


class SoluteError(ValueError):
    """The molecule cannot be understood; the message is one sentence for the user."""


@dataclass(frozen=True)
class Given:
    """What the user says beside the molecule; None leaves it to the molecule."""

    total_charge: int | None = None
    spin_multiplicity: int | None = None
    open_valences: bool = False
    """Whether atoms may lack bonds."""


@dataclass(frozen=True, eq=False)
class Draft:
    """What was understood of it."""

    molecule: Any
    """RDKit's, with one conformer at least."""

    state: State
    without_orders: str | None = None
    """Why the bonds have no orders; None where they have."""

    is_spin_given: bool = False
    atom_names: list[str] | None = None
    notes: tuple[str, ...] = ()


def draft_of_smiles(smiles: str, seed: int, given: Given) -> Draft:
    """Build a molecule with ETKDG and MMFF94.

    Raises
    ------
    SoluteError, MissingHydrogensError
    """
    return _of_bonds(_build(smiles, seed), smiles, given)


def draft_of_file(path: Path, given: Given) -> Draft:
    """Read the first molecule of a file.

    Raises
    ------
    SoluteError, MissingHydrogensError, StateError
    """
    if not path.is_file():
        raise SoluteError(f"there is no structure file {path}")
    if path.suffix.lower() not in FORMATS:
        raise SoluteError(f"{path} is of unknown type; expected one of {', '.join(FORMATS)}")
    draft = _of_mol_file(path, given) if path.suffix.lower() in _WITH_BONDS else None
    return _of_atoms(path, given) if draft is None else draft


def _build(smiles: str, seed: int) -> Any:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    molecule = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if molecule is None:
        raise SoluteError(
            f"{smiles!r} is neither a SMILES string that RDKit understands nor an existing file"
        )
    molecule = Chem.AddHs(molecule)
    if rdDistGeom.EmbedMolecule(molecule, randomSeed=seed & 0x7FFFFFFF) != 0:
        raise SoluteError(f"RDKit finds no three-dimensional structure for {smiles!r}")
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=1000)
    return molecule


def _of_mol_file(path: Path, given: Given) -> Draft | None:
    """Of the first record; None where RDKit does not know its bonds, to a metal for instance."""
    from rdkit import Chem

    try:
        records = list(Chem.SDMolSupplier(str(path), removeHs=False))
    except (OSError, RuntimeError, UnicodeDecodeError, ValueError):
        return None  # RDKit signals a broken file in all of these ways
    if not records or records[0] is None:
        return None
    molecule = records[0]
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondTypeAsDouble())
        for bond in molecule.GetBonds()
    ]
    draft = _of_bonds(molecule, str(path), given)
    if is_drawing(_numbers(molecule), molecule.GetConformer().GetPositions(), bonds):
        raise SoluteError(f"{path} holds no three-dimensional coordinates but a drawing")
    return replace(draft, notes=(*_first_of(path, len(records)), *draft.notes))


def _of_bonds(molecule: Any, name: str, given: Given) -> Draft:
    """Of a molecule with bonds: these say charge, radicals and missing hydrogens."""
    from rdkit import Chem

    formal = Chem.GetFormalCharge(molecule)
    if given.total_charge is not None and given.total_charge != formal:
        raise SoluteError(
            f"{name!r} has formal charges that sum to {formal:+d}; "
            f"found a charge of {given.total_charge:+d}"
        )
    _complete(molecule, name, given)
    numbers = _numbers(molecule)
    unpaired = np.array([atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()])
    radicals = named_atoms(numbers, np.flatnonzero(unpaired))
    multiplicity = given.spin_multiplicity
    notes: tuple[str, ...] = ()
    if multiplicity is None:
        multiplicity = 1 + int(unpaired.sum())
        if multiplicity > 2:
            raise SoluteError(
                f"{name!r} leaves {multiplicity - 1} electrons unpaired, at {radicals}: write the "
                "hydrogens there (an atom in brackets, or with a stated valence, has no others), "
                f"or give {OPTIONS[1]} if that is meant"
            )
        if multiplicity == 2:
            notes = (f"{name} has an unpaired electron at {radicals}: it is taken as a doublet",)
    try:
        electron_count(numbers, formal, multiplicity, OPTIONS)
    except ValueError as error:
        raise SoluteError(f"{name!r}: {error}") from error
    is_given = given.spin_multiplicity is not None
    return Draft(molecule, State(formal, multiplicity), is_spin_given=is_given, notes=notes)


def _complete(molecule: Any, name: str, given: Given) -> None:
    """Refuse hydrogens that are only implied, unless a radical or a carbene is asked for."""
    lacking = {atom.GetIdx(): atom.GetNumImplicitHs() for atom in molecule.GetAtoms()}
    missing = sum(lacking.values())
    if missing == 0 or given.open_valences:
        return
    spin = given.spin_multiplicity
    if spin is not None and missing <= (2 if spin == 1 else spin - 1):
        for atom in molecule.GetAtoms():
            atom.SetNumRadicalElectrons(atom.GetNumImplicitHs())
            atom.SetNoImplicit(True)
        return
    atoms = named_atoms(_numbers(molecule), [atom for atom, count in lacking.items() if count])
    raise MissingHydrogensError(
        f"{name} lacks hydrogen atoms, {missing} of them, at {atoms}; {HOW_TO_ADD}"
    )


def _of_atoms(path: Path, given: Given) -> Draft:
    try:
        images = read_geometries(path)
    except StructureError as error:
        raise SoluteError(str(error)) from error
    atoms = images[0]
    state = common_state(
        [atoms],
        name=str(path),
        total_charge=given.total_charge,
        spin_multiplicity=given.spin_multiplicity,
        open_valences=given.open_valences,
    )
    molecule, reason = _bonds(atoms, state, path, given)
    is_given = given.spin_multiplicity is not None or bool(
        spin_multiplicity_of(atoms, state.total_charge)
    )
    notes = _first_of(path, len(images))
    return Draft(molecule, state, reason, is_given, atom_names(atoms), notes)


def _bonds(atoms: Atoms, state: State, path: Path, given: Given) -> tuple[Any, str | None]:
    """RDKit molecule, and why its bonds have no orders."""
    charge = state.total_charge
    plain = without_orders(atoms.numbers, atoms.positions)
    if (
        state.spin_multiplicity > 1
        or not FORCE_FIELD_ELEMENTS.issuperset(atoms.symbols)
        or len(atoms) == 1
    ):
        return plain, "no closed shell of the elements of organic molecules"
    molecule = with_orders(atoms.numbers, atoms.positions, charge)
    if molecule is not None:
        return molecule, None
    reason = f"no bonds with a total charge of {charge:+d} fit the distances in {path}"
    others = charges_that_fit(atoms.numbers, atoms.positions, charge)
    if others and given.total_charge is None and total_charge_of(atoms) is None:
        raise SoluteError(
            f"{reason}, but those of {' or '.join(f'{other:+d}' for other in others)} do; give "
            f"{OPTIONS[0]}"
        )
    return plain, reason


def _first_of(path: Path, n_geometries: int) -> tuple[str, ...]:
    if n_geometries < 2:
        return ()
    return (f"{path} holds {n_geometries} geometries: the first is taken",)


def _numbers(molecule: Any) -> NDArray[np.int64]:
    return np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
