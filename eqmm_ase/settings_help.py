"""What each setting means, said once: the texts below the fields of a dataclass of settings.

Python forgets these texts. Here they are read from the source again, so that ``help(TrainConfig)``,
`eqmm train --show-config` and the code cannot say different things.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_WIDTH = 98


def with_help(settings: T) -> T:
    """Class decorator: adds every setting with its type, default and meaning to the docstring."""
    lines = list(_attributes(settings, ""))
    if lines:
        text = inspect.cleandoc(settings.__doc__ or "")
        settings.__doc__ = "\n".join([text, "", "Attributes", "----------", *lines, ""])
    return settings


def _attributes(settings: type, prefix: str) -> Iterator[str]:
    """Lines of a docstring, of sections within as ``section.key``."""
    texts = field_help(settings)
    for item in fields(settings):
        name = f"{prefix}{item.name}"
        factory = item.default_factory
        section = factory if isinstance(factory, type) else None
        if section is None and callable(factory):
            section = type(factory())
        if section is not None and is_dataclass(section):
            yield from _attributes(section, f"{name}.")
            continue
        default = "" if item.default is MISSING else f" = {item.default!r}"
        yield f"{name} : {item.type}{default}"
        start = "    "
        yield from textwrap.wrap(
            texts.get(item.name, ""), _WIDTH, initial_indent=start, subsequent_indent=start
        )


def field_help(settings: type) -> dict[str, str]:
    """Field → the text below it, on one line, or the ``meaning`` in the field's metadata.

    Empty where there is no source to read.
    """
    found = {item.name: item.metadata.get("meaning", "") for item in fields(settings)}
    try:
        source = textwrap.dedent(inspect.getsource(settings))
    except (OSError, TypeError):
        return found
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            words = _text(text)
            if words:
                found[field.target.id] = " ".join(words.split())
    return found


def commented_yaml(config: Any, defaults: Any, without: tuple[str, ...] = ()) -> str:
    """Settings as YAML in which each has its meaning, unit and default above it.

    Parameters
    ----------
    config
        Nested dataclasses of settings.
    defaults
        The same with the values that are called the defaults.
    without
        Dotted names of what is shown only where it is not the default.
    """
    return "\n".join(_lines(config, defaults, "", without)) + "\n"


def _lines(config: Any, defaults: Any, prefix: str, without: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    texts = field_help(type(config))
    for item in fields(config):
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        default = getattr(defaults, item.name)
        if name in without and value == default:
            continue
        if is_dataclass(value):
            summary = (type(value).__doc__ or "").partition("\n")[0]
            if not prefix:
                yield from _comment(summary, indent)
            yield f"{indent}{item.name}:"
            yield from _lines(value, default, f"{name}.", without)
            continue
        meaning = texts.get(item.name, "")
        yield from _comment(f"{meaning}  [default: {_scalar(default)}]".strip(), indent)
        yield f"{indent}{item.name}: {_scalar(value)}"


def _comment(text: str, indent: str) -> Iterator[str]:
    start = f"{indent}# "
    yield from textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=start)


def _scalar(value: Any) -> str:
    """A value as YAML writes it on one line."""
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _text(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else ""
    return ""
