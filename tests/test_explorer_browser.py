"""The explorer as a reader uses it, in headless Chromium: chosen, filtered, linked, by keyboard, in both themes.

Needs Chromium, and the drawn book (`make book`) with a study that has data for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qsl

import pytest
from browsing import BOOK, CHROMIUM, EVERY, unfit, watched

DATA = BOOK / "studies" / "birds" / "explorer" / "data.js"
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not DATA.is_file(), reason="needs the drawn book with the drawn birds: make book"),
]


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that fails its test on an error, a file that is not there, or a request to the network."""
    with watched(browser, *getattr(request, "param", (1280, "light"))) as opened:
        yield opened
    assert not opened.faults


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    text = DATA.read_text()
    return json.loads(text.removeprefix("window.p2pExplorer(").removesuffix(");\n"))


def go(page: Any, place: str = "#study=birds") -> None:
    page.goto("about:blank")
    page.goto(f"{(BOOK / 'explorer.html').as_uri()}{place}")
    page.wait_for_selector("#explorer[data-ready]")


def title(page: Any) -> str:
    return str(page.locator('#explorer [data-part="detail"] h2').inner_text())


def choose(page: Any, **choices: str) -> None:
    for name, value in choices.items():
        page.select_option(f'#explorer select[data-part="{name}"]', value)
        page.wait_for_function("document.getElementById('explorer').dataset.ready === location.hash")


def listed(page: Any) -> list[int]:
    every = page.locator("#explorer .list a").evaluate_all("all => all.map(one => Number(one.dataset.item))")
    return [int(n) for n in every]


def painted(page: Any, place: str) -> None:
    """Wait until the first picture of a place has been drawn; pages from the disk may not ask for its pixels."""
    page.wait_for_function("place => document.querySelector(place).dataset.painted", arg=place, timeout=20_000)


def test_it_opens_with_the_first_prototype_and_its_partners(page: Any, data: dict[str, Any]) -> None:
    go(page, "")
    species = data["classes"][data["networks"]["teacher"]["own"][0]]
    assert title(page) == f"Prototype 0 of {species}" and listed(page) == list(range(40))
    cards = page.locator("#explorer .card-of")
    assert [head.split(":")[0] for head in cards.locator("h3").all_inner_texts()] == ["Teacher", "Student", "Baseline"]
    partner = data["pairs"]["baseline"]["partner"][0]
    assert cards.locator(".number").all_inner_texts() == ["no. 0", "no. 0", f"no. {partner}"]
    assert f"{round(100 * data['pairs']['student']['same'][0])}\u00a0% of all" in cards.nth(1).inner_text()
    assert page.locator("#explorer .tiles li").count() == 6
    for place in ("#explorer .list canvas", "#explorer .card-of canvas"):
        painted(page, place)


def test_choices_filter_and_order(page: Any, data: dict[str, Any]) -> None:
    go(page)
    teacher, alike = data["networks"]["teacher"], data["pairs"]["student"]["same_own"]
    choose(page, **{"class": "3"})
    mine = [j for j, k in enumerate(teacher["own"]) if k == 3]
    assert listed(page) == mine and title(page).startswith(f"Prototype {mine[0]} ")
    choose(page, order="differ")
    assert listed(page) == sorted(mine, key=lambda j: (alike[j], j))
    choose(page, **{"class": ""})
    assert [alike[j] for j in listed(page)] == sorted(alike)
    choose(page, order="", on="1")
    assert listed(page) == [j for j, q in enumerate(teacher["part"]) if q == 1]
    choose(page, view="images", **{"class": "2"})
    first = data["first_test"]
    assert listed(page)[:60] == [n for n, k in enumerate(data["labels"][first:]) if k == 2][:60]
    choose(page, order="differ", **{"class": ""})
    student = data["networks"]["student"]["predicted"]
    differ = [n for n, k in enumerate(data["networks"]["teacher"]["predicted"]) if k != student[n]]
    assert differ and set(listed(page)[: len(differ)]) == set(differ) & set(listed(page))
    assert len(set(differ) & set(listed(page))) == min(60, len(differ))
    assert "decide differently" in page.locator('#explorer [data-part="detail"]').inner_text()


def test_a_long_list_grows_when_asked(page: Any) -> None:
    go(page, "#study=birds&view=images")
    assert len(listed(page)) == 60
    page.get_by_role("button", name="60 more of").click()
    assert listed(page) == list(range(120))
    assert page.evaluate("document.activeElement.dataset.item") == "60"  # the keyboard goes on where the list does


