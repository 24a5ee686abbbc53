"""What the theme and jupyter-book put on every page, put right.

The theme prints each page's title a second time, for paper, as raw HTML: a title is text there, too. Thebe, which runs
code on a server, is loaded even where it is off, and complains in the browser: it is left out. An equation that is
wider than a phone scrolls, and can be reached by the keyboard to do so.
"""

from __future__ import annotations

import re
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

EQUATIONS = """\
window.addEventListener("load", () => window.MathJax?.startup?.promise?.then(() => {
  for (const one of document.querySelectorAll('mjx-container[display="true"]')) one.tabIndex = 0;
}));"""
THEBE = re.compile(r'<script type="text/x-thebe-config">.*?</script>', re.S)


def process(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "pagetitle" in context:
        context["pagetitle"] = escape(context["pagetitle"], quote=False)
    if "body" in context:
        context["body"] = THEBE.sub("", context["body"])
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if not _thebe(file)]


def _thebe(file: Any) -> bool:
    texts = (str(getattr(file, "filename", "") or file), str(getattr(file, "attributes", "")))
    return any("thebe" in text.lower() for text in texts)


def prepare(app: Any) -> None:
    """Let pages be read side by side, and load once what all readers of the API pages would load."""
    for extension in app.extensions.values():  # two of jupyter-book's say nothing, and touch no page as it is read
        for safe in ("parallel_read_safe", "parallel_write_safe"):
            if getattr(extension, safe, None) is None:
                setattr(extension, safe, True)
    if (Path(app.srcdir) / "api").is_dir():
        import_module("p2p.figures.explain")


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", prepare)
    app.add_js_file(None, body=EQUATIONS)
    app.connect("html-page-context", process, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
