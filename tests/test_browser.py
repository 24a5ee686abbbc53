"""The drawn book as a browser shows it: accessible, complete without a network, found by search, whole on a phone.

Needs Chromium and a drawn book (`make study` or `make book`); `.ci/run` calls it after both.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BOOK = Path(__file__).parents[1] / "book" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not (BOOK / "index.html").is_file(), reason="needs the drawn book: make book"),
]
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")


def kinds() -> list[str]:
    """A page of each kind: landing, prose, a question's, the archive, the search, a function's, a study's, a run's."""
    pages = ["index.html", "method.html", "worked.html", "claims.html", "handed.html", "accuracy.html", "looks.html"]
    pages += [
        "archive.html",
        "data.html",
        "install.html",
        "change.html",
        "pictures.html",
        "summary.html",
        "search.html?q=PMS",
        "api/losses.html",
    ]
    study = next(path.parent for path in sorted(BOOK.glob("studies/*/04_table.html")))
    of_study = [study / "index.html", study / "04_table.html", next(study.glob("02_train-student*.html"))]
    return pages + [path.relative_to(BOOK).as_posix() for path in of_study]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page whose errors and requests to the network are collected in `page.faults`."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened, faults = context.new_page(), list[str]()
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda sent: faults.append(sent.url) if sent.url.startswith(("http:", "https:")) else None)
    opened.faults = faults
    yield opened
    context.close()


def address(name: str) -> str:
    file, mark, query = name.partition("?")
    return f"{(BOOK / file).as_uri()}{mark}{query}"


@pytest.mark.parametrize("page", [(width, scheme) for width in WIDTHS for scheme in SCHEMES], indirect=True, ids=str)
def test_every_kind_of_page_is_accessible_and_whole(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found, options = [], {"preload": False}  # axe would ask for style sheets in a way that no file: page may
    for name in kinds():
        page.goto(address(name))
        page.wait_for_load_state("networkidle")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found += [f"{name}: {wide} px wider than the window"] if wide > 1 else []
        for fault in axe.run(page, options=options).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found.append(f"{name}: {fault['id']} ({len(fault['nodes'])}), {fault['nodes'][0]['html'][:160]}")
    assert not found and not page.faults, "\n".join([*found, *page.faults])


def test_doors_of_the_landing_page_lead_somewhere(page: Any) -> None:
    page.goto(address("index.html"))
    doors = page.locator(".sd-card a.sd-stretched-link").evaluate_all("all => all.map(one => one.href)")
    assert len(doors) == 3
    for door in doors:
        page.goto(door)
        assert page.locator("article h1").first.is_visible() and not page.faults
    page.goto(address("index.html"))
    pictures = page.locator("main figure img")
    assert pictures.count() and all(
        pictures.evaluate_all("all => all.map(one => one.complete && one.naturalWidth > 0)")
    ), "the first page has no picture"


def test_search_finds_the_metric(page: Any) -> None:
    page.goto(address("search.html?q=PMS"))
    page.wait_for_selector("ul.search li a", timeout=20_000)
    page.wait_for_function("!document.querySelector('#search-progress')?.textContent?.includes('...')")
    found = page.locator("ul.search li a").evaluate_all("all => all.map(one => one.href)")
    names = [link.rpartition("/html/")[2].partition("?")[0].partition("#")[0] for link in found]
    assert {"method.html", "glossary.html"} & set(names[:8]), names
    assert not any("02_train" in name for name in names), "run pages are in the search index"


def test_the_archive_can_be_searched_and_sorted(page: Any) -> None:
    page.goto(address("archive.html"))
    rows = page.locator("#archive-runs tbody tr:visible")
    every = rows.count()
    page.fill("#archive-search", "student")
    assert 0 < rows.count() < every
    assert all("student" in text.lower() for text in rows.all_inner_texts())
    page.fill("#archive-search", "")
    page.get_by_role("button", name="seed").click()
    seeds = rows.evaluate_all("all => all.map(row => Number(row.cells[4].textContent))")
    assert len(set(seeds)) > 1 and seeds == sorted(seeds)
    page.get_by_role("button", name="seed").click()
    assert rows.evaluate_all("all => all.map(row => Number(row.cells[4].textContent))") == sorted(seeds, reverse=True)
    assert not page.faults


def test_the_summary_prints_on_one_sheet(page: Any) -> None:
    page.goto(address("summary.html"))
    page.wait_for_load_state("networkidle")
    sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert sheets == 1, f"the page takes {sheets} sheets of A4"