def test_addresses_lead_to_what_they_name(page: Any, data: dict[str, Any]) -> None:
    go(page, "#study=birds&prototype=17")
    assert title(page).startswith("Prototype 17 ")
    assert page.locator("#explorer .list a[aria-current]").get_attribute("data-item") == "17"
    name = data["names"][data["first_test"] + 130]
    go(page, f"#study=birds&image={name.replace(' ', '+')}")
    assert title(page).startswith(f"Test image {name},")
    assert page.locator("#explorer .list a[aria-current]").get_attribute("data-item") == "130"
    assert listed(page) == list(range(120, 180))
    page.get_by_role("button", name="60 before").click()
    assert listed(page) == list(range(60, 180)) and page.evaluate("document.activeElement.dataset.item") == "119"
    logit = data["networks"]["student"]["sums"][130][2]
    total = page.locator("#explorer .card-of").nth(1).locator(".total").inner_text()
    assert f"{abs(logit):.2f}" in total and ("\u2212" in total.split("next")[0]) == (logit < 0)
    link = page.locator("#explorer .card-of ol a").first
    number = link.inner_text().removeprefix("no. ")
    link.click()
    page.wait_for_function("location.hash.includes('prototype=')")
    assert title(page).startswith(f"Prototype {number} ")
    page.go_back()
    page.wait_for_function("location.hash.includes('image=')")
    assert title(page).startswith(f"Test image {name},")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("#study=birds&prototype=4000", "There is no prototype “4000” here."),
        ("#study=birds&prototype=x", "There is no prototype “x” here."),
        ("#study=birds&image=<img src=x>", "There is no test image “<img src=x>” here."),
        ("#study=none", "The study “none” has no data for the explorer in this book"),
    ],
)
def test_what_is_not_there_is_said(page: Any, place: str, sentence: str) -> None:
    go(page, place)
    status = page.locator('#explorer [role="status"]')
    assert sentence in status.inner_text() and status.bounding_box()["height"] > 10


def test_the_keyboard_reaches_everything(page: Any) -> None:
    go(page)
    seen = []
    page.locator('#explorer select[data-part="study"]').focus()
    for _ in range(8):
        seen.append(page.evaluate("document.activeElement.dataset.part ?? document.activeElement.dataset.item"))
        page.keyboard.press("Tab")
    assert seen[:5] == ["study", "view", "class", "on", "order"] and {"0", "1"} <= set(seen)
    page.locator('#explorer .list a[data-item="2"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('explorer').dataset.ready.includes('prototype=2')")
    assert title(page).startswith("Prototype 2 ")
    assert page.evaluate("document.activeElement.dataset.item") == "2"
    for key, number in (("ArrowRight", 3), ("ArrowRight", 4), ("ArrowLeft", 3)):
        page.keyboard.press(key)
        page.wait_for_function(f"document.getElementById('explorer').dataset.ready.includes('prototype={number}')")
        assert title(page).startswith(f"Prototype {number} ")
        assert page.evaluate("document.activeElement.dataset.item") == str(number)
    said = page.locator('#explorer [role="status"]').text_content()
    assert said.startswith("Prototype 3 of")
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('explorer').dataset.ready.includes('prototype=4')")
    assert "Next" in page.evaluate("document.activeElement.textContent")


@pytest.mark.parametrize("page", EVERY, indirect=True, ids=str)
def test_both_views_are_accessible_and_whole(page: Any) -> None:
    found = list[str]()
    for place in ("#study=birds&prototype=7", "#study=birds&image=bird+10000000", "#study=none"):
        go(page, place)
        if "none" not in place:
            painted(page, "#explorer .card-of canvas")
        found += unfit(page, place)
    assert not found, "\n".join(found)


def test_a_sheet_is_loaded_when_its_pictures_come_into_view(page: Any, data: dict[str, Any]) -> None:
    loaded: list[str] = []
    page.on("request", lambda sent: loaded.append(sent.url.rpartition("/")[2]) if ".webp" in sent.url else None)
    go(page, "#study=birds&prototype=0")
    painted(page, "#explorer .card-of canvas")
    assert data["sheets"] > 2 and "sheet-0.webp" in loaded and len(loaded) == len(set(loaded)) < data["sheets"]


def test_without_javascript_it_says_so(browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((BOOK / "explorer.html").as_uri())
    assert "needs JavaScript" in opened.locator("#explorer").inner_text()
    assert not opened.locator('#explorer [data-part="body"]').is_visible()
    context.close()


def test_the_book_leads_into_it(page: Any) -> None:
    images = ("index.html", "looks.html", "tour.html", "explain.html", "studies/birds/06_topk.html")
    for name in (*images, "pictures.html", "parts.html", "studies/birds/07_gallery.html", "studies/birds/index.html"):
        page.goto((BOOK / name).as_uri())
        links = page.locator("article a[href*='explorer.html#study=birds']")
        assert links.count(), name
        text = links.first.inner_text()
        links.first.click()
        page.wait_for_selector("#explorer[data-ready]")
        assert title(page).startswith("Test image " if name in images else "Prototype ")
        if name not in ("index.html", "studies/birds/index.html"):  # of these the text asks, or names the page
            assert f"{text.removeprefix('no. ')}{',' if name in images else ' of'}" in title(page)


def test_what_links_name_is_there() -> None:
    there = dict[str, tuple[int, list[str]]]()
    for file in BOOK.glob("studies/*/explorer/data.js"):
        read = json.loads(file.read_text().removeprefix("window.p2pExplorer(").removesuffix(");\n"))
        there[read["study"]] = len(read["networks"]["teacher"]["own"]), read["names"][read["first_test"] :]
    found = 0
    for file in BOOK.rglob("*.html"):
        for place in re.findall(r'href="[^"]*explorer\.html#([^"]+)"', file.read_text(encoding="utf-8")):
            at = dict(parse_qsl(unescape(place)))
            count, images = there[at["study"]]
            assert int(at.get("prototype", 0)) < count and at.get("image", images[0]) in images, f"{file}: {place}"
            found += 1
    assert found > 30
