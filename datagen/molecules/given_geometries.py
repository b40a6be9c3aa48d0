"""Geometries that the user gives, as a QM region: charge and spin, and missing hydrogens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from datagen.molecules.valences import refuse_missing_hydrogens
from eqmm_ase.data.charge_and_spin import State, StateError, spin_multiplicity_of, states_of
from eqmm_ase.data.checks import qm_positions

OPTIONS = ("total_charge (--charge)", "spin_multiplicity (--multiplicity)")
"""How charge and spin are said, for errors."""


class GeometriesError(ValueError):
    """The geometries are not those of one molecule in one state."""


def common_state(
    geometries: Sequence[Atoms],
    *,
    name: str = "the geometries",
    total_charge: int | None = None,
    spin_multiplicity: int | None = None,
    open_valences: bool = False,
) -> State:
    """Total charge and spin multiplicity of geometries of one molecule.

    Parameters
    ----------
    geometries
        At least one.
    name
        Of their file, for errors.
    total_charge, spin_multiplicity
        What the user says; None leaves it to the geometries, else 0 and 1.
    open_valences
        Whether atoms may lack bonds: clusters, cut-outs of a solid.

    Raises
    ------
    StateError
        When charge and spin contradict each other (`eqmm_ase.data.charge_and_spin`).
    MissingHydrogensError
        When hydrogens are missing.
    GeometriesError
        When there is more than one molecule or state, or atoms lie on each other.
    """
    first = geometries[0]
    for number, atoms in enumerate(geometries):
        if not np.array_equal(atoms.numbers, first.numbers):
            raise GeometriesError(
                f"{name}: geometry {number} is {atoms.get_chemical_formula()} or in another order "
                f"than the first, {first.get_chemical_formula()}; expected one molecule"
            )
        try:
            qm_positions(atoms.positions)
        except ValueError as error:
            raise GeometriesError(f"{name}, geometry {number}: {error}") from error
    try:
        states = states_of(
            geometries,
            total_charge=total_charge,
            spin_multiplicity=spin_multiplicity,
            name=name,
            options=OPTIONS,
        )
    except StateError:
        if not open_valences:  # an odd number of electrons is what missing hydrogens leave, too
            _refuse(geometries, name, State(total_charge or 0, 2), is_said=True)
        raise
    state = states[0]
    if any(other != state for other in states):
        raise GeometriesError(
            f"{name}: geometries differ in total charge or spin multiplicity; expected one state"
        )
    is_said = spin_multiplicity is not None or (
        spin_multiplicity_of(first, state.total_charge) is not None
    )
    if not open_valences:
        _refuse(geometries, name, state, is_said)
    return state


def _refuse(geometries: Sequence[Atoms], name: str, state: State, is_said: bool) -> None:
    refuse_missing_hydrogens(
        geometries[0].numbers,
        [atoms.positions for atoms in geometries],
        name=name,
        total_charge=state.total_charge,
        spin_multiplicity=state.spin_multiplicity if is_said else None,
        atom_names=atom_names(geometries[0]),
    )


def atom_names(atoms: Atoms) -> list[str] | None:
    """Names with residues as in a PDB file, ``CB (SER 3)``; None where there are none."""
    columns = [atoms.arrays.get(key) for key in ("atomtypes", "residuenames", "residuenumbers")]
    if any(column is None for column in columns):
        return None
    return [f"{a} ({b} {c})" for a, b, c in zip(*columns, strict=True)]
