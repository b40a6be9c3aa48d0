"""The molecule that becomes the QM region: from a SMILES string or a structure file to 3D.

Elements, positions, charge and spin are taken as given; bonds are needed only to find force-field
parameters. A file without bonds (xyz, pdb) gets them from its distances. Where no closed shell fits
them, as in radicals and metal complexes, there are none, and the molecule can still be frozen in
its geometry.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from datagen.molecules.given_geometries import OPTIONS, GeometriesError
from datagen.molecules.molecule_input import (
    FORMATS,
    Draft,
    Given,
    SoluteError,
    draft_of_file,
    draft_of_smiles,
)
from datagen.molecules.valences import MissingHydrogensError, named_atoms
from eqmm_ase.data.charge_and_spin import StateError

__all__ = ["Solute", "SoluteError", "read_solute"]

_CONFORMERS = 12
_TRIPLETS = {(8, 8): "O2", (16, 16): "S2", (8, 16): "SO"}
"""Molecules of two atoms whose ground state is none of closed shells."""

_OPEN_SHELLS = (*range(21, 30), *range(39, 48), *range(57, 80), *range(89, 112))
"""Elements with d or f shells that are partly filled in most compounds."""


@dataclass(frozen=True, eq=False)
class Solute:
    """A molecule in three dimensions with bonds, charge and spin."""

    name: str
    atomic_numbers: NDArray[np.integer]  # (n,)
    positions: NDArray[np.floating]  # (n, 3) Å
    total_charge: int
    spin_multiplicity: int
    mol_block: str
    """Atoms and bonds in the V2000 format, for programs that assign parameters."""

    extent: float
    """Largest distance of an atom from the centroid in this or a dozen other conformers, Å."""

    without_orders: str | None = None
    """Why the bonds of `mol_block` have no orders; None where they have."""

    notes: tuple[str, ...] = ()
    """What the user should know, a sentence each."""

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols, one an atom."""
        return [chemical_symbols[number] for number in self.atomic_numbers]


def read_solute(
    molecule: str,
    *,
    total_charge: int | None = None,
    spin_multiplicity: int | None = None,
    seed: int = 0,
    open_valences: bool = False,
) -> Solute:
    """Read a molecule, or build it when it comes as SMILES.

    Parameters
    ----------
    molecule
        A file (xyz, sdf, mol, pdb) that holds every atom, hydrogens included, whose first geometry
        is kept; or a SMILES string, embedded with ETKDG and relaxed with MMFF94.
    total_charge
        e. Needed for charged molecules in xyz and pdb files that do not say it; otherwise that of
        the file or of the formal charges, and refused when it contradicts them.
    spin_multiplicity
        2S + 1. None: what the file says; otherwise one more than the number of radical electrons
        if that is one, and 1 if it is none.
    seed
        Of the embedding.
    open_valences
        Whether atoms may lack bonds: clusters, cut-outs of a solid.

    Raises
    ------
    SoluteError
        When there is no such file, no sense in the SMILES, charge and spin do not fit, or
        hydrogens are missing.
    """
    from rdkit.rdBase import BlockLogs

    quiet = BlockLogs()  # RDKit's own messages; what matters is raised
    given = Given(total_charge, spin_multiplicity, open_valences)
    try:
        if _is_file_name(molecule):
            return _solute(draft_of_file(Path(molecule), given), Path(molecule).stem)
        return _solute(draft_of_smiles(molecule, seed, given), molecule)
    except (StateError, MissingHydrogensError, GeometriesError) as error:
        raise SoluteError(str(error)) from error
    finally:
        del quiet


def _is_file_name(molecule: str) -> bool:
    return Path(molecule).suffix.lower() in FORMATS or Path(molecule).is_file()


def _solute(draft: Draft, name: str) -> Solute:
    from rdkit import Chem

    molecule, reason = draft.molecule, draft.without_orders
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    parts = Chem.GetMolFrags(molecule)
    if len(parts) > 1:
        least = named_atoms(numbers, min(parts, key=len), draft.atom_names)
        raise SoluteError(
            f"{name!r} has several unconnected parts, one of them {least}; expected one molecule "
            "(eqmm-datagen solvate takes several)"
        )
    return Solute(
        name=name,
        atomic_numbers=numbers,
        positions=np.array(molecule.GetConformer().GetPositions()),
        total_charge=draft.state.total_charge,
        spin_multiplicity=draft.state.spin_multiplicity,
        mol_block=Chem.MolToMolBlock(molecule, kekulize=reason is None),
        extent=_largest_extent(molecule, others=reason is None),
        without_orders=reason,
        notes=(*draft.notes, *_notes_on_spin(numbers, draft)),
    )


def _notes_on_spin(numbers: NDArray[np.integer], draft: Draft) -> list[str]:
    """Where a closed shell that nobody asked for is hardly the ground state."""
    if draft.state.spin_multiplicity > 1 or draft.is_spin_given:
        return []
    pair = tuple(sorted(numbers.tolist()))
    if pair in _TRIPLETS:
        return [f"the ground state of {_TRIPLETS[pair]} is a triplet: {OPTIONS[1]} 3"]
    open_shells = [chemical_symbols[z] for z in numbers if z in _OPEN_SHELLS]
    if not open_shells:
        return []
    return [f"a closed shell is assumed for {open_shells[0]}; {OPTIONS[1]} says another spin"]


def _largest_extent(molecule: Any, *, others: bool) -> float:
    """How far the molecule may stretch in a long simulation, which its box has to hold."""
    from rdkit.Chem import Mol, rdDistGeom

    shapes = [conformer.GetPositions() for conformer in molecule.GetConformers()]
    if others:
        more = Mol(molecule)
        rdDistGeom.EmbedMultipleConfs(more, numConfs=_CONFORMERS, randomSeed=1)
        shapes += [conformer.GetPositions() for conformer in more.GetConformers()]
    return max(float(np.linalg.norm(x - x.mean(axis=0), axis=1).max()) for x in shapes)
