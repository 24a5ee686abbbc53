"""The explorer with the prototypes of CUB-200: 2,000 of them, in 200 classes. What it does is counted, not timed.

Needs Chromium; the page is the frame with its scripts alone, and the study is made up.
"""

from __future__ import annotations

import base64
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import CHROMIUM, watched

from p2p.evaluation.explorer import COLUMNS, NEAREST, TOP, write_explorer

ROOT = Path(__file__).parents[1]
CLASSES, EACH, SHOWN, GRID = 200, 10, 800, 7
COUNT, SHEETS, CHUNK = CLASSES * EACH, 5, 60
USED = SHEETS * COLUMNS**2 - SHOWN  # training images that prototypes come from
WHOLE, CHOICE, STEP = 1000, 500, 120  # elements at most: of the page, made for a choice, made for a step to a neighbour
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt-get install chromium)")

COUNTING = """() => {
  window.came = 0;
  new MutationObserver((all) => {
    for (const node of all.flatMap((one) => [...one.addedNodes])) {
      if (node.nodeType === Node.ELEMENT_NODE) window.came += 1 + node.querySelectorAll("*").length;
    }
  }).observe(document.getElementById("explorer"), { childList: true, subtree: true });
}"""
WALK = """async (steps) => {
  for (let n = 0; n < steps; n += 1) {
    const there = new Promise((done) => window.addEventListener("hashchange", done, { once: true }));
    document.querySelector('#explorer [data-step="1"]').click();
    await there;
  }
}"""


