"""The molecule that becomes the QM region: from a SMILES string or a structure file to 3D.

Elements, positions and charge are taken as given; bonds are needed only to find force-field
parameters, so that a file without bonds (xyz, pdb) gets them from its distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

_CONFORMERS = 12
_FORMATS = (".xyz", ".sdf", ".mol", ".pdb")


class SoluteError(ValueError):
    """The molecule cannot be understood; the message is one sentence for the user."""


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
) -> Solute:
    """Read a molecule, or build it when it comes as SMILES.

    Parameters
    ----------
    molecule
        A file (xyz, sdf, mol, pdb) that holds every atom, hydrogens included, whose geometry is
        kept; or a SMILES string, embedded with ETKDG and relaxed with MMFF94.
    total_charge
        e. Needed for charged molecules in xyz and pdb files; otherwise that of the formal
        charges, and refused when it contradicts them.
    spin_multiplicity
        2S + 1; otherwise one more than the number of radical electrons.
    seed
        Of the embedding.

    Raises
    ------
    SoluteError
        When there is no such file, no sense in the SMILES, or the charge and spin do not fit.
    """
    from rdkit.rdBase import BlockLogs

    quiet = BlockLogs()  # RDKit's own messages; what matters is raised
    try:
        if _is_file_name(molecule):
            rdkit_molecule = _read_file(Path(molecule), total_charge or 0)
            name = Path(molecule).stem
        else:
            rdkit_molecule = _build_from_smiles(molecule, seed)
            name = molecule
        return _as_solute(rdkit_molecule, name, total_charge, spin_multiplicity)
    finally:
        del quiet


def _is_file_name(molecule: str) -> bool:
    return Path(molecule).suffix.lower() in _FORMATS or Path(molecule).is_file()


def _build_from_smiles(smiles: str, seed: int) -> Any:
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


def _read_file(path: Path, charge: int) -> Any:
    if not path.is_file():
        raise SoluteError(f"there is no structure file {path}")
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise SoluteError(f"{path} is of unknown type; expected one of {', '.join(_FORMATS)}")
    try:
        molecule = _parse(path, suffix)
    except (OSError, RuntimeError, UnicodeDecodeError, ValueError):
        molecule = None  # RDKit signals a broken file in all of these ways
    if molecule is None:
        raise SoluteError(f"{path} holds no molecule that RDKit can read as {suffix[1:]}")
    if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
        raise SoluteError(f"{path} holds no three-dimensional coordinates")
    if suffix in (".xyz", ".pdb"):
        molecule = _with_bonds(molecule, path, charge)
    if any(atom.GetNumImplicitHs() for atom in molecule.GetAtoms()):
        raise SoluteError(f"{path} lacks hydrogen atoms; expected every atom of the molecule")
    return molecule


def _parse(path: Path, suffix: str) -> Any:
    from rdkit import Chem

    if suffix == ".xyz":
        return Chem.MolFromXYZFile(str(path))
    if suffix == ".pdb":
        return Chem.MolFromPDBFile(str(path), removeHs=False, proximityBonding=False)
    return next(iter(Chem.SDMolSupplier(str(path), removeHs=False)), None)


def _with_bonds(molecule: Any, path: Path, charge: int) -> Any:
    from rdkit.Chem import rdDetermineBonds

    try:
        rdDetermineBonds.DetermineBonds(molecule, charge=charge)
    except ValueError as error:
        raise SoluteError(
            f"no bonds with a total charge of {charge:+d} fit the distances in {path}; give the "
            "right charge, or an sdf file with bonds"
        ) from error
    return molecule


def _as_solute(molecule: Any, name: str, charge: int | None, multiplicity: int | None) -> Solute:
    from rdkit import Chem

    if len(Chem.GetMolFrags(molecule)) > 1:
        raise SoluteError(f"{name!r} has several unconnected parts; expected one molecule")
    formal = Chem.GetFormalCharge(molecule)
    if charge is not None and charge != formal:
        raise SoluteError(
            f"{name!r} has formal charges that sum to {formal:+d}; found a charge of {charge:+d}"
        )
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    if multiplicity is None:
        multiplicity = 1 + sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    electrons = int(numbers.sum()) - formal
    if multiplicity < 1 or (electrons - multiplicity + 1) % 2:
        raise SoluteError(
            f"{name!r} has {electrons} electrons, which cannot have spin multiplicity "
            f"{multiplicity}"
        )
    return Solute(
        name=name,
        atomic_numbers=numbers,
        positions=np.array(molecule.GetConformer().GetPositions()),
        total_charge=formal,
        spin_multiplicity=multiplicity,
        mol_block=Chem.MolToMolBlock(molecule),
        extent=_largest_extent(molecule),
    )


def _largest_extent(molecule: Any) -> float:
    """How far the molecule may stretch in a long simulation, which its box has to hold."""
    from rdkit.Chem import Mol, rdDistGeom

    shapes = [conformer.GetPositions() for conformer in molecule.GetConformers()]
    others = Mol(molecule)
    rdDistGeom.EmbedMultipleConfs(others, numConfs=_CONFORMERS, randomSeed=1)
    shapes += [conformer.GetPositions() for conformer in others.GetConformers()]
    return max(float(np.linalg.norm(x - x.mean(axis=0), axis=1).max()) for x in shapes)
