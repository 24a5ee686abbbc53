"""The drawn book as a browser shows it: accessible, complete without a network, found by search, whole on a phone.

Needs Chromium and a drawn book (`make study` or `make book`); `.ci/run` calls it after both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from browsing import BOOK, CHROMIUM, WIDTHS, unfit, watched

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not (BOOK / "index.html").is_file(), reason="needs the drawn book: make book"),
]


# The theme is dark, and no colour is on its way any more.
DARK = """document.documentElement.dataset.theme === "dark"
    && !document.getAnimations().some((one) => one instanceof CSSTransition)"""


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
        page.wait_for_function(DARK)
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


@pytest.mark.parametrize("page", [(390, "dark")], indirect=True, ids=str)
def test_on_a_phone_the_first_figures_fit_and_what_does_not_fades(page: Any) -> None:
    page.goto(address("index.html"))
    page.wait_for_load_state("networkidle")
    shown = page.locator("picture img").evaluate_all("all => all.map(one => [one.currentSrc, one.naturalWidth > 0])")
    assert [(src.rpartition("/")[2], drawn) for src, drawn in shown] == [
        ("one-image-compact.svg", True),
        ("forest-compact.svg", True),
    ]
    figures = page.locator("figure:has(picture)")
    assert not any(figures.evaluate_all("all => all.map(one => one.classList.contains('more-right'))"))
    page.goto(address("accuracy.html"))
    page.wait_for_load_state("networkidle")
    wide = page.locator("figure:has(img.lines), figure.lines").first
    assert wide.evaluate("one => getComputedStyle(one).maskImage").startswith("linear-gradient(to left")
    wide.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    page.wait_for_function("one => !one.classList.contains('more-right')", arg=wide.element_handle())
    assert wide.evaluate("one => getComputedStyle(one).maskImage").startswith("linear-gradient(to right")


def test_a_wide_table_takes_the_room_beside_the_column(page: Any) -> None:
    page.goto(address("handed.html"))
    page.wait_for_load_state("networkidle")
    table, contents = page.locator(".full-width").first, page.locator(".bd-sidebar-secondary")
    place = table.bounding_box()
    column = page.locator("article.bd-article").bounding_box()
    assert column["width"] < place["width"] and place["x"] + place["width"] <= 1280
    table.evaluate("one => one.scrollIntoView()")
    page.wait_for_function("one => getComputedStyle(one).opacity === '0'", arg=contents.element_handle())


def test_pages_print_as_one_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BOOK.parents[1])
    html, names = tmp_path / "_build" / "html", ("index", "summary", "limits")
    html.mkdir(parents=True)
    for one in BOOK.iterdir():
        if one.suffix != ".html" or one.stem in names:
            (html / one.name).symlink_to(one)
    out = import_module("pdf").write_pdf(tmp_path)
    sheets = len(re.findall(rb"/Type\s*/Page\b", out.read_bytes()))
    assert len(names) <= sheets <= 3 * len(names), f"{len(names)} pages of the book take {sheets} sheets"
    assert out.name == "proto2proto.pdf" and not (html / "print.html").exists()


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
