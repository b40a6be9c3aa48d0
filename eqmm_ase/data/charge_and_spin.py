"""Total charge and spin multiplicity of ASE atoms, whoever wrote them.

ASE has no place for either, so that every program has found its own. Keys of ``atoms.info``, in any
case:

| key | means | written by |
|---|---|---|
| ``total_charge``, ``charge``, ``tot_charge``, ``net_charge``, ``chrg`` | total charge, e | EqMM, \
MACE; fairchem, MACE-POLAR, SO3LR, most others |
| ``spin_multiplicity``, ``multiplicity``, ``mult`` | 2S + 1 | EqMM; SO3LR, autodE, ORCA's input |
| ``uhf``, ``unpaired_electrons``, ``num_unpaired_electrons``, ``n_unpaired`` | 2S | xtb, mlff |
| ``spin``, ``total_spin`` | 2S + 1, also 2S or S | fairchem and OMol25, MACE; others |

Atomic arrays say it by their sums: ASE's initial charges, and initial magnetic moments (2S), which
tblite and xtb take when they are given nothing else. They may be a force field's charges or a first
guess of moments: where their sum is no whole number, a key is believed.

``spin`` is 2S + 1 where that fits the number of electrons of all images of a file, as OMol25 and
MACE define it. Where it does not, 2S or S is taken if just one of them fits. Whatever is left, and
sources that contradict each other, are refused: a wrong charge shows in no other way.

Sources: FAIRChemCalculator (docstring of ``fairchem.core.calculate.ase_calculator``: ``spin``
corresponds to the spin multiplicity); MACE (``mace.tools.default_keys``: ``total_charge``,
``total_spin``; docs/guide/polar_mace.rst: ``charge``, ``spin``, with 1 for closed shells); tblite
(``tblite.ase``, ``_charge`` and ``_uhf``); xtb's documentation of .CHRG and .UHF;
SO3LR's authors, in its tracker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from eqmm_ase.data.checks import electron_count

_CHARGE = ("total_charge", "charge", "tot_charge", "net_charge", "chrg")
_MULTIPLICITY = ("spin_multiplicity", "multiplicity", "mult")
_UNPAIRED = ("uhf", "unpaired_electrons", "num_unpaired_electrons", "n_unpaired")
_SPIN = ("spin", "total_spin")
STATE_KEYS = _CHARGE + _MULTIPLICITY + _UNPAIRED + _SPIN
"""All keys of ``atoms.info`` that say a charge or a spin, in small letters."""

_KIND = dict.fromkeys(_CHARGE, "charge") | dict.fromkeys(_MULTIPLICITY, "multiplicity")
_KIND |= dict.fromkeys(_UNPAIRED, "unpaired") | dict.fromkeys(_SPIN, "spin")
_ORDER = {key: place for place, key in enumerate(STATE_KEYS)}

_READINGS: dict[str, Callable[[float], float]] = {
    "2S + 1": lambda spin: spin,
    "2S": lambda spin: spin + 1,
    "S": lambda spin: 2 * spin + 1,
}
_MOST_S = 2
"""A whole number beyond it is hardly S, of a septet, but 2S or 2S + 1."""

_WHOLE = 0.05
"""Sums of rounded atomic charges, e, and moments come this near to the integer that they mean."""


class StateError(ValueError):
    """What says charge or spin contradicts itself or cannot be understood; one sentence."""


class State(NamedTuple):
    """Of a QM region."""

    total_charge: int
    spin_multiplicity: int


class _Found(NamedTuple):
    value: float
    words: str  # where it was found, for people


def total_charge_of(atoms: Atoms) -> int | None:
    """What the atoms say of their total charge in e; None where nothing does.

    Raises
    ------
    StateError
        When two sources differ, or one is no whole number; names them.
    """
    found = _charge(atoms)
    return None if found is None else int(found.value)


def spin_multiplicity_of(atoms: Atoms, total_charge: int) -> int | None:
    """What the atoms say of their spin multiplicity 2S + 1; None where nothing does.

    Parameters
    ----------
    atoms
        The QM region.
    total_charge
        Its charge in e: the parity of the number of electrons tells 2S + 1 from 2S.

    Raises
    ------
    StateError
        When two sources differ, or one fits no or several meanings; names them.
    """
    found = _multiplicity(atoms, total_charge, _readings([atoms], [total_charge]))
    return None if found is None else int(found.value)


def states_of(
    images: Sequence[Atoms],
    *,
    total_charge: int | None = None,
    spin_multiplicity: int | None = None,
    name: str = "the atoms",
    options: tuple[str, str] = ("total_charge", "spin_multiplicity"),
    by_charges: bool = False,
) -> list[State]:
    """Charge and multiplicity of each image of a file.

    Parameters
    ----------
    images
        Of one file, which means the same by ``spin`` in all of them.
    total_charge, spin_multiplicity
        What the user says of all images. None: what the file says, or else 0 and 1.
    name
        Of the file, for errors.
    options
        How the user says it, for errors.
    by_charges
        Whether computed charges of the atoms (``charges`` of a calculator, and columns
        ``REF_charges`` or ``charges_mbis``) must add up to the total charge.

    Returns
    -------
    list of State
        One an image.

    Raises
    ------
    StateError
        When the file contradicts itself or the user, or the number of electrons both; the sentence
        names the file, the image, what was found, and the options.
    """

    def place(number: int) -> str:
        return f"{name}, image {number}" if len(images) > 1 else name

    charges = []
    for number, atoms in enumerate(images):
        try:
            found = _charge(atoms, whole=total_charge is None)
            charges.append(_chosen(found, total_charge, 0, options[0]))
            if by_charges:
                _compare_charges(atoms, charges[-1], options[0])
        except StateError as error:
            raise StateError(f"{place(number)}: {error}") from error
    try:
        readings = _readings(images, charges)
    except StateError as error:
        raise StateError(f"{name}: {error}") from error
    states = []
    for number, (atoms, charge) in enumerate(zip(images, charges, strict=True)):
        try:
            found = _multiplicity(atoms, charge, readings, given=spin_multiplicity)
            spin = _chosen(found, spin_multiplicity, 1, options[1])
            electron_count(atoms.numbers, charge, spin, options)
        except ValueError as error:
            raise StateError(f"{place(number)}: {error}") from error
        states.append(State(charge, spin))
    return states


def set_state(atoms: Atoms, state: State) -> None:
    """Write a state into ``atoms.info``, in place of all other keys that say one."""
    for key in [key for key in atoms.info if isinstance(key, str) and key.lower() in _KIND]:
        del atoms.info[key]
    atoms.info.update(state._asdict())


def _compare_charges(atoms: Atoms, total_charge: int, option: str) -> None:
    results = getattr(atoms.calc, "results", {})
    columns = {"charges": results["charges"]} if "charges" in results else {}
    names = [name for name in atoms.arrays if name.startswith(("charges", "REF_charges"))]
    columns |= {name: atoms.arrays[name] for name in names}
    for name, column in columns.items():
        total = float(np.sum(column))
        if np.ndim(column) == 1 and _is_whole(total) and round(total) != total_charge:
            raise StateError(
                f"the sum {total:+.3f} of the atoms' {name} contradicts a total charge of "
                f"{total_charge:+d}; set {option}"
            )


def _chosen(found: _Found | None, given: int | None, default: int, option: str) -> int:
    if given is None:
        return default if found is None else int(found.value)
    if found is not None and found.value != given:
        raise StateError(f"{found.words} contradicts {option} {given}; expected one value")
    return given


def _charge(atoms: Atoms, *, whole: bool = True) -> _Found | None:
    """The charge and where it was found; charges of parts are an error if it must be `whole`."""
    keys = [_rounded(found) for found in _scan(atoms.info).get("charge", ())]
    _agree(keys)
    array = _sum_of(atoms, "initial_charges", "initial charges")
    if array is None:
        return keys[0] if keys else None
    if not _is_whole(array.value):
        if keys or not whole:
            return keys[0] if keys else None
        raise StateError(f"{array.words}, no whole number: they do not say the total charge")
    array = _Found(round(array.value), array.words)
    _agree([*keys, array])
    return keys[0] if keys else array


def _multiplicity(
    atoms: Atoms, charge: int, readings: set[str], *, given: int | None = None
) -> _Found | None:
    """The multiplicity and where it was found; what leaves it open is no error if it is given."""
    scanned = _scan(atoms.info)
    keys = [_rounded(found) for found in scanned.get("multiplicity", ())]
    unpaired = [_rounded(found) for found in scanned.get("unpaired", ())]
    keys += [_Found(found.value + 1, found.words) for found in unpaired]
    _agree(keys)
    for spin in scanned.get("spin", ()):
        meant = {_READINGS[reading](spin.value) for reading in readings}
        if not keys:
            keys.append(_Found(_only(spin, meant, readings, given), spin.words))
        elif keys[0].value not in meant:
            raise StateError(f"{keys[0].words} contradicts {spin.words}; expected one spin")
    moments = _sum_of(atoms, "initial_magmoms", "initial magnetic moments")
    if moments is None:
        return keys[0] if keys else None
    multiplicity = abs(round(moments.value)) + 1
    if keys or given is not None:
        if keys and _is_whole(moments.value):
            _agree([*keys, _Found(multiplicity, moments.words)])
        return keys[0] if keys else None
    if not _is_whole(moments.value) or (_electrons(atoms, charge) - multiplicity) % 2 == 0:
        raise StateError(
            f"{moments.words}, which {_electrons(atoms, charge)} electrons (total charge "
            f"{charge:+d}) cannot have: say the spin multiplicity, or remove the moments"
        )
    return _Found(multiplicity, moments.words)


def _readings(images: Sequence[Atoms], charges: Sequence[int]) -> set[str]:
    """What ``spin`` may mean, given the electrons of all images."""
    readings = set(_READINGS)
    for atoms, charge in zip(images, charges, strict=True):
        for spin in _scan(atoms.info).get("spin", ()):
            readings &= _possible(spin, atoms, charge)
            if not readings:
                raise StateError(
                    f"{spin.words} fits {_electrons(atoms, charge)} electrons (total charge "
                    f"{charge:+d}) neither as 2S + 1 nor as 2S or S"
                    + (" of all images" if len(images) > 1 else "")
                )
    return readings


def _possible(spin: _Found, atoms: Atoms, charge: int) -> set[str]:
    electrons = _electrons(atoms, charge)
    return {
        reading
        for reading, multiplicity in ((r, convert(spin.value)) for r, convert in _READINGS.items())
        if multiplicity == int(multiplicity)
        and not (reading == "S" and spin.value > _MOST_S and spin.value == int(spin.value))
        and 1 <= multiplicity <= electrons + 1
        and (electrons - multiplicity) % 2
    }


def _only(spin: _Found, meant: set[float], readings: set[str], given: int | None) -> float:
    if "2S + 1" in readings:
        return spin.value
    if given in meant:
        return given
    if len(meant) > 1:
        raise StateError(
            f"{spin.words} does not fit as 2S + 1, and may be {' or '.join(sorted(readings))}; "
            "give the spin multiplicity"
        )
    return meant.pop()


def _scan(info: Mapping[Any, Any]) -> Mapping[str, list[_Found]]:
    """Values of all known keys, by kind, in the order of the table above."""
    items = tuple(
        [
            (key, value, type(value))
            for key, value in info.items()
            if key in _KIND or (isinstance(key, str) and key.lower() in _KIND)
        ]
    )
    if not items:
        return {}
    try:
        return _by_kind(items)  # asked several times at every step of dynamics
    except TypeError:  # arrays cannot be remembered
        return _by_kind.__wrapped__(items)


@lru_cache(maxsize=64)
def _by_kind(items: tuple[tuple[str, Any, type], ...]) -> Mapping[str, list[_Found]]:
    scanned: dict[str, list[_Found]] = {}
    for key, value, _ in sorted(items, key=lambda item: _ORDER[item[0].lower()]):
        if value is not None:
            scanned.setdefault(_KIND[key.lower()], []).append(_number(key, value))
    return scanned


def _number(key: str, value: Any) -> _Found:
    words = f"{key}={value}"
    try:
        number = math.nan if isinstance(value, bool) else float(np.asarray(value).item())
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise StateError(f"{words} is not a number")
    return _Found(number, words)


def _rounded(found: _Found) -> _Found:
    if abs(found.value - round(found.value)) > 1e-6:
        raise StateError(f"{found.words} is not a whole number")
    return _Found(round(found.value), found.words)


def _agree(found: Sequence[_Found]) -> None:
    for other in found[1:]:
        if other.value != found[0].value:
            raise StateError(f"{found[0].words} contradicts {other.words}; expected one value")


def _sum_of(atoms: Atoms, name: str, words: str) -> _Found | None:
    """Sum of an atomic array; None where it is missing, zero throughout, or of vectors."""
    array = atoms.arrays.get(name)
    if array is None or array.ndim != 1 or not array.any():
        return None
    total = float(array.sum())
    return _Found(total, f"the sum {total:+.3f} of the {words}")


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) <= _WHOLE


def _electrons(atoms: Atoms, total_charge: int) -> int:
    return int(atoms.numbers.sum()) - total_charge