def made_up() -> dict[str, Any]:
    """What `explorer_data` gives of three networks: of the right shapes, by chance."""
    chance = np.random.default_rng(0)

    def shares(*shape: int) -> Any:
        return chance.random(shape).round(3).tolist()

    def below(most: int, *shape: int) -> Any:
        return chance.integers(most, size=shape).tolist()

    def heat(*shape: int) -> str:
        return base64.b64encode(chance.integers(256, size=shape, dtype=np.uint8).tobytes()).decode()

    networks: dict[str, dict[str, Any]] = {}
    for role in ("teacher", "student", "baseline"):
        tops = [np.stack([below(COUNT, TOP), shares(TOP), below(GRID**2, TOP)], 1) for _ in range(SHOWN)]
        networks[role] = {"network": "vgg19", "parameters": 20_000_000, "right": 4500, "run": role, "packed": False}
        networks[role] |= {"own": np.repeat(np.arange(CLASSES), EACH).tolist(), "cell": below(GRID**2, COUNT)}
        networks[role] |= {"source": sorted(below(USED, COUNT)), "heat": heat(COUNT, GRID**2)}
        networks[role] |= {"predicted": below(CLASSES, SHOWN), "sure": shares(SHOWN), "sums": shares(SHOWN, 3)}
        networks[role] |= {"tops": [top.ravel().tolist() for top in tops], "maps": heat(SHOWN * TOP, GRID**2)}
        networks[role] |= {"next": [[k, 0.5] for k in below(CLASSES, SHOWN)]}
    kinds = ("same", "same_own", "same_chance", "matched", "matched_own", "matched_chance")
    pairs = {
        role: {"partner": chance.permutation(COUNT).tolist()} | {kind: shares(COUNT) for kind in kinds}
        for role in ("student", "baseline")
    }
    data: dict[str, Any] = {"study": "many", "seed": 0, "commit": "0", "date": "today", "tested": 5794}
    data |= {"grid": [GRID, GRID], "parts": [], "classes": [f"bird {k}" for k in range(CLASSES)], "first_test": USED}
    data |= {"names": [f"photo {n}" for n in range(USED + SHOWN)], "networks": networks, "pairs": pairs}
    data["labels"] = sorted(below(CLASSES, USED)) + np.repeat(np.arange(CLASSES), SHOWN // CLASSES).tolist()
    first = [min(j // EACH * SHOWN // CLASSES, SHOWN - NEAREST) for j in range(COUNT)]  # image of the class
    data["nearest"] = [[x for n in range(NEAREST) for x in (at + n, 1.5, *below(GRID**2, 3))] for at in first]
    return data


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The address of the page, and its data."""
    place, data = tmp_path_factory.mktemp("book"), made_up()
    pixels = torch.randint(256, (len(data["names"]), 3, 1, 1), generator=torch.Generator().manual_seed(0))
    files = write_explorer(place / "studies" / "many", data, pixels.to(torch.uint8).expand(-1, -1, 16, 16))
    assert len(files) == 1 + SHEETS
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "book"))
        sys.modules.pop("explorer", None)
        import explorer as frame
    text = "\n".join(frame.FRAME.format(studies='<option value="many">Many</option>').splitlines()[1:-1])
    (place / "_static").mkdir()
    for name in ("drawing.js", "explorer.js", "explorer.css"):
        shutil.copy2(ROOT / "book" / "_static" / name, place / "_static")
    hidden = "<style>.visually-hidden { position: absolute; clip-path: inset(50%) }</style>"  # as the theme has it
    head = f'<meta charset="utf-8"><link rel="stylesheet" href="_static/explorer.css">{hidden}'
    whole = f'<!doctype html><html lang="en"><head>{head}</head><body>{text}</body></html>'
    (place / "explorer.html").write_text(whole)
    return (place / "explorer.html").as_uri(), data


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that keeps the sheets that it loads, and fails its test on an error or a file that is not there."""
    with watched(browser, 1280, "light") as opened:
        opened.sheets = list[str]()
        opened.on("request", lambda sent: opened.sheets.append(sent.url) if ".webp" in sent.url else None)
        yield opened
    assert not opened.faults


def ready(page: Any, place: str) -> None:
    page.wait_for_function("place => document.getElementById('explorer').dataset.ready === place", arg=place)


def go(page: Any, address: str, place: str = "") -> None:
    page.goto(f"{address}{place}")
    ready(page, place)
    page.wait_for_function("document.querySelector('#explorer .card-of canvas').dataset.painted")
    page.evaluate(COUNTING)


def came(page: Any) -> int:
    """Elements that came into the page since the last call."""
    return int(page.evaluate("() => { const all = window.came; window.came = 0; return all; }"))


def choose(page: Any, name: str, value: str, place: str) -> None:
    page.select_option(f'#explorer select[data-part="{name}"]', value)
    ready(page, place)


def listed(page: Any) -> list[int]:
    every = page.locator("#explorer .list a").evaluate_all("all => all.map(one => Number(one.dataset.item))")
    return [int(n) for n in every]


def test_it_opens_with_a_chunk_of_the_list_and_paints_what_is_seen(page: Any, many: Any) -> None:
    go(page, many[0])
    assert listed(page) == list(range(CHUNK)) and f"{COUNT} prototypes" in page.inner_text('[data-part="count"]')
    assert page.locator("#explorer *").count() < WHOLE
    pictures = page.locator("#explorer canvas").count()
    assert pictures == CHUNK + 3 * 2 + NEAREST
    assert 0 < page.locator("#explorer canvas[data-painted]").count() < pictures - CHUNK / 2
    assert 0 < len(page.sheets) == len(set(page.sheets)) < SHEETS
    page.get_by_role("button", name=f"{CHUNK} more of {COUNT}").click()
    assert listed(page) == list(range(2 * CHUNK))


def test_a_choice_draws_no_more_than_a_chunk(page: Any, many: Any) -> None:
    address, data = many
    go(page, address)
    choose(page, "class", "123", "#study=many&class=123")
    assert listed(page) == [j for j, k in enumerate(data["networks"]["teacher"]["own"]) if k == 123]
    assert came(page) < CHOICE
    choose(page, "class", "", "#study=many")
    assert listed(page) == list(range(CHUNK)) and came(page) < CHOICE
    choose(page, "order", "differ", "#study=many&order=differ")
    alike = data["pairs"]["student"]["same_own"]
    assert listed(page) == sorted(range(COUNT), key=lambda j: (alike[j], j))[:CHUNK] and came(page) < CHOICE


def test_an_address_leads_to_the_last_prototype(page: Any, many: Any) -> None:
    go(page, many[0], f"#study=many&prototype={COUNT - 1}")
    assert page.inner_text('[data-part="detail"] h2') == f"Prototype {COUNT - 1} of bird {CLASSES - 1}"
    assert listed(page) == list(range(COUNT - COUNT % CHUNK, COUNT))
    current = page.locator("#explorer .list a[aria-current]")
    assert current.get_attribute("data-item") == str(COUNT - 1)
    box, frame = current.bounding_box(), page.locator("#explorer .list").bounding_box()
    assert frame["x"] <= box["x"] < frame["x"] + frame["width"]
    assert page.locator("#explorer *").count() < WHOLE


def test_a_step_makes_one_prototype_anew_and_a_long_walk_keeps_the_list_short(page: Any, many: Any) -> None:
    go(page, many[0], "#study=many&prototype=0")
    page.locator("#explorer h2").focus()
    for number in range(1, 6):
        page.keyboard.press("ArrowRight")
        ready(page, f"#study=many&prototype={number}")
        assert came(page) < STEP  # the prototype with its cards: no option of a choice, no entry of the list
    page.evaluate(WALK, 395)
    ready(page, "#study=many&prototype=400")
    assert page.locator("#explorer .list a[aria-current]").get_attribute("data-item") == "400"
    shown = listed(page)
    assert shown == list(range(shown[0], shown[-1] + 1)) and 400 in shown and len(shown) <= 4 * CHUNK
    page.get_by_role("button", name=f"{CHUNK} before").click()
    assert listed(page)[0] == shown[0] - CHUNK
