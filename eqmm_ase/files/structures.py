"""What the command line calls a structure: a dataset frame, or any file ASE reads, and charges.

``data.h5:12`` is frame 12 of a dataset, charges included; trajectories and extended XYZ files that
EqMM wrote hold their charges too. All else is a file of geometries. MM charges may come from a text
file of rows ``q x y z`` in e and Å.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.checks import mm_positions, not_too_dense, point_charges
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.unit_checks import charges as refuse_coulomb
from eqmm_ase.data.unit_checks import surroundings
from eqmm_ase.files.geometry_files import StructureError, read_geometry
from eqmm_ase.files.stored_charges import charges_in_file, label_in_file, label_of

_DATASET_SUFFIXES = (".h5", ".hdf5")
NO_CHARGES = "none"
"""In place of a charges file: vacuum."""


@dataclass(frozen=True, eq=False)
class Structure:
    """QM atoms and the MM charges around them."""

    atoms: Atoms
    """QM atoms; charge and spin, where known, in ``atoms.info``."""
    mm_positions: FloatArray
    """Positions of the MM charges, (n_mm, 3) Å."""
    mm_charges: FloatArray
    """MM point charges, (n_mm,) e; empty in vacuum."""
    name: str
    """Where it came from, for logs."""
    cell: FloatArray | None = None
    """Lattice vectors, (3, 3) Å, of the box that the charges and their images fill, as
    `EqMM.embed` takes it; None where charges act once."""


def read_structure(
    source: str | os.PathLike[str], charges: str | os.PathLike[str] | None = None
) -> Structure:
    """Read QM atoms and their MM charges.

    Parameters
    ----------
    source
        ``data.h5:12``, ``data.h5`` with a single frame, or any file that
        `eqmm_ase.files.geometry_files` reads (its last image; ``file.xyz@3`` picks another).
    charges
        A charges file (see `read_charges`). It replaces those of `source`; ``none`` leaves them
        out: vacuum.

    Returns
    -------
    Structure
        ``atoms`` (`ase.Atoms`, Å, without calculator), ``mm_positions`` (n_mm, 3) Å, ``mm_charges``
        (n_mm,) e, ``name``, where it came from, and ``cell``, the box of the charges, or None.

    Raises
    ------
    StructureError
        When a file has another form, and when its atoms were computed in charges that it does not
        hold and `charges` does not give; the sentence names file and line.
    FileNotFoundError
        When there is no such file.
    """
    text = str(source)
    path, _, number = text.rpartition(":")
    if path.endswith(_DATASET_SUFFIXES):
        structure = _from_dataset(path, _frame_number(number, text), text)
    elif text.endswith(_DATASET_SUFFIXES):
        structure = _from_dataset(text, None, text)
    else:
        structure = _from_file(text, required=charges is None)
    if charges is None:
        return structure
    if str(charges) == NO_CHARGES:
        return Structure(structure.atoms, np.zeros((0, 3)), np.zeros(0), f"{text} alone")
    values, positions = read_charges(charges)
    return Structure(structure.atoms, positions, values, f"{text} in {charges}")


def atoms_of_frame(frame: Frame) -> Atoms:
    """QM atoms of a frame as ASE atoms, with total charge and spin multiplicity in ``info``.

    Parameters
    ----------
    frame
        Labels and MM charges are left out; `read_structure` keeps the charges.

    Returns
    -------
    ase.Atoms
        Å, without calculator.
    """
    info = {
        "total_charge": int(frame.total_charge),
        "spin_multiplicity": int(frame.spin_multiplicity),
    }
    return Atoms(
        numbers=frame.atomic_numbers,
        positions=np.asarray(frame.qm_positions, np.float64),
        info=info,
    )


def read_charges(path: str | os.PathLike[str]) -> tuple[FloatArray, FloatArray]:
    """Read a text file of MM charges.

    Rows ``q x y z`` in e and Å; blank lines and everything after ``#`` are skipped. As in an XYZ
    file, a first line with the number of charges and a comment line below it may stand on top.

    Returns
    -------
    charges
        (n_mm,), e.
    positions
        (n_mm, 3), Å.

    Raises
    ------
    StructureError
        When a line is not four numbers, the count is wrong, or numbers look like another unit.
    FileNotFoundError
        When there is no such file.
    """
    name = str(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no charges file {name}")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise StructureError(f"{name} is not a text file of charges 'q x y z'") from error
    expected, start = _xyz_head(lines)
    rows = [
        _row(words, name, number)
        for number, line in enumerate(lines[start:], start + 1)
        if (words := line.partition("#")[0].split())
    ]
    if expected is not None and expected != len(rows):
        raise StructureError(f"{name} announces {expected} charges in line 1 but has {len(rows)}")
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    try:
        charges, positions = point_charges(table[:, 0]), mm_positions(table[:, 1:], len(table))
        refuse_coulomb(charges)
        not_too_dense(positions)
        surroundings(charges, positions)
    except ValueError as error:
        raise StructureError(f"{name}: {error}") from error
    return charges, positions


def _xyz_head(lines: list[str]) -> tuple[int | None, int]:
    words = lines[0].split() if lines else []
    if len(words) == 1 and words[0].isdecimal():
        return int(words[0]), 2
    return None, 0


def _row(words: list[str], name: str, number: int) -> list[float]:
    if len(words) != 4:
        raise StructureError(
            f"{name}, line {number}: expected four numbers 'q x y z', found {len(words)} words"
        )
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise StructureError(
            f"{name}, line {number}: expected four numbers 'q x y z', found {' '.join(words)!r}"
        ) from error


def _frame_number(number: str, source: str) -> int:
    try:
        return int(number)
    except ValueError as error:
        raise StructureError(f"{source!r} must name a frame by number, as in data.h5:12") from error


def _from_dataset(path: str, index: int | None, name: str) -> Structure:
    # h5py takes a while to import and is not needed for any other structure.
    from eqmm_ase.files.dataset_file import ReferenceData

    with ReferenceData.open(path) as data:
        if index is None and len(data) != 1:
            raise StructureError(
                f"{path} holds {len(data)} frames; name one, as in {path}:{min(12, len(data) - 1)}"
                if len(data)
                else f"{path} holds no frames"
            )
        index = index or 0
        if not -len(data) <= index < len(data):
            raise StructureError(f"{path} has {len(data)} frames; there is no frame {index}")
        frame: Frame = data[index]
    return Structure(
        atoms_of_frame(frame),
        np.asarray(frame.mm_positions, np.float64),
        np.asarray(frame.mm_charges, np.float64),
        name,
    )


def _from_file(name: str, required: bool) -> Structure:
    """Atoms of any file, and the charges that it holds."""
    atoms = read_geometry(name)
    path = name if Path(name).is_file() else name.partition("@")[0]
    label, held = label_in_file(path, atoms), charges_in_file(path, atoms)
    if not required or (held is None and not label):
        return Structure(atoms, np.zeros((0, 3)), np.zeros(0), name)
    if held is None or (label and label_of(*held) != label):
        lacking = (
            "does not hold" if held is None else f"lacks (it holds {len(held.charges)} others)"
        )
        raise StructureError(
            f"the atoms of {name} were computed in {label}, which the file {lacking}: "
            f"give them in a file of rows 'q x y z', or {NO_CHARGES!r} for vacuum (--charges)"
        )
    try:
        charges = point_charges(held.charges)
        positions = mm_positions(held.positions, len(charges))
    except ValueError as error:
        raise StructureError(f"{name}: {error}") from error
    return Structure(atoms, positions, charges, name, held.cell)
