"""Extended XYZ with the keys that MACE and FieldMACE read; Å, eV, e, V throughout.

A frame is the QM region as atoms. Its energy is `REF_energy`. Its forces are `REF_forces` twice:
a column for MACE, and an entry of the comment line for FieldMACE, which looks for everything there:
`mm_charges`, `mm_positions`, `REF_mm_forces`. Every other field of the dataset format is a column
(QM atoms) or an entry (MM sites, frame) under its own name, with `charges/mbis` as `charges_mbis`.
All numbers are written with the digits that bring them back exactly.

Texts and method are one entry, `eqmm`, as are the names of arrays that are float32 or empty. ASE
writes it as JSON, but reads quotation marks and backslashes inside its strings wrongly: everything
but plain letters is percent-encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import iread
from ase.io.extxyz import key_val_dict_to_str

from datagen.datasets.foreign_labels import Found, labels_of
from datagen.datasets.imported import Imported
from datagen.errors import ExchangeError
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.data.charge_and_spin import STATE_KEYS, State, states_of
from eqmm_ase.data.dataset_format import FIELDS, GROUPS, DatasetError, Field, field_of
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.frame_fields import frame_of_values, known_values
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.files.read_guard import read_guard
from eqmm_ase.files.stored_charges import EMBEDDING

_KEYS = {
    "energy": "REF_energy",
    "energy_vacuum": "REF_energy_vacuum",
    "dipole": "REF_dipole",
    "qm_forces": "REF_forces",
    "mm_forces": "REF_mm_forces",
    "mm_potential": "REF_mm_potential",
}
"""Read by `labels_of`, as these keys and many others."""

_ATOMS = ("atomic_numbers", "qm_positions", "cell")
_STATE = ("total_charge", "spin_multiplicity")
STATE_OPTIONS = ("--charge", "--multiplicity")
"""How a user says what files do not."""
_PLAIN = " !#$&'()*+,-./:;<=>?@^_`|~"
"""Characters besides letters and digits that come back from ASE as they were."""


def write_extended_xyz(data: ReferenceData, target: Path, charge_scheme: str | None) -> None:
    """Write all frames of a dataset; `charge_scheme` is the one that `REF_charges` repeats."""
    from eqmm_ase.data.selection import choose_charge_scheme  # brings torch

    frames = data.load()
    scheme = choose_charge_scheme(frames, charge_scheme)
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        for frame in frames:
            file.write(_written(frame, data.method, scheme))


def read_extended_xyz(
    source: Path, *, total_charge: int | None = None, spin_multiplicity: int | None = None
) -> Imported:
    """Frames of a file with these keys, or those of other programs.

    Charge and spin are read under the names of other programs, too
    (`eqmm_ase.data.charge_and_spin`); given ones are those of all frames.

    Raises
    ------
    ExchangeError, DatasetError
        When it cannot be read, frames contradict themselves or have different methods.
    StateError
        When charge and spin contradict each other, the given ones, the electrons or the charges of
        the atoms.
    FileNotFoundError
        When there is no such file.
    """
    images, found = _read(source), Found()
    methods = [_own_entry(atoms).get("method") for atoms in images]
    if any(method != methods[0] for method in methods):
        raise ExchangeError(f"{source} holds frames of different methods; expected one")
    states = states_of(
        images,
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
        name=str(source),
        options=STATE_OPTIONS,
        by_charges=True,
    )
    frames = []
    for number, (atoms, state) in enumerate(zip(images, states, strict=True)):
        where = f"{source}: frame {number}"
        with read_guard(where, ExchangeError, "frames of extended XYZ"):
            frames.append(frame_of_atoms(atoms, state, found, where))
    return Imported(frames, methods[0] if methods else None, found)


def frame_of_atoms(atoms: Atoms, state: State, found: Found, where: str) -> Frame:
    """A frame from atoms that ASE has read.

    Parameters
    ----------
    atoms
        With entries, columns and results of a calculator.
    state
        Their total charge and spin multiplicity.
    found
        Gets what was taken for labels and what was not read.
    where
        File and frame, for errors.

    Raises
    ------
    ExchangeError, DatasetError
        When it contradicts itself.
    """
    if (label := atoms.info.get(EMBEDDING)) and "mm_charges" not in atoms.info:
        raise ExchangeError(
            f"{where} was computed in {label}, which the file does not hold; expected mm_charges "
            "and mm_positions beside its labels"
        )
    texts = _own_entry(atoms)
    values: dict[str, Any] = {
        "atomic_numbers": atoms.numbers,
        "qm_positions": atoms.positions,
        "mm_positions": np.zeros((0, 3)),
        "mm_charges": np.zeros(0),
        **state._asdict(),
    }
    if atoms.cell.any():
        values["cell"] = np.array(atoms.cell)
    known = {key for key in atoms.info if str(key).lower() in STATE_KEYS} | {EMBEDDING}
    for rows, place in (("qm", atoms.arrays), ("frame", atoms.info), ("mm", atoms.info)):
        for key, value in place.items():
            if (name := _field_called(key)) and field_of(name).rows == rows:
                values[name] = _shaped(value, field_of(name), len(atoms))
                known.add(key)
    if any(name.startswith("charges/") for name in values):
        known |= {"REF_charges", "charges"}  # one of them again
    values |= labels_of(atoms, known, found, where)
    values |= {name: text for name in FIELDS if (text := texts.get(name)) is not None}
    for name in values.keys() & set(texts.get("float32", ())):
        values[name] = np.float32(values[name])
    for name in texts.get("empty", ()):
        values.setdefault(name, np.zeros((0, *field_of(name).item)))
    return frame_of_values(values, where)


def check_states(
    frames: Sequence[Frame], source: Path, total_charge: int | None, spin_multiplicity: int | None
) -> None:
    """Refuse a given charge or spin that frames, whose file says theirs, contradict.

    Raises
    ------
    StateError
        Names the frame and what it has.
    """
    state = ("total_charge", "spin_multiplicity")
    states_of(
        [Atoms(f.atomic_numbers, info={name: getattr(f, name) for name in state}) for f in frames],
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
        name=str(source),
        options=STATE_OPTIONS,
    )


def _written(frame: Frame, method: Mapping[str, Any], charge_scheme: str | None) -> str:
    """A frame as lines of the file."""
    values = known_values(frame)
    texts: dict[str, Any] = {"method": dict(method)}
    texts |= {n: values.pop(n) for n in list(values) if field_of(n).kind == "text"}
    if narrow := [n for n, v in values.items() if getattr(v, "dtype", None) == np.float32]:
        texts["float32"] = narrow
    if empty := [n for n, v in values.items() if np.size(v) == 0]:
        texts["empty"] = empty
    symbols = [chemical_symbols[int(z)] for z in values["atomic_numbers"]]
    columns: dict[str, np.ndarray] = {"pos": _wide(values["qm_positions"])}
    entries: dict[str, Any] = {}
    for name, value in values.items():
        if name in _ATOMS or np.size(value) == 0:
            continue
        is_column = field_of(name).rows == "qm"
        if is_column:
            columns[_key(name)] = _wide(value)
        if not is_column or name == "qm_forces":
            entries[_key(name)] = _wide(value)
    if charge_scheme is not None and charge_scheme in frame.charges:
        columns["REF_charges"] = _wide(frame.charges[charge_scheme])
    if frame.medium:  # MACE weights by it
        entries["config_type"] = quote(frame.medium.replace(" ", "_"), safe="_-.:;")
    entries["eqmm"] = _encoded(texts)
    return _lines(symbols, columns, entries, frame.cell)


def _lines(
    symbols: list[str], columns: Mapping[str, np.ndarray], entries: dict[str, Any], cell: Any
) -> str:
    """A frame as ASE writes it, but for the digits of its columns."""
    rows: list[list[str]] = [[symbol] for symbol in symbols]
    properties = "species:S:1"
    for key, column in columns.items():
        table = column.reshape(len(symbols), -1)
        letter = "I" if column.dtype.kind in "iu" else "R"
        properties += f":{key}:{letter}:{table.shape[1]}"
        for row, numbers in zip(rows, table.tolist(), strict=True):
            row += map(repr, numbers)
    lattice = ""
    if cell is not None:
        lattice = f'Lattice="{" ".join(map(repr, _wide(cell).ravel().tolist()))}" '
    comment = f'{lattice}Properties={properties} {key_val_dict_to_str(entries)} pbc="F F F"'
    return "\n".join([str(len(symbols)), comment, *map(" ".join, rows)]) + "\n"


def _key(name: str) -> str:
    group, _, member = name.partition("/")
    return f"{group}_{quote(member, safe='')}" if member else _KEYS.get(name, name)


def _field_called(key: str) -> str | None:
    """The field of a key of ours that is neither read by ASE, nor as a label, nor as the state."""
    if key in FIELDS and key not in (*_ATOMS, *_STATE, *_KEYS) and FIELDS[key].kind != "text":
        return key
    for group in GROUPS:
        if key.startswith(f"{group}_"):
            with suppress(DatasetError):
                name = f"{group}/{unquote(key.removeprefix(f'{group}_'))}"
                return name if field_of(name) else None
    return None


def _shaped(value: Any, field: Field, n_qm: int) -> Any:
    """A value of the shape of its field: ASE gives a list of one number as a number."""
    array = np.asarray(value, np.int64 if field.kind == "integer" else np.float64)
    if field.rows == "frame":
        return array.reshape(field.item)
    # Early versions of ASE give nine numbers as a matrix whose columns follow each other.
    order: Any = "F" if array.shape == (3, 3) and field.item == () else "C"
    return array.reshape((n_qm if field.rows == "qm" else -1, *field.item), order=order)


def _wide(value: Any) -> np.ndarray:
    """Numbers as they are printed exactly."""
    array = np.asarray(value)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)


def _own_entry(atoms: Atoms) -> dict[str, Any]:
    entry = _decoded(atoms.info.get("eqmm", {}))
    return entry if isinstance(entry, dict) else {}


def _read(source: Path) -> list[Atoms]:
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    with read_guard(str(source), ExchangeError, "extended XYZ"):
        _refuse_wrong_counts(source)
        images: Iterable[Atoms] = iread(source, index=":", format="extxyz")
        return list(images)


def _refuse_wrong_counts(source: Path) -> None:
    """ASE would look for as many lines as a damaged count says, however few there are."""
    with source.open(encoding="utf-8") as file:
        n_lines = sum(1 for _ in file)
        file.seek(0)
        while line := file.readline().strip():
            if int(line) < 1 or int(line) > n_lines:
                raise ExchangeError(
                    f"{source} has a frame of {int(line)} atoms; expected at least 1 and no more "
                    f"than its {n_lines} lines"
                )
            for _ in range(int(line) + 1):
                file.readline()


def _encoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {_encoded(str(key)): _encoded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(entry) for entry in value]
    if isinstance(value, str):
        return quote(value, safe=_PLAIN, errors="surrogatepass")
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {_decoded(key): _decoded(entry) for key, entry in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_decoded(entry) for entry in value]
    return unquote(value, errors="surrogatepass") if isinstance(value, str) else value
