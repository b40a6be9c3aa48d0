"""Messages of other libraries, short enough to stand behind a sentence of ours."""

from __future__ import annotations

import re

_LONGEST = 160
_LINK = re.compile(r"\s*(?:see|at|from|in|visit)?:?\s*<?https?://\S+", re.IGNORECASE)
_LIST = re.compile(r"[\[({](?:[^\[\](){}]*,){5,}[^\[\](){}]*[\])}]")


def short_reason(error: BaseException) -> str:
    """What an exception of another library says, in one clause.

    Its first line that says something, without links, long lists and closing marks, and no longer
    than a line; the exception's type where it says nothing.
    """
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    for line in text.splitlines():
        clause = _clause(line)
        if clause:
            break
    else:
        return type(error).__name__
    if isinstance(error, KeyError | IndexError | StopIteration | AssertionError):
        return f"{type(error).__name__}: {clause}"
    return clause


def _clause(line: str) -> str:
    line = _LIST.sub("…", _LINK.sub("", line))
    line = re.split(r"(?<=[^.\s]{2})[.!?](?:\s|$)", line.strip(), maxsplit=1)[0]
    line = " ".join(line.split()).strip(" .;:,-*=~")
    if len(line) <= _LONGEST:
        return line
    return line[:_LONGEST].rsplit(" ", 1)[0].rstrip(" .;:,") + " …"
