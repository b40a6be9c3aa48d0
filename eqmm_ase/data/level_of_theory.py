"""Which level of theory labels are of, and whether two records of a method mean the same one.

A dataset says in its `method` how labels were made, in entries (``functional``, ``basis``,
``dispersion``) or in one text (``level``, as ``B3LYP-D3(BJ)/6-31G(d)``). Spellings of one thing are
brought together, different things never: what is not known to be the same is different.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAMES = {
    "xc": "functional",
    "basis_set": "basis",
    "disp": "dispersion",
    "dispersion_correction": "dispersion",
    "level_of_theory": "level",
    "code": "program",
    "software": "program",
    "cart": "cartesian",
    "pseudopotential": "ecp",
    "solvation": "solvent",
}
LEVEL_ENTRIES = ("functional", "basis", "dispersion", "level", "program")
"""What names a level. One name does not mean the same in every program: B3LYP has two correlation
functionals, 6-31G* five or six d functions. So programs must agree where both are known."""

_PHYSICS = (
    *("ecp", "cartesian", "spherical", "solvent", "relativity", "relativistic", "frozen_core"),
    *("restricted", "unrestricted", "reference", "spin", "nlc", "radii", "charge_radii"),
    *("method", "theory", "model", "embedding"),
)
"""Entries that others may use for what changes energies as much as a basis set does."""

_ORDER = (*LEVEL_ENTRIES, *_PHYSICS)
_ABSENT = (None, False, "", "none", "no", "false")
_ASIDE = ("versions", "charges", "vacuum_energy", "sampling", "exploration", "baseline")
"""What says nothing about a level: which labels there are, how geometries were made."""

_PARAMETRISED_WITH_DISPERSION = ("wb97", "b97")
"""Functionals whose ``-d3`` or ``-d3bj`` names another functional, not only a correction."""

_DISPERSION = re.compile(r"-(g?d[234].*)$")
_POLARISATION = ((re.compile(r"\(d\)$"), "*"), (re.compile(r"\(d,p\)$"), "**"))


def level_of(method: Mapping[str, Any]) -> dict[str, str]:
    """The level of theory of a `method`, in one spelling; empty where it does not say.

    Entries that state the usual (no dispersion, no solvent, spherical functions) are left out.
    """
    entries = {name: value for name, value in _entries(method).items() if value not in _ABSENT}
    level: dict[str, str] = {}
    if "level" in entries:
        level = _parsed(str(entries.pop("level")))
    for name in _ORDER:
        if name in entries:
            level[name] = _spelling(name, entries[name])
    functional, _, correction = level.get("functional", "").partition("-")
    if correction and "dispersion" not in level and not _is_parametrised(functional):
        level |= {"functional": functional, "dispersion": correction}
    return level


def different_level(method: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Say how two levels of theory differ; an empty text when they agree.

    Returns
    -------
    str
        To follow "labelled with", as ``basis 'sto-3g' and not '6-31g*'``.
    """
    own, other = level_of(method), level_of(expected)
    if bool(named(own)) != bool(named(other)):
        return f"{spoken(method)} and not {spoken(expected)}"
    for name in sorted(own.keys() | other.keys(), key=_ORDER.index):
        one_unknown = name == "program" and (name not in own or name not in other)
        if own.get(name) != other.get(name) and not one_unknown:
            given, wanted = _entries(method), _entries(expected)
            if name != "program" and "level" in given | wanted:
                return f"{spoken(method)} and not {spoken(expected)}"
            return f"{name} {given.get(name)!r} and not {wanted.get(name)!r}"
    cheap, other_cheap = method.get("baseline"), expected.get("baseline")
    found = different_level(cheap, other_cheap) if cheap and other_cheap else ""
    return f"the baseline {spoken(cheap)}, of {found}" if cheap and found else ""


def different_settings(method: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Entries of both that are no level but shift energies a little, or that nobody here knows.

    Returns
    -------
    str
        As ``grid_level 3 and 5``; empty when there is none.
    """
    own, other = _entries(method), _entries(expected)
    names = (own.keys() & other.keys()) - {*_ORDER, *_ASIDE}
    return ", ".join(
        f"{name} {own[name]!r} and {other[name]!r}"
        for name in sorted(names)
        if own[name] != other[name]
    )


def method_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """The method that the card of a model names, as a dataset would say it."""
    baseline = card.get("baseline")
    return {**card.get("method", {}), **({} if baseline is None else {"baseline": baseline})}


def named(level: Mapping[str, str]) -> bool:
    """Whether a level says more than the program."""
    return bool(level.keys() - {"program"})


def spoken(method: Mapping[str, Any]) -> str:
    """A level of theory in a few characters: ``hf/sto-3g``, ``b3lyp-d3bj/6-31+g*``."""
    entries = _entries(method)
    if entries.get("level"):
        return str(entries["level"])
    functional, dispersion = entries.get("functional"), entries.get("dispersion")
    if functional and dispersion:
        functional = f"{functional}-{dispersion}"
    parts = [str(part) for part in (functional, entries.get("basis")) if part]
    return "/".join(parts) or "an unnamed method"


def _entries(method: Mapping[str, Any]) -> dict[str, Any]:
    """Entries by the names that are used here."""
    found = {}
    for name, value in method.items():
        plain = str(name).strip().lower().replace("-", "_").replace(" ", "_")
        found[_NAMES.get(plain, plain)] = value
    if found.get("spherical") in (False, "false", "no"):
        found |= {"spherical": None, "cartesian": True}
    elif found.get("spherical") in (True, "true", "yes"):
        found["spherical"] = None
    return found


def _parsed(text: str) -> dict[str, str]:
    """A level from one text: functional/basis where it is just that, else the text as it stands."""
    functional, _, basis = text.partition("/")
    if not basis or "/" in basis or not functional.strip() or not basis.strip():
        return {"level": " ".join(text.lower().split())}
    return {
        "functional": _spelling("functional", functional),
        "basis": _spelling("basis", basis),
    }


def _spelling(name: str, value: Any) -> str:
    text = str(value).strip().lower()
    if name == "functional":
        return _functional(text)
    if name == "basis":
        return _basis(text)
    if name == "dispersion":
        return _dispersion(text)
    return " ".join(text.split())


def _functional(text: str) -> str:
    """``B3LYP D3(BJ)`` → ``b3lyp-d3bj``; blanks, lines and Greek letters do not matter."""
    text = re.sub(r"[\s_]+", "-", text.replace("ω", "w"))
    correction = _DISPERSION.search(text)
    name = text[: correction.start()] if correction else text
    name = {"pbe1pbe": "pbe0"}.get(name.replace("-", ""), name.replace("-", ""))
    return f"{name}-{_dispersion(correction[1])}" if correction else name


def _dispersion(text: str) -> str:
    """``GD3BJ``, ``D3(BJ)``, ``d3-bj`` → ``d3bj``; ``d3(0)`` → ``d3zero``."""
    plain = re.sub(r"[\s_()-]+", "", text).removeprefix("g")
    return {"d30": "d3zero"}.get(plain, plain)


def _basis(text: str) -> str:
    """``6-31G(d)`` → ``631g*``; hyphens count in brackets only, as in ``def2-TZVP(-f)``."""
    text = re.sub(r"\s+", "", text)
    for pattern, stars in _POLARISATION:
        if re.match(r"6-?31", text):
            text = pattern.sub(stars, text)
    head, bracket, tail = text.partition("(")
    return head.replace("-", "").replace("_", "") + bracket + tail


def _is_parametrised(functional: str) -> bool:
    return functional.startswith(_PARAMETRISED_WITH_DISPERSION)
