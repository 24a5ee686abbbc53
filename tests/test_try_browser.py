"""The page that runs a network in the browser, over HTTP in headless Chromium: it says what Python says of a picture.

Needs Chromium, and the drawn book (`make book`) with ONNX Runtime Web in it.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import BOOK, CHROMIUM, EVERY, unfit, watched
from PIL import Image

from p2p.data.photo import read_photo
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation

FILES = BOOK / "_static" / "try"
NETWORK = Path(__file__).parents[1] / "networks" / "birds" / "student-small_eighth"
HERE = FILES / "birds-student-small_eighth"
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not HERE.is_dir(), reason="needs the drawn book with ONNX Runtime Web: make book"),
]


class Quiet(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def do_GET(self) -> None:
        if self.path == "/favicon.ico":  # which browsers ask every server for by themselves
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture(scope="module")
def home() -> Iterator[str]:
    """The address of the book on a server of this test's own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(BOOK))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def page(browser: Any, home: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page over HTTP, ready; it fails its test on an error, a missing file, or a request beyond its server."""
    with watched(browser, *getattr(request, "param", (1280, "light")), home=home) as opened:
        opened.goto(f"{home}try.html")
        opened.wait_for_selector("#try[data-ready]")
        yield opened
        assert not opened.faults


@pytest.fixture(scope="module")
def explainer() -> Explainer[Explanation]:
    return Explainer(NETWORK, Explanation)


def shown(page: Any, name: str) -> str:
    """Wait until a picture of that name is explained; the title."""
    page.wait_for_function(
        "name => document.querySelector('#try [data-part=\"detail\"]').dataset.shown === name", arg=name, timeout=60_000
    )
    return str(page.locator("#try h2").inner_text())


def choose(page: Any, name: str, content: bytes) -> None:
    page.set_input_files('#try [data-part="file"]', {"name": name, "mimeType": "", "buffer": content})


def said(page: Any, sentence: str) -> None:
    """Wait for what is said to everybody, a single sentence, and nothing else on the page."""
    status = page.locator('#try [role="status"].amiss')
    status.wait_for(timeout=60_000)
    assert sentence in status.inner_text() and status.bounding_box()["height"] > 10
    assert page.locator("#try h2").count() == 0


def agrees(page: Any, found: Explanation, name: str) -> None:
    """The page says what Python says: class, probability, prototypes, their places, numbers, and the sum."""
    best, logit, probability = found.best()[0]
    assert shown(page, name) == f"{name}: {best}, {round(100 * probability)}\u00a0%"
    rows = page.locator('#try [data-part="for"] li')
    numbers = rows.evaluate_all("all => all.map(one => Number(one.dataset.prototype))")
    assert numbers == [one.prototype for one in found.evidence]
    # two digits, of numbers that two runtimes round differently in the sixth
    for text, line, one in zip(rows.all_inner_texts(), found.lines()[2:], found.evidence, strict=False):
        assert line.partition(": ")[2].partition(" of the image")[0] in text and one.source_name in text
        adds = text.rpartition("= ")[2].split()[0].replace("\u2212", "-")
        assert float(adds) == pytest.approx(one.contribution, abs=0.02)
    score = page.locator('#try [data-part="score"] b').inner_text().replace("\u2212", "-")
    assert float(score) == pytest.approx(logit, abs=0.03)
    steps = page.locator('#try [data-part="sum"] li b').all_inner_texts()
    values = [float(step.replace("\u2212", "-")) for step in steps]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.005 * len(values))
    assert values[:-1] == pytest.approx([end - start for _, start, end in found.steps()], abs=0.03)
    assert page.locator("#try .note").count() == bool(found.warning)


def test_its_examples_are_explained_as_in_python(page: Any, explainer: Explainer[Explanation]) -> None:
    examples = json.loads((HERE / "network.json").read_text())["examples"]
    warned = []
    for example in examples:
        found = explainer.explain(HERE / example["file"], k=5)
        page.get_by_role("button", name=example["shows"]).click()
        agrees(page, found, example["shows"])
        warned.append(bool(found.warning))
    assert warned == [False, False, True]  # the chequered one resembles nothing
    assert page.locator("#try .note").inner_text().startswith("Nothing in this picture resembles any prototype")


def given(page: Any) -> np.ndarray:
    """(3, 64, 64) uint8, what the network was given."""
    pixels = page.evaluate("Array.from(document.querySelector('#try [data-part=\"detail\"]').pixels)")
    return np.array(pixels, np.uint8).reshape(3, 64, 64)


def picture(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], len(mode)), np.uint8), mode)


@pytest.mark.parametrize("size", [(64, 64), (17, 300), (200, 300), (301, 77), (64, 130), (5, 3), (1, 1)], ids=str)
def test_pictures_are_resized_as_pillow_does(size: tuple[int, int], page: Any) -> None:
    image, out = picture(size, "RGB", sum(size)), io.BytesIO()
    image.save(out, "PNG")
    choose(page, "noise.png", out.getvalue())
    shown(page, "noise.png")
    np.testing.assert_array_equal(given(page), read_photo(image, 64).numpy())


