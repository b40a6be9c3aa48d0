"""Datasets in the formats of other programs; one format a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from datagen.datasets.ase_database import read_ase_database, write_ase_database
from datagen.datasets.extended_xyz import read_extended_xyz, write_extended_xyz
from datagen.datasets.imported import Imported
from datagen.datasets.numpy_archive import read_numpy_archive, write_numpy_archive
from datagen.errors import ExchangeError
from eqmm_ase.files.dataset_file import ReferenceData

Writer = Callable[[ReferenceData, Path, "str | None"], None]
Reader = Callable[..., Imported]

WRITERS: Mapping[str, Writer] = MappingProxyType(
    {
        ".extxyz": write_extended_xyz,
        ".xyz": write_extended_xyz,
        ".db": write_ase_database,
        ".npz": write_numpy_archive,
    }
)
READERS: Mapping[str, Reader] = MappingProxyType(
    {".db": read_ase_database, ".npz": read_numpy_archive}
)
"""Suffixes of what is no extended XYZ."""


def export(source: Path, target: Path, charge_scheme: str | None = None) -> int:
    """Write a dataset in the format that the target's suffix names.

    Parameters
    ----------
    source
        An `eqmm-dataset` file.
    target
        Replaced in one step when it exists.
    charge_scheme
        Which charges go where a format has room for one kind only; None chooses as training does.

    Returns
    -------
    Number of frames.

    Raises
    ------
    ExchangeError
        When the suffix is unknown or the charges do not exist.
    """
    if target.suffix not in WRITERS:
        raise ExchangeError(f"{target} has no suffix of {', '.join(WRITERS)}")
    with ReferenceData.open(source) as data:
        WRITERS[target.suffix](data, target, charge_scheme)
        return len(data)


def read(
    source: Path, *, total_charge: int | None = None, spin_multiplicity: int | None = None
) -> Imported:
    """Read a file that `export` wrote, or one of another program.

    Parameters
    ----------
    source
        An ASE database (.db), a NumPy archive (.npz), or else extended XYZ.
    total_charge, spin_multiplicity
        Of all frames. None: what the file says, or else 0 and 1.

    Raises
    ------
    ExchangeError, DatasetError
        When it cannot be read.
    StateError
        When what it says of charge and spin contradicts itself or what was given.
    FileNotFoundError
        When there is no such file.
    """
    reader = READERS.get(source.suffix, read_extended_xyz)
    return reader(source, total_charge=total_charge, spin_multiplicity=spin_multiplicity)
