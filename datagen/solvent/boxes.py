"""A solute in a box of its medium, made by tleap, with Packmol where there is no ready box.

Ready boxes fill a truncated octahedron, 23 % fewer atoms than a cube of equal repeat. Both ways
count molecules rather than ångströms: what tleap and Packmol leave empty closes under pressure.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from datagen.molecules.solute import read_solute
from datagen.solvent.external_programs import ParameterError, run_program
from datagen.solvent.force_field import SOLUTE_RESIDUE, ForceField, parameterise
from datagen.solvent.media import Medium, Solvent

_OCTAHEDRON = 4.0 * math.sqrt(3.0) / 9.0  # volume of a truncated octahedron of unit repeat
_BOX_ATTEMPTS = 20
_GAP = 1.5  # Å by which tleap's boxes are too wide on each side, at most; where the search starts
_ION_SETUP = ("loadOff atomic_ions.lib", "loadAmberParams frcmod.ionsjc_tip3p")
_ION_SEPARATION = 5.0  # Å from the solute and each other, at the start
_LOOSENESS = 1.06  # by which Packmol's box is longer than the liquid needs: it has no time to fit
_PACKING_MARGIN = 1.04  # molecules more than the volume asks for, so that the box stays long enough
_PACKING_DISTANCE = 2.0  # Å between atoms of different molecules


def make_box(
    force_field: ForceField,
    medium: Medium,
    repeat: float,
    extent: float,
    folder: Path,
    *,
    solute_charge: int = 0,
    seed: int = 1,
) -> tuple[Path, Path]:
    """Surround the solute by enough of its medium for a box of a given size at 1 bar.

    Parameters
    ----------
    force_field
        Of the solute.
    medium
        What to fill the box with.
    repeat
        Shortest lattice vector that the box shall keep, Å.
    extent
        Largest distance of a solute atom from its centroid, Å.
    folder
        Where ``system.prmtop`` and ``system.inpcrd`` are written.
    solute_charge
        e; the ions of a salt balance it. Without salt the box keeps it.
    seed
        Of Packmol.

    Returns
    -------
    prmtop, inpcrd
        Paths.

    Raises
    ------
    ParameterError
        When a program is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="eqmm-box-") as name:
        work = Path(name)
        (work / f"{SOLUTE_RESIDUE}.mol2").write_text(force_field.mol2)
        (work / f"{SOLUTE_RESIDUE}.frcmod").write_text(force_field.frcmod)
        if medium.is_packed:
            _packed_box(force_field, medium, repeat, solute_charge, work, seed)
        else:
            _ready_box(medium, repeat, extent, solute_charge, work)
        for made in ("system.prmtop", "system.inpcrd"):
            shutil.copy(work / made, folder / made)
    return folder / "system.prmtop", folder / "system.inpcrd"


def _ready_box(
    medium: Medium, repeat: float, extent: float, solute_charge: int, work: Path
) -> None:
    solvent = medium.components[0][0]
    volume = _OCTAHEDRON * repeat**3
    ions = _ions_of(medium, volume, solute_charge)
    needed = math.ceil(volume / solvent.molecular_volume) + sum(ions.values())  # which replace it
    buffer = max(repeat / 2 - extent - _GAP, 2.0)
    added = 0
    for _ in range(_BOX_ATTEMPTS):
        added = _run_tleap(_ready_script(solvent, buffer, ions), work)
        if added >= needed:
            return
        buffer += 0.5 * repeat * ((needed / max(added, 1)) ** (1 / 3) - 1) + 0.02
    raise ParameterError(
        f"tleap put {added} molecules of {solvent.name} around the solute where {needed} are needed"
    )


def _ready_script(solvent: Solvent, buffer: float, ions: dict[str, int]) -> list[str]:
    script = ["source leaprc.gaff2", *solvent.leap_setup]
    if ions and not any("leaprc.water" in line for line in solvent.leap_setup):
        script += _ION_SETUP
    script += [
        f"loadAmberParams {SOLUTE_RESIDUE}.frcmod",
        f"solute = loadMol2 {SOLUTE_RESIDUE}.mol2",
        f"solvateOct solute {solvent.leap_box} {buffer:.3f} iso",
    ]
    counts = " ".join(f"{ion} {count}" for ion, count in ions.items())
    if counts:
        script.append(f"addIonsRand solute {counts} {_ION_SEPARATION}")
    return [*script, "saveAmberParm solute system.prmtop system.inpcrd", "quit"]


