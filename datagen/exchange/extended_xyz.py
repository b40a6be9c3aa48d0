"""Extended XYZ with the keys that MACE and FieldMACE read; Å, eV, e, V throughout.

A frame is the QM region as atoms. Its energy is `REF_energy`. Its forces are `REF_forces` twice:
a column for MACE, and an entry of the comment line for FieldMACE, which looks for everything there:
`mm_charges`, `mm_positions`, `REF_mm_forces`. What else is known has names of the same kind, one
entry or column a charge scheme. Entries carry all digits, columns eight decimals.

Texts and method are one entry, `eqmm`. ASE writes it as JSON, but reads quotation marks inside its
strings wrongly: those are percent-encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import iread, write
from numpy.typing import NDArray

from datagen.errors import ExchangeError
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.charge_and_spin import State, states_of
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.frame import Frame
from eqmm_ase.point_charges import EMBEDDING
from eqmm_ase.reference_data import ReferenceData

_ENTRIES = {
    "energy": "REF_energy",
    "energy_vacuum": "REF_energy_vacuum",
    "dipole": "REF_dipole",
    "mm_charges": "mm_charges",
    "mm_positions": "mm_positions",
    "mm_forces": "REF_mm_forces",
    "mm_potential": "REF_mm_potential",
    "total_charge": "total_charge",
    "spin_multiplicity": "spin_multiplicity",
}
_FORCES = "REF_forces"
_SHAPES = {
    "mm_charges": (-1,),
    "mm_positions": (-1, 3),
    "mm_forces": (-1, 3),
    "mm_potential": (-1,),
    "dipole": (3,),
}
"""A list of one number is read as a number, and an empty one has no columns."""

_BY_SCHEME = {"charges": "charges_", "atomic_dipoles": "atomic_dipoles_"}
_RMS = "potential_rms_"
_TEXTS = ("medium", "source", "frame_id")
_ENCODED = {"%": "%25", '"': "%22", "\\": "%5C"}


def write_extended_xyz(data: ReferenceData, target: Path, charge_scheme: str | None) -> None:
    """Write all frames of a dataset; `charge_scheme` is the one that `REF_charges` repeats."""
    from eqmm_ase.dataset import choose_charge_scheme  # brings torch

    frames = data.load()
    scheme = choose_charge_scheme(frames, charge_scheme)
    with atomic_path(target) as temporary:
        images = [atoms_with_labels(frame, data.method, scheme) for frame in frames]
        write(temporary, images, format="extxyz")


def read_extended_xyz(
    source: Path, *, total_charge: int | None = None, spin_multiplicity: int | None = None
) -> tuple[list[Frame], dict[str, Any] | None]:
    """Frames of a file with these keys, and the method of all, None where the file has none.

    Charge and spin are read under the names of other programs, too (`eqmm_ase.charge_and_spin`);
    given ones are those of all frames.

    Raises
    ------
    ExchangeError
        When it cannot be read, or frames have different methods.
    StateError
        When charge and spin contradict each other, the given ones, the electrons or the charges of
        the atoms.
    """
    images = _read(source)
    states = states_of(
        images,
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
        name=str(source),
        options=("--charge", "--multiplicity"),
        by_charges=True,
    )
    methods = [_decoded(atoms.info.get("eqmm", {})).get("method") for atoms in images]
    if any(method != methods[0] for method in methods):
        raise ExchangeError(f"{source} holds frames of different methods; expected one")
    frames = [frame_of_atoms(*pair) for pair in zip(images, states, strict=True)]
    return frames, methods[0] if methods else None


def atoms_with_labels(
    frame: Frame, method: Mapping[str, Any], charge_scheme: str | None = None
) -> Atoms:
    """The QM region as ASE atoms, with charges around it, labels and texts as entries."""
    atoms = Atoms(numbers=frame.atomic_numbers, positions=frame.qm_positions, cell=frame.cell)
    entries = {key: getattr(frame, name) for name, key in _ENTRIES.items()}
    # An empty list is no valid entry; without it there are no charges.
    atoms.info = {k: v for k, v in entries.items() if v is not None and np.shape(v) != (0,)}
    atoms.info["eqmm"] = _encoded(
        {"method": dict(method), **{name: getattr(frame, name) for name in _TEXTS}}
    )
    if frame.medium:
        atoms.info["config_type"] = frame.medium.replace(" ", "_")  # MACE weights by it
    if frame.qm_forces is not None:
        atoms.info[_FORCES] = np.asarray(frame.qm_forces)
        atoms.set_array(_FORCES, np.asarray(frame.qm_forces))
    for group, prefix in _BY_SCHEME.items():
        for scheme, values in getattr(frame, group).items():
            atoms.set_array(prefix + scheme, np.asarray(values))
    for scheme, value in frame.potential_rms.items():
        atoms.info[_RMS + scheme] = value
    if charge_scheme is not None and charge_scheme in frame.charges:
        atoms.set_array("REF_charges", np.asarray(frame.charges[charge_scheme]))
    return atoms


def frame_of_atoms(atoms: Atoms, state: State) -> Frame:
    """The frame that `atoms_with_labels` made atoms of, in the state that they say."""
    if (label := atoms.info.get(EMBEDDING)) and "mm_charges" not in atoms.info:
        raise ExchangeError(
            f"a frame was computed in {label}, which the file does not hold; expected mm_charges "
            "and mm_positions beside its labels"
        )
    values: dict[str, Any] = {}
    for name, key in _ENTRIES.items():
        if (value := atoms.info.get(key)) is not None:
            shape = _SHAPES.get(name)
            values[name] = np.asarray(value, float).reshape(shape) if shape else value
    values |= state._asdict()
    forces = _forces(atoms)
    if atoms.cell.any():
        values["cell"] = np.asarray(atoms.cell)
    for group, prefix in _BY_SCHEME.items():
        values[group] = {
            key.removeprefix(prefix): np.asarray(column, float)
            for key, column in atoms.arrays.items()
            if key.startswith(prefix)
        }
    rms = {k.removeprefix(_RMS): float(v) for k, v in atoms.info.items() if k.startswith(_RMS)}
    texts = _decoded(atoms.info.get("eqmm", {}))
    values |= {name: str(texts[name]) for name in _TEXTS if name in texts}
    return Frame(
        atomic_numbers=atoms.numbers,
        qm_positions=atoms.positions,
        qm_forces=forces,
        potential_rms=rms,
        **values,
    )


def _forces(atoms: Atoms) -> NDArray[np.floating] | None:
    """Of the entry, which has all digits, or else of the column."""
    for forces in (atoms.info.get(_FORCES), atoms.arrays.get(_FORCES)):
        if forces is not None and np.size(forces) == 3 * len(atoms):
            return np.asarray(forces, float).reshape(-1, 3)
    return None


def _read(source: Path) -> list[Atoms]:
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    try:
        images: Iterable[Atoms] = iread(source, index=":", format="extxyz")
        return list(images)
    # ASE's reader fails in many ways on a damaged file.
    except Exception as error:
        raise ExchangeError(
            f"{source} cannot be read as extended XYZ ({short_reason(error)})"
        ) from error


def _encoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encoded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_encoded(entry) for entry in value]
    if isinstance(value, str):
        return "".join(_ENCODED.get(letter, letter) for letter in value)
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(entry) for key, entry in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_decoded(entry) for entry in value]
    if isinstance(value, str):
        for letter, code in reversed(_ENCODED.items()):
            value = value.replace(code, letter)
    return value
