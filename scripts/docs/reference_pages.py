"""Sphinx extension: puts what the code says of itself into the reference pages.

A line ``<!-- settings: MODULE.CLASS -->`` of a page becomes a list of the settings of that
dataclass with type, default, meaning and unit; a line ``<!-- names: PACKAGE -->`` becomes the
documentation of all that the package offers. Settings and names are so written down once, in the
code, and the pages cannot say anything else.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ase.calculators.calculator import Calculator
from docutils import nodes
from sphinx.application import Sphinx

from eqmm_ase.settings_help import field_help

_OPTION = re.compile(r"(?<![\w`-])--[a-z][\w-]*")
_ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
_PACKAGES = ("eqmm_ase", "datagen")
_MARK = re.compile(r"^<!-- (settings|names): ([\w.]+) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    app.connect("source-read", _fill)
    app.connect("sphinx-click-process-description", _tidy)
    app.connect("sphinx-click-process-options", _tidy)
    app.connect("object-description-transform", _plain_aliases, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def _tidy(_app: Sphinx, _context: Any, lines: list[str]) -> None:
    """Show options in the help of commands as code, and lines of examples as they stand."""
    examples = [line.startswith("| ") for line in lines]
    tidy = []
    for line, example, before in zip(lines, examples, [False, *examples], strict=False):
        if example:
            tidy += [] if before else ["::", ""]
            tidy.append(f"    {line[2:]}")
        elif line.startswith(".. "):
            tidy.append(line)
        else:
            tidy.append(_OPTION.sub(r"``\g<0>``", line))
    lines[:] = tidy


def _plain_aliases(_app: Sphinx, _domain: str, _kind: str, content: nodes.Element) -> None:
    """Write ``ArrayLike | None`` where Sphinx writes the object that stands for the alias."""
    for text in list(content.findall(nodes.Text)):
        if (plain := _ALIAS.sub(r"\1", text)) != text:
            text.parent.replace(text, nodes.Text(plain))


def filled(page: str) -> str:
    """A Markdown page with the text that its marks stand for."""
    return _MARK.sub(lambda mark: _WRITERS[mark[1]](mark[2]), page)


def settings(name: str) -> str:
    """The settings of a dataclass in Markdown, sections within as headings.

    Parameters
    ----------
    name
        Of the class, with its module: ``eqmm_ase.training.config.TrainConfig``.
    """
    module, _, attribute = name.rpartition(".")
    return "\n".join(_settings(getattr(import_module(module), attribute)(), "")) + "\n"


def _settings(given: Any, prefix: str) -> Iterator[str]:
    """Definition lists, of plain settings first; sections have a heading each."""
    texts = field_help(type(given))
    items = [(item, getattr(given, item.name)) for item in dataclasses.fields(given)]
    for item, value in items:
        if not dataclasses.is_dataclass(value):
            yield f"`{prefix}{item.name}`"
            yield f": *{item.type}, default `{_spoken(value)}`.* {texts.get(item.name, '')}"
            yield ""
    for item, value in items:
        if dataclasses.is_dataclass(value):
            yield f"### `{prefix}{item.name}`"
            yield ""
            yield (type(value).__doc__ or "").partition("\n")[0]
            yield ""
            yield from _settings(value, f"{prefix}{item.name}.")


def _spoken(value: Any) -> str:
    """A default as YAML writes it, since that is where users set it."""
    words = {None: "null", True: "true", False: "false", "": '""', (): "[]"}
    if isinstance(value, str | bool | tuple | None) and value in words:
        return words[value]
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value}"


def names(package: str) -> str:
    """What a package offers, in the order of the table in its docstring, for autodoc."""
    module = import_module(package)
    order = re.findall(r"^(\w+) {2,}\w", module.__doc__ or "", re.MULTILINE)
    return "\n".join(_entry(package, name, getattr(module, name)) for name in order)


def _entry(package: str, name: str, thing: Any) -> str:
    if isinstance(thing, types.ModuleType):
        directive, options = f"automodule:: {thing.__name__}", ["members:"]
    elif inspect.isclass(thing) and issubclass(thing, BaseException):
        directive, options = f"autoexception:: {package}.{name}", []
    elif inspect.isclass(thing):
        directive, options = f"autoclass:: {package}.{name}", list(_choice(thing))
    else:
        directive, options = f"autofunction:: {package}.{name}", []
    lines = [f".. {directive}", *(f"   :{option}" for option in options)]
    return "\n".join(["```{eval-rst}", *lines, "```", ""])


def _choice(thing: type) -> Iterator[str]:
    """Options of autodoc: what to say of the members of a class."""
    if issubclass(thing, Calculator):  # what ASE says of its own is in ASE's documentation
        yield from [f"members: {', '.join(own)}"] if (own := _own(thing)) else []
        return
    yield "members:"
    if "\nAttributes\n" in (thing.__doc__ or ""):  # lists its fields already
        yield f"exclude-members: {', '.join(item.name for item in dataclasses.fields(thing))}"


def _own(calculator: type[Calculator]) -> list[str]:
    """Public methods and properties that a calculator adds to those of ASE and to public ones."""
    known = set(dir(Calculator))
    names: dict[str, None] = {}
    for cls in calculator.__mro__:
        package = cls.__module__.partition(".")[0]
        if package in _PACKAGES:
            if cls is not calculator and cls.__name__ in import_module(package).__all__:
                known.update(dir(cls))
            names.update(dict.fromkeys(vars(cls)))
    return [name for name in names if not name.startswith("_") and name not in known]


_WRITERS = {"settings": settings, "names": names}
