"""The `eqmm-dataset` format, version 1: which arrays a file holds.

F frames lie end to end without padding; frame f owns the rows ``qm_ptr[f]:qm_ptr[f+1]`` of every
per-atom array and ``mm_ptr[f]:mm_ptr[f+1]`` of every per-charge array. Files, exchange formats and
checks all go by the table `FIELDS`: what stands there is written, read and compared everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from eqmm_ase.data.quantities import QUANTITIES, Rows

FORMAT = "eqmm-dataset"
VERSION = 1
UNITS = {"length": "angstrom", "energy": "eV", "charge": "e", "potential": "V"}
POINTERS = ("qm_ptr", "mm_ptr")

Kind = Literal["real", "double", "integer", "text"]

KIND_NAMES: Mapping[Kind, str] = {
    "real": "float32 or float64",
    "double": "float64",
    "integer": "integers",
    "text": "strings",
}


class DatasetError(ValueError):
    """A dataset file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Field:
    """One array of the file: what its rows are, the shape of a row, and its kind of number."""

    rows: Rows
    item: tuple[int, ...] = ()
    kind: Kind = "real"
    required: bool = False
    label: bool = False
    """Computed by the method; None in a frame where it is not known."""
    optional: bool = False
    """No label, but may be unknown as well; left out of a file in which no frame has it."""
    limits: tuple[int, int] | None = None
    """Smallest and largest integer that makes sense."""

    @property
    def may_be_unknown(self) -> bool:
        """Whether a frame may lack it: NaN in a file, in integers `UNKNOWN_INTEGER`."""
        return self.label or self.optional


UNKNOWN_INTEGER = -(2**63)
"""Stands in all rows of a frame that lacks an optional array of integers."""


def _label(name: str) -> Field:
    quantity = QUANTITIES[name]
    # A float32 total energy of a few thousand eV is off by 0.005 kcal/mol and more.
    kind: Kind = "double" if quantity.total_energy else "real"
    return Field(quantity.rows, quantity.item, kind, label=True)


FIELDS: Mapping[str, Field] = {
    "atomic_numbers": Field("qm", kind="integer", required=True, limits=(1, 118)),
    "qm_positions": Field("qm", (3,), required=True),
    "mm_positions": Field("mm", (3,), required=True),
    "mm_charges": Field("mm", required=True),
    "total_charge": Field("frame", kind="integer", required=True, limits=(-1000, 1000)),
    "spin_multiplicity": Field("frame", kind="integer", required=True, limits=(1, 1000)),
    "energy": _label("energy"),
    "energy_vacuum": _label("energy"),
    **{name: _label(name) for name, quantity in QUANTITIES.items() if not quantity.by_scheme},
    "cell": Field("frame", (3, 3), optional=True),
    "medium": Field("frame", kind="text"),
    "source": Field("frame", kind="text"),
    "frame_id": Field("frame", kind="text"),
    # Only where charges were altered at the cut or covalent bonds were cut; see
    # eqmm_ase.data.boundary.
    "mm_charges_original": Field("mm", optional=True),
    "boundary": Field("frame", kind="text", optional=True),
    "switch_radii": Field("frame", (2,), optional=True),
    # Rows of the topology file that frames were cut from; see eqmm_ase.data.atom_map.
    "topology": Field("frame", kind="text", optional=True),
    "qm_atom_indices": Field("qm", kind="integer", optional=True),
    "mm_atom_indices": Field("mm", kind="integer", optional=True),
    "mm_residue_indices": Field("mm", kind="integer", optional=True),
}
GROUPS: Mapping[str, Field | None] = {
    **{name: _label(name) for name, quantity in QUANTITIES.items() if quantity.by_scheme},
    "atomic_dipoles": Field("qm", (3,), label=True),
    "potential_rms": Field("frame", label=True),
    "baseline": None,
}
"""Labels by charge scheme, as `charges/<scheme>`: charges in e, the dipoles in e·Å of atoms that
divide space among them, and in V the RMS error that charges fitted to the potential left at the
points of the fit. And `baseline/<label>`: the `BASELINE` labels by the cheaper method that the
file's `method` names under "baseline", each of the shape of the label of its name."""

BASELINE = tuple(name for name, quantity in QUANTITIES.items() if quantity.of_difference)
"""Labels that a cheaper method may give as well: the energy and its derivatives."""


def field_of(name: str) -> Field:
    """Describe one array by its name in the file.

    Raises
    ------
    DatasetError
        When the format has no such array.
    """
    group, _, member = name.partition("/")
    if group not in GROUPS:
        if name in FIELDS:
            return FIELDS[name]
    elif (own := GROUPS[group]) is None:
        if member in BASELINE:
            return FIELDS[member]
    elif member and not {"/", "\0"} & set(member) and set(member) != {"."}:
        return own
    raise DatasetError(f"the format {FORMAT} has no array {name!r}")