def _packed_box(
    force_field: ForceField,
    medium: Medium,
    repeat: float,
    solute_charge: int,
    work: Path,
    seed: int,
) -> None:
    volume = repeat**3
    total = _PACKING_MARGIN * volume / medium.molecular_volume
    edge = _LOOSENESS * repeat
    script = ["source leaprc.gaff2", "source leaprc.water.tip3p"]
    structures = [_packmol_structure("solute.pdb", 1, edge, fixed=True)]
    (work / "solute.pdb").write_text(_pdb(force_field.mol2, SOLUTE_RESIDUE))
    names = [SOLUTE_RESIDUE]
    for number, (solvent, share) in enumerate(medium.components):
        residue = "WAT" if solvent.name == "water" else f"S{number:02d}"
        if residue == "WAT":
            (work / "WAT.pdb").write_text(_WATER_PDB)
        else:
            its = _solvent_force_field(solvent.smiles)
            renamed = its.mol2.replace(f" {SOLUTE_RESIDUE}", f" {residue}")
            (work / f"{residue}.mol2").write_text(renamed)
            (work / f"{residue}.frcmod").write_text(its.frcmod)
            (work / f"{residue}.pdb").write_text(_pdb(renamed, residue))
            names.append(residue)
        structures.append(_packmol_structure(f"{residue}.pdb", math.ceil(share * total), edge))
    for ion, count in _ions_of(medium, volume, solute_charge).items():
        (work / f"{ion}.pdb").write_text(_pdb_line(1, ion, ion, 0.0, 0.0, 0.0) + "END\n")
        structures.append(_packmol_structure(f"{ion}.pdb", count, edge))
    _run_packmol(structures, edge, work, seed)
    for name in names:
        script += [f"loadAmberParams {name}.frcmod", f"{name} = loadMol2 {name}.mol2"]
    script += [
        "system = loadPdb packed.pdb",
        f"set system box {{ {edge:.4f} {edge:.4f} {edge:.4f} }}",
        "saveAmberParm system system.prmtop system.inpcrd",
        "quit",
    ]
    _run_tleap(script, work)


def _ions_of(medium: Medium, volume: float, solute_charge: int) -> dict[str, int]:
    if medium.salt is None:
        return {}
    cations, anions = medium.salt.counts(volume, solute_charge)
    counts = {medium.salt.cation: cations, medium.salt.anion: anions}
    return {ion: count for ion, count in counts.items() if count}


def _run_tleap(script: list[str], work: Path) -> int:
    """Write the box and return the number of solvent molecules that tleap added to it."""
    (work / "leap.in").write_text("\n".join(script) + "\n")
    (work / "system.prmtop").unlink(missing_ok=True)
    output = run_program("tleap", ["-f", "leap.in"], work, makes="system.prmtop")
    added = re.search(r"Added (\d+) residues", output)
    return int(added.group(1)) if added else 0


def _run_packmol(structures: list[str], edge: float, work: Path, seed: int) -> None:
    head = [
        f"tolerance {_PACKING_DISTANCE}",
        "filetype pdb",
        "output packed.pdb",
        f"seed {seed}",
        f"pbc 0.0 0.0 0.0 {edge:.4f} {edge:.4f} {edge:.4f}",
        "add_amber_ter",
    ]
    (work / "pack.inp").write_text("\n".join([*head, *structures]) + "\n")
    run_program("packmol", ["-i", "pack.inp"], work, makes="packed.pdb")


def _packmol_structure(file: str, count: int, edge: float, fixed: bool = False) -> str:
    middle = edge / 2
    where = (
        f"center\n  fixed {middle:.4f} {middle:.4f} {middle:.4f} 0. 0. 0."
        if fixed
        else f"inside box 0. 0. 0. {edge:.4f} {edge:.4f} {edge:.4f}"
    )
    return f"structure {file}\n  number {count}\n  {where}\nend structure"


@lru_cache(maxsize=16)
def _solvent_force_field(smiles: str) -> ForceField:
    return parameterise(read_solute(smiles))


def _pdb(mol2: str, residue: str) -> str:
    """The atoms of a mol2 file as PDB: what Packmol copies and tleap reads again."""
    block = re.split(r"@<TRIPOS>ATOM\n|@<TRIPOS>BOND", mol2)[1]
    rows = [line.split() for line in block.splitlines() if line.strip()]
    lines = [
        _pdb_line(number, row[1], residue, *(float(x) for x in row[2:5]))
        for number, row in enumerate(rows, start=1)
    ]
    return "".join(lines) + "END\n"


def _pdb_line(number: int, atom: str, residue: str, x: float, y: float, z: float) -> str:
    return (
        f"HETATM{number:5d} {atom:<4s} {residue:<3s}  {1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        "  1.00  0.00\n"
    )


_WATER_PDB = (
    _pdb_line(1, "O", "WAT", 0.0, 0.0, 0.0)
    + _pdb_line(2, "H1", "WAT", 0.957, 0.0, 0.0)
    + _pdb_line(3, "H2", "WAT", -0.240, 0.927, 0.0)
    + "END\n"
)
