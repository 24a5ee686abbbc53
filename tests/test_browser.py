"""The drawn book as a browser shows it: accessible, complete without a network, found by search, whole on a phone.

Needs Chromium and a drawn book (`make study` or `make book`); `.ci/run` calls it after both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import BOOK, CHROMIUM, WIDTHS, unfit, watched

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not (BOOK / "index.html").is_file(), reason="needs the drawn book: make book"),
]


def kinds() -> list[str]:
    """All pages outside of studies and functions; of those one of each kind."""
    pages = sorted(path.name for path in BOOK.glob("*.html") if path.name != "search.html")
    pages += ["search.html?q=PMS", "api/losses.html"]
    steps = {path.name[:2] for path in BOOK.glob("studies/*/[0-9][0-9]_*.html")}
    for kind in [*sorted(f"{step}_*.html" for step in steps), "02_train-student*.html", "index.html"]:
        pages.append(min(BOOK.glob(f"studies/*/{kind}")).relative_to(BOOK).as_posix())
    return pages


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    with watched(browser, *getattr(request, "param", (1280, "light"))) as opened:
        yield opened


def address(name: str) -> str:
    file, mark, query = name.partition("?")
    return f"{(BOOK / file).as_uri()}{mark}{query}"


@pytest.mark.parametrize("page", [(width, "light") for width in WIDTHS], indirect=True, ids=str)
def test_every_kind_of_page_is_accessible_and_whole(page: Any) -> None:
    found = list[str]()
    for name in kinds():
        page.emulate_media(color_scheme="light")
        page.goto(address(name))
        page.wait_for_load_state("networkidle")
        found += unfit(page, name)
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector("html[data-theme='dark']", state="attached")
        found += unfit(page, f"{name}, dark", contrast=True)
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