def test_a_photograph_is_turned_upright_and_laid_on_white(page: Any) -> None:
    image, out = picture((90, 40), "RGB", 1), io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    image.save(out, "JPEG", exif=turned, quality=95, subsampling=0)
    choose(page, "turned.jpg", out.getvalue())
    shown(page, "turned.jpg")
    out.seek(0)
    np.testing.assert_array_equal(given(page), read_photo(Image.open(out), 64).numpy())
    clear, out = Image.new("RGBA", (30, 30), (200, 10, 10, 0)), io.BytesIO()
    clear.save(out, "PNG")
    choose(page, "clear.png", out.getvalue())
    shown(page, "clear.png")
    assert (given(page) == 255).all()


def test_a_picture_can_be_dropped(page: Any, explainer: Explainer[Explanation]) -> None:
    content = list((HERE / "example-1.png").read_bytes())
    page.evaluate(
        """bytes => {
          const given = new DataTransfer();
          given.items.add(new File([new Uint8Array(bytes)], "<b>bird.png"));
          document.querySelector('#try [data-part="drop"]').dispatchEvent(
            new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    agrees(page, explainer.explain(HERE / "example-1.png", k=5), "<b>bird.png")


def test_what_is_no_picture_is_said_in_a_sentence(page: Any) -> None:
    choose(page, "notes.txt", b"not a picture")
    said(page, "“notes.txt” is no picture that this browser can read; choose a JPEG, PNG or WebP file.")
    page.locator('#try [data-part="examples"] button').first.click()
    shown(page, page.locator('#try [data-part="examples"] button').first.inner_text())
    assert page.locator("#try .amiss").count() == 0
    choose(page, "empty.png", b"")
    said(page, "“empty.png” is no picture")


def test_the_keyboard_reaches_everything(page: Any) -> None:
    page.locator('#try [data-part="file"]').focus()
    page.keyboard.press("Tab")
    name = page.evaluate("document.activeElement.textContent")
    assert page.locator('#try [data-part="examples"] button').first.inner_text() == name
    page.keyboard.press("Enter")
    title = shown(page, name)
    assert page.locator('#try [role="status"]').text_content() == f"{title}."
    assert page.evaluate("document.activeElement.textContent") == name  # the focus stays


@pytest.mark.parametrize("page", EVERY, indirect=True, ids=str)
def test_it_is_accessible_and_whole(page: Any) -> None:
    found = unfit(page, "at first")
    buttons = page.locator('#try [data-part="examples"] button')
    buttons.last.click()
    shown(page, buttons.last.inner_text())
    found += unfit(page, "with an answer")
    choose(page, "notes.txt", b"not a picture")
    said(page, "notes.txt")
    found += unfit(page, "where something is amiss")
    assert not found, "\n".join(found)


def test_from_the_disk_it_says_how_to_serve_it(browser: Any) -> None:
    with watched(browser, 1280, "light") as opened:
        opened.goto((BOOK / "try.html").as_uri())
        said(opened, "python -m http.server 8000 --directory book/_build/html")
        assert not opened.locator('#try [data-part="body"]').is_visible() and not opened.faults


def test_without_javascript_or_webassembly_it_says_so(browser: Any, home: str) -> None:
    with watched(browser, 1280, "light", home=home, java_script_enabled=False) as opened:
        opened.goto(f"{home}try.html")
        assert "needs JavaScript" in opened.locator("#try").inner_text()
        assert not opened.locator('#try [data-part="body"]').is_visible()
    with watched(browser, 1280, "light", home=home) as opened:
        opened.add_init_script("delete window.WebAssembly")
        opened.goto(f"{home}try.html")
        said(opened, "This browser has no WebAssembly")
        assert not opened.faults


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("ort.wasm.bundle.min.mjs", "ONNX Runtime Web, which runs the network, could not be loaded"),
        ("ort-wasm-simd-threaded.wasm", "A file of this part, ort-wasm-simd-threaded.wasm, could not be loaded"),
        ("network.onnx", "A file of this part, network.onnx, could not be loaded"),
        ("network.json", "A file of this part, network.json, could not be loaded"),
    ],
)
def test_what_is_missing_is_said(missing: str, sentence: str, browser: Any, home: str) -> None:
    with watched(browser, 1280, "light", home=home) as opened:
        opened.route(f"**/{missing}", lambda route: route.fulfill(status=404))
        opened.goto(f"{home}try.html")
        if missing != "network.json":
            opened.locator('#try [data-part="examples"] button').first.click()
        said(opened, sentence)
        assert all("404" in fault or missing in fault for fault in opened.faults)  # which the browser itself reports


def test_nothing_but_the_book_is_asked_for_and_nothing_sent(page: Any) -> None:
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request))
    button = page.locator('#try [data-part="examples"] button').first
    button.click()
    shown(page, button.inner_text())
    assert len(sent) >= 3 and all(one.method == "GET" and not one.post_data for one in sent)
