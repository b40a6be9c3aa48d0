"""Files that hold molecules, of any program: atoms, and what the file says of charge and spin.

XYZ, PDB and mol files are read here, because ASE refuses or misreads many that other programs
write; all others are read by ASE. Charge and spin end in ``atoms.info``, where
`eqmm_ase.data.charge_and_spin` finds them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from ase import Atoms
from ase.io import read
from ase.io.formats import UnknownFileTypeError, parse_filename

from eqmm_ase.files.mol_file import read_mol
from eqmm_ase.files.pdb_file import read_pdb
from eqmm_ase.files.state_in_text import state_in_program_text
from eqmm_ase.files.xyz_file import read_xyz

_READERS: dict[str, Callable[[Path], list[Atoms]]] = {
    ".xyz": read_xyz,
    ".extxyz": read_xyz,
    ".pdb": read_pdb,
    ".ent": read_pdb,
    ".sdf": read_mol,
    ".mol": read_mol,
}
_PROGRAM_TEXT = (".log", ".out", ".com", ".gjf", ".inp")


class StructureError(ValueError):
    """A structure or charges file that cannot be read; the message says where and why."""


def read_geometries(path: str | Path, index: int | slice = slice(None)) -> list[Atoms]:
    """Images of a file.

    Parameters
    ----------
    path
        Of a file.
    index
        Which of its images; all by default.

    Raises
    ------
    StructureError
        When it cannot be read or holds no atoms; the sentence names the file.
    FileNotFoundError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no structure file {path}")
    try:
        images = _images(path, index)
    except UnknownFileTypeError as error:
        raise StructureError(f"{path}: ASE does not know this kind of file ({error})") from error
    except ValueError as error:
        raise StructureError(f"{path} cannot be read as a structure: {_line(error)}") from error
    except IndexError as error:
        raise StructureError(f"{path} has no image {index}, or is damaged") from error
    # ASE's hundred readers fail in every way there is on a damaged file.
    except Exception as error:
        raise StructureError(
            f"{path} cannot be read as a structure ({type(error).__name__}: {_line(error)})"
        ) from error
    if not images or not all(isinstance(atoms, Atoms) and len(atoms) for atoms in images):
        raise StructureError(f"{path} holds no atoms")
    return images


def read_geometry(name: str) -> Atoms:
    """The last image of a file, or that behind an ``@``: ``band.xyz@3``.

    Raises
    ------
    StructureError, FileNotFoundError
        As `read_geometries`; also when there is no such image.
    """
    path, index = (name, None) if Path(name).is_file() else parse_filename(name)
    if not isinstance(index, int | None):
        raise StructureError(f"{name!r} names several images or none by number; expected one")
    return read_geometries(path, -1 if index is None else index)[0]


def _images(path: Path, index: int | slice) -> list[Atoms]:
    suffix = path.suffix.lower()
    if suffix in (".xyz", ".extxyz"):
        return read_xyz(path, index)  # trajectories: only what is asked for is parsed
    if suffix in _READERS:
        images = _READERS[suffix](path)
        return images[index] if isinstance(index, slice) else [images[index]]
    if suffix == ".db":
        return _database(path, index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE's remarks on its own defaults
        found = read(path, index=index)
    images = list(found) if isinstance(found, list) else [found]
    if suffix in _PROGRAM_TEXT:
        _tell(images, state_in_program_text(path.read_text(errors="replace")))
    return images


def _database(path: Path, index: int | slice) -> list[Atoms]:
    """Rows of an ASE database with their key–value pairs, which ASE's own reader leaves out."""
    import ase.db

    with ase.db.connect(path) as database:
        rows = list(database.select())
    chosen = rows[index] if isinstance(index, slice) else [rows[index]]
    images = []
    for row in chosen:
        atoms = row.toatoms()
        atoms.info.update(row.key_value_pairs)
        images.append(atoms)
    return images


def _tell(images: Iterable[Atoms], state: tuple[int | None, int | None]) -> None:
    for atoms in images:
        for key, value in zip(("total_charge", "spin_multiplicity"), state, strict=True):
            if value is not None:
                atoms.info.setdefault(key, value)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + " …"
