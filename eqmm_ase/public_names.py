"""Names that a package offers and imports on first use, so that importing it costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_first_use(
    package: str, home: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package with an ``__all__`` (PEP 562).

    Parameters
    ----------
    package
        Its ``__name__``.
    home
        The module that defines each public name.
    """

    def get(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("eqmm")
        if name in home:
            return getattr(import_module(home[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*home, *sys.modules[package].__all__, "__version__"})

    return get, names
