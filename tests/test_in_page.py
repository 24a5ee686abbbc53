"""The page that runs a network in the browser, as the builder makes it: its files, and what it says without them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p.data.photo import read_photo
from p2p.errors import UserError
from p2p.evaluation import browser
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.explanation import Explanation

ROOT = Path(__file__).resolve().parents[1]
NETWORK = ROOT / "networks" / "birds" / "student-small_eighth"
sys.path.insert(0, str(ROOT / "book"))
import in_page  # noqa: E402
import runtime  # noqa: E402


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    out = tmp_path_factory.mktemp("browser")
    browser.write_for_browser(NETWORK, out)
    return out


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    shutil.copytree(NETWORK.parent, tmp_path / "networks" / "birds")
    return tmp_path / "networks"


@pytest.fixture
def made(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime in the cache that is none, and the network written before."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in runtime.FILES:
        (folder / name).write_text(name)
    monkeypatch.setattr(in_page, "runtime", lambda: folder)
    monkeypatch.setattr(browser, "write_for_browser", lambda _, out: shutil.copytree(written, out))
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    return folder


def test_what_the_page_needs_gives_what_python_says(written: Path) -> None:
    import onnxruntime

    facts = json.loads((written / "network.json").read_text())
    explainer = Explainer(NETWORK, Explanation)
    session = onnxruntime.InferenceSession(written / "network.onnx", providers=["CPUExecutionProvider"])
    for example in facts["examples"]:
        found = explainer.explain(written / example["file"], k=40)
        pixels = read_photo(written / example["file"], facts["size"])[None].numpy()
        logits, distances, maps = session.run(list(browser.OUTPUTS), {"images": pixels})
        np.testing.assert_allclose(logits[0], found.logits, rtol=1e-3, atol=1e-3)
        assert distances.min() == pytest.approx(found.nearest, abs=1e-4)
        weight = np.array(facts["weight"])[found.predicted]
        adds = maps[0].max((1, 2)) * weight  # as the page counts
        torch.testing.assert_close(torch.from_numpy(adds), found.contributions, rtol=1e-3, atol=1e-3)
        for one in found.evidence:
            owners, image, cell, corner = facts["prototypes"][one.prototype]
            assert (tuple(owners), image, tuple(cell)) == (one.labels, one.source_name, one.source_cell)
            (y, x), side = divmod(one.prototype, facts["columns"]), facts["side"]
            with Image.open(written / "sources.webp") as sheet:
                tile = np.asarray(sheet.convert("RGB"))[y * side : (y + 1) * side, x * side : (x + 1) * side]
            seen = one.source[:, corner[1] : corner[1] + side, corner[0] : corner[0] + side]
            np.testing.assert_array_equal(tile.transpose(2, 0, 1), seen.numpy())
    assert facts["limit"] == explainer.limit and facts["classes"] == list(explainer.classes)
    assert sum(path.stat().st_size for path in written.iterdir()) < 2_000_000


def test_only_students_that_are_sums_are_tried(networks: Path, tmp_path: Path) -> None:
    student = networks / "birds" / "student-small_eighth"
    assert browser.packed_students(networks) == [student]
    record = json.loads((student / "run.json").read_text())
    record["parameters"]["decision"] = "tree"
    (student / "run.json").write_text(json.dumps(record))
    assert browser.packed_students(networks) == []
    assert in_page.in_page(networks, [], tmp_path / "extra") == in_page.NONE


def test_the_frame_names_the_networks_and_brings_their_files(made: Path, networks: Path, tmp_path: Path) -> None:
    frame = in_page.in_page(networks, [], tmp_path / "extra")
    assert frame.count("<option") == 1 and "<label hidden>Network" in frame  # nothing to choose
    files = tmp_path / "extra" / in_page.FILES
    there = {path.name for path in files.iterdir()}
    assert there == {*runtime.FILES, *runtime.LICENCES, "birds-student-small_eighth"}
    assert (files / "birds-student-small_eighth" / "network.onnx").is_file()
    shutil.copytree(networks / "birds", networks / "others")
    frame = in_page.in_page(networks, [], tmp_path / "more")
    assert frame.count("<option") == 2 and "<label>Network" in frame


def test_without_its_files_the_page_says_so_and_the_log_why(made, networks, tmp_path, monkeypatch, capsys) -> None:
    def fails() -> Path:
        raise UserError("There is no connection.")

    monkeypatch.setattr(in_page, "runtime", fails)
    assert in_page.in_page(networks, [], tmp_path / "extra") == in_page.LEFT_OUT
    assert not (tmp_path / "extra" / in_page.FILES).exists()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "left out: There is no connection." in said
    (networks / "birds" / "student-small_eighth" / "run.json").write_text("{")
    assert in_page.in_page(networks, [], tmp_path / "extra") == in_page.LEFT_OUT


def test_the_prose_names_the_version_that_is_fetched() -> None:
    assert f"version {runtime.VERSION}," in (ROOT / "book" / "try.md").read_text()
