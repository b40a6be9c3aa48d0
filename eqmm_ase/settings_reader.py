"""Turn plain values into frozen dataclasses of settings, refusing what does not fit by name.

Works on any dataclass whose fields are numbers, texts, tuples of them, or such dataclasses.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that cannot be used; the message is one sentence for the user."""


def build(defaults: T, values: Mapping[str, Any]) -> T:
    """Overlay a nested dataclass with nested plain values.

    Parameters
    ----------
    defaults
        An instance whose values stay where nothing else is said.
    values
        Section → key → value.

    Raises
    ------
    ConfigError
        For an unknown key (naming the nearest known one) or a wrong type.
    """
    return _build(defaults, values, "", list(_keys(defaults)))


def overlay(values: dict[str, Any], override: str) -> None:
    """Put ``section.key=value`` into nested values, in place.

    Raises
    ------
    ConfigError
        When the text is not of this form.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *sections, leaf = key.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{key} cannot be set: {section} is {inner!r}, not a section")
        values = inner
    values[leaf] = _parse(text, f"override {override!r}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Sections of a YAML file.

    Raises
    ------
    ConfigError
        When it is not YAML, or holds something else than sections.
    FileNotFoundError
        When there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file ({error.reason})") from error
    values = _parse(text, str(path))
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path} holds {values!r}; expected sections with keys and values")
    return values or {}


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from _keys(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def _build(defaults: Any, values: Any, prefix: str, known: list[str]) -> Any:
    if not isinstance(values, Mapping):
        where = f"section {prefix.rstrip('.')}" if prefix else "the configuration"
        raise ConfigError(f"{where} is {values!r}; expected keys with values")
    hints = typing.get_type_hints(type(defaults))
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise ConfigError(_unknown(name, value, known))
        if is_dataclass(hints[key]):
            chosen[key] = _build(getattr(defaults, key), value, f"{name}.", known)
        else:
            chosen[key] = _convert(value, hints[key], name)
    return replace(defaults, **chosen)


def _convert(value: Any, hint: Any, name: str) -> Any:
    """Check a plain value against a type; lists become tuples, and text a number if it is one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (a for a in arguments if a is not type(None))
        return _convert(value, hint, name)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(item, arguments[0], name) for item in items)
    if hint is float and (number := _number(value)) is not None:
        return number
    if isinstance(hint, type) and isinstance(value, hint) and _is_bool(value) == (hint is bool):
        return value
    raise ConfigError(f"setting {name} is {value!r}; expected {_spoken(hint)}")


def _number(value: Any) -> float | None:
    # YAML reads 1e-3 as text, because it wants a point in it.
    if _is_bool(value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _spoken(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(str(choice) for choice in typing.get_args(hint))
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]


def _unknown(name: str, value: Any, known: list[str]) -> str:
    # In a misspelled section, the key below it is the better clue.
    while isinstance(value, Mapping) and value:
        key, value = next(iter(value.items()))
        name = f"{name}.{key}"
    leaves = {key.rpartition(".")[2]: key for key in known}
    leaf = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if leaf in leaves:
        near = [leaves[leaf]]
    elif not near:
        near = [leaves[m] for m in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    sections = sorted({key.partition(".")[0] for key in known})
    hint = f"did you mean {near[0]}?" if near else f"the sections are {', '.join(sections)}"
    return f"unknown setting {name}; {hint}"


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} is not YAML ({reason})") from error
