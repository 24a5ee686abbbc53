"""The theme prints each page's title a second time, for paper, as raw HTML: a title is text there, too."""

from __future__ import annotations

from html import escape
from typing import Any


def process(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "pagetitle" in context:
        context["pagetitle"] = escape(context["pagetitle"], quote=False)


def setup(app: Any) -> dict[str, bool]:
    app.connect("html-page-context", process, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
