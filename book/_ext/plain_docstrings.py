"""Sphinx extension: read docstrings as the plain text they are.

The docstrings of p2p are written for people: `name` is code, *word* is stressed, and `|A|`, `2 * x` or
`x_` mean what they say. Sphinx would take these marks for reStructuredText, so they are escaped, and single
backquotes become code. Roles (:func:`f`), double backquotes, directive blocks (`.. math::`), `>>>` examples
and literal blocks after `::` are left alone.
"""

from __future__ import annotations

import re
from typing import Any

SPAN = re.compile(r"(:[\w:+.-]+:`[^`]+`|``.+?``|`[^`]+`_{0,2}|(?<![\w*])\*[^\s*](?:[^*]*[^\s*])?\*(?![\w*]))")
MARKS = re.compile(r"(?<!\\)([*|])|(?<=\w)(_)(?![\w*|])")
INITIAL = re.compile(r"(?<=: )([A-Z])\.(?=$|\s)")  # "classes: K." is no list with the item K
BULLET = re.compile(r"\s*([*+-]|\d+\.)\s+")


def escape(line: str) -> str:
    """Escape the marks of one line of prose; `code` becomes ``code``."""
    bullet = BULLET.match(line)
    head, body = (bullet[0], line[bullet.end() :]) if bullet else ("", line)
    pieces = SPAN.split(body)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pieces[i] = INITIAL.sub(r"\1\\.", MARKS.sub(lambda m: "\\" + m[0], piece))
        elif piece.startswith("`") and not piece.startswith("``"):
            pieces[i] = f"`{piece.rstrip('_')}`"
    return head + "".join(pieces)


def plain(lines: list[str]) -> list[str]:
    """Escape a docstring, leaving the indented blocks under a directive, a `::` or a `>>>` as they are."""
    out: list[str] = []
    block: int | None = None  # indentation of the line that opened a block
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is not None or not line.strip() or line.lstrip().startswith(">>>"):
            out.append(line)
            continue
        if line.lstrip().startswith(".. ") or line.rstrip().endswith("::"):
            block = indent
            out.append(line)
            continue
        out.append(escape(line))
    return out


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, whose only docstring is Python's own."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
