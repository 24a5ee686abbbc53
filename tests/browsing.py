"""What the browser tests share: the drawn book, Chromium, and a page that notices what goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BOOK = Path(__file__).parents[1] / "book" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
EVERY = [(width, scheme) for width in WIDTHS for scheme in SCHEMES]

OFF = ("label-content-name-mismatch",)  # rules that axe leaves out unless it is asked


@contextmanager
def watched(browser: Any, width: int, scheme: str, home: str = "", **options: Any) -> Iterator[Any]:
    """A page that collects in `page.faults` errors, files that are not there and requests to the network.

    Args:
        browser: Chromium.
        width: Of the window, pixels.
        scheme: "light" or "dark".
        home: What addresses on a server of the test's own begin with; requests to them are none to the network.
        options: Of the browser's context.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    opened, faults = context.new_page(), list[str]()

    def asked(sent: Any) -> None:
        if sent.url.startswith(("http:", "https:", "ws:")) and not (home and sent.url.startswith(home)):
            faults.append(sent.url)

    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("requestfailed", lambda sent: faults.append(sent.url))
    opened.on("request", asked)
    opened.faults = faults
    yield opened
    context.close()


def unfit(page: Any, name: str, contrast: bool = False) -> list[str]:
    """What a reader trips over in a page: wider than the window, or a serious finding of axe.

    Args:
        page: Of the browser.
        name: What to call it.
        contrast: Look at the contrast of letters alone, where the page has been looked at in the other colours.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    found = [f"{name}: {wide} px wider than the window"] if wide > 1 else []
    # axe would ask for style sheets in a way that no file: page may
    options: dict[str, Any] = {"preload": False, "rules": {rule: {"enabled": True} for rule in OFF}}
    if contrast:
        options = {"preload": False, "runOnly": ["color-contrast"]}
    for fault in axe.run(page, options=options).response["violations"]:
        if fault["impact"] in ("serious", "critical"):
            found.append(f"{name}: {fault['id']} ({len(fault['nodes'])}), {fault['nodes'][0]['html'][:160]}")
    return found
