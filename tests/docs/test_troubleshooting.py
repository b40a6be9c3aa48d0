"""The page of error messages quotes messages that exist, and leaves no kind of error out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

PAGE = (ROOT / "scripts" / "docs" / "howto" / "troubleshooting.md").read_text(encoding="utf-8")
SOURCES = [path for name in ("eqmm_ase", "datagen") for path in (ROOT / name).rglob("*.py")]
QUOTE = re.compile(r"\*\*(`.+?`)\*\*", re.DOTALL)
WITHOUT_A_MESSAGE = {"UntraceableError"}
"""Raised and caught inside."""


def parts(quote: str) -> list[str]:
    """What is fixed in a quoted message: the text between names and numbers."""
    words = " ".join(quote.strip("`").split()).replace("` … `", "…")
    return [part for part in (part.strip() for part in words.split("…")) if len(part) > 2]


def quotes() -> list[str]:
    return [found for line in re.split(r"\n(?=- )", PAGE) for found in QUOTE.findall(line)]


@cache
def texts(path: Path) -> str:
    """All texts of a source, with `…` in the place of what is filled in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            pieces = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
            found.append("".join(pieces))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return "\n".join(found)


def is_told(quote: str) -> bool:
    """Whether one source has all fixed parts of a quoted message."""
    wanted = parts(quote)
    return bool(wanted) and any(all(part in texts(path) for part in wanted) for path in SOURCES)


def test_there_are_messages_for_every_thing_a_user_does() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(sections) >= 10
    for section in sections:
        assert len(QUOTE.findall(section)) >= 3, section.splitlines()[0]


@pytest.mark.parametrize("quote", quotes())
def test_a_quoted_message_is_in_the_sources(quote: str) -> None:
    assert is_told(quote), parts(quote)


def test_a_message_that_nobody_tells_is_noticed() -> None:
    assert not is_told("`the model knows … but was given … and likes it`")
    assert not is_told("`…`")


def test_every_kind_of_error_is_on_the_page() -> None:
    kinds = {
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and re.fullmatch(r"[A-Z]\w+(Error|Warning)", node.name)
    }
    assert {kind for kind in kinds if f"`{kind}`" not in PAGE} == WITHOUT_A_MESSAGE
