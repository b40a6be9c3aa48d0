"""Options of a command, made from the dataclass of settings that they fill.

A setting is written once: name, type, default and meaning of its option are those of the field.

    name                ``grid_level`` → ``--grid-level``, unless the command calls it otherwise
    bool                a flag, or ``--name/--no-name`` where the default is true
    Literal             a choice
    tuple[float, ...]   an option that may be given several times
    tuple[str, ...]     one option, its values separated by commas
    tuple[float, float] two values
    no default          a required option
    meaning             the text below the field; what follows ``None:`` at its end is shown as the
                        default
    metadata            of the field: its ``choices``, or the ``metavar`` that stands for its value
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from eqmm_ase.settings_help import field_help

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

_DEFAULT_IN_TEXT = re.compile(r"[;,.]? *None: *(?P<default>.+?)\.?$")


def setting_options(
    settings: type,
    *,
    names: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> Callable[[Command], Command]:
    """Decorator of a click command: an option for each field of a dataclass.

    The command gets the values under the names of the fields; `settings_from` turns them back into
    the dataclass.

    Parameters
    ----------
    settings
        A dataclass of settings with a text below each field.
    names
        Field → option, where it is called otherwise: ``{"n_frames": "--frames"}``.
    defaults
        Field → value, where the default of the command is another than that of the field.
    texts
        Field → help, where the text below the field cannot say it (a list of what is installed).
    without
        Fields that get no option.
    """
    names, defaults, texts = names or {}, defaults or {}, texts or {}
    kinds, meanings = get_type_hints(settings), field_help(settings)
    chosen = [item for item in fields(settings) if item.name not in without]
    options = [
        _option(
            item.name,
            names.get(item.name, "--" + item.name.replace("_", "-")),
            kinds[item.name],
            defaults.get(item.name, _default(item)),
            texts.get(item.name, meanings.get(item.name, "")),
            item.metadata,
        )
        for item in chosen
    ]

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def settings_from(settings: type[T], options: dict[str, Any], **others: Any) -> T:
    """Take the values of a dataclass out of the options of a command.

    Parameters
    ----------
    settings
        The dataclass that `setting_options` was given.
    options
        Parameter → value; those of the dataclass are taken out of it.
    others
        Fields that have no option.

    Returns
    -------
    The dataclass; it raises what its own checks raise.
    """
    own = {item.name for item in fields(settings)} & options.keys()  # type: ignore[arg-type]
    return settings(**{name: options.pop(name) for name in sorted(own)}, **others)


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _option(
    field: str, name: str, kind: Any, default: Any, text: str, more: Mapping[str, Any]
) -> Callable[[Any], Any]:
    kind = _without_none(kind)
    told: dict[str, Any] = {"help": text.replace("``", "`"), "metavar": more.get("metavar")}
    typed = _typed(kind, default)
    if "choices" in more:
        typed["type"] = click.Choice(list(more["choices"]))
    if default is MISSING:
        told["required"] = True
    elif default is None:
        told["help"] = _DEFAULT_IN_TEXT.sub(r".  [default: \g<default>]", told["help"])
    elif default is not False:
        told["default"] = default
    return click.option(*_declared(name, kind, default), field, **told | typed)


def _declared(name: str, kind: Any, default: Any) -> tuple[str, ...]:
    if kind is bool and default is True:
        return (f"{name}/--no-{name.removeprefix('--')}",)
    return (name,)


def _typed(kind: Any, default: Any) -> dict[str, Any]:
    """What click is told about the type of a setting."""
    if kind is bool:
        return {} if default is True else {"is_flag": True}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind))}
    if get_origin(kind) is not tuple:
        return {"type": kind}
    first, *rest = get_args(kind)
    if rest != [...]:
        return {"type": first, "nargs": 1 + len(rest)}
    if first is not str:
        return {"type": first, "multiple": True}
    return {"default": ",".join(default or ()), "callback": _split}


def _split(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _without_none(kind: Any) -> Any:
    """The type of a setting that may also be None."""
    others = [each for each in get_args(kind) if each is not NoneType]
    return others[0] if NoneType in get_args(kind) and len(others) == 1 else kind
