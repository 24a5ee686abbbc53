"""What the explorer is given: numbers against slow versions, pictures against the images, and a frame in the book."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p.data.images import ImageSet, load_images
from p2p.errors import UserError
from p2p.evaluation import explorer, part_tables, questions
from p2p.evaluation.explored import explored
from p2p.evaluation.idea import read_idea
from p2p.evaluation.on_object import part_of_cells
from p2p.evaluation.runs import finish_run, load_run
from p2p.evaluation.settings import read_settings
from p2p.study.pages import explorer_link, prototype_links
from p2p.study.study import Study
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folders(tiny, tiny_student, birds, teacher_folder, tmp_path_factory) -> dict[str, Path]:
    place, teacher = tmp_path_factory.mktemp("runs"), load_run(teacher_folder).network
    alone = {"run": "baseline", "role": "baseline", "seed": 5, "rounds": 1}
    made = {"teacher": teacher_folder, "student": place / "student", "baseline": place / "baseline"}
    Trainer(tiny_student.model_copy(update={"rounds": 1}), birds, made["student"], teacher).run(progress=False)
    Trainer(tiny.model_copy(update=alone), birds, made["baseline"]).run(progress=False)
    for role in ("teacher", "student"):  # of the baseline the answers are asked anew
        finish_run(made[role], birds)
    return made


@pytest.fixture(scope="module")
def whole(folders, birds):
    return explorer.explorer_data(folders, birds)


def test_shares_and_sums_are_those_of_a_slow_count(folders, birds: ImageSet, whole) -> None:
    data, _ = whole
    test, runs = birds.subset("test"), {role: load_run(folder) for role, folder in folders.items()}
    out = {role: run.network(test.pixels) for role, run in runs.items()}
    own = runs["teacher"].network.own.float().argmax(0)
    for role, kind in (("student", "same"), ("baseline", "matched")):
        pairs = data["pairs"][role]
        for j in range(len(own)):
            other = j if kind == "same" else pairs["partner"][j]
            meet = [bool(a == b) for a, b in zip(out["teacher"].cells[:, j], out[role].cells[:, other], strict=True)]
            mine = [hit for hit, label in zip(meet, test.labels.tolist(), strict=True) if label == own[j]]
            assert pairs[kind][j] == pytest.approx(np.mean(meet), abs=6e-4)
            assert pairs[f"{kind}_own"][j] == pytest.approx(np.mean(mine), abs=6e-4)
            shuffled = [a == b for a in out["teacher"].cells[:, j] for b in out[role].cells[:, other]]
            assert pairs[f"{kind}_chance"][j] == pytest.approx(np.mean(shuffled), abs=6e-4)
    order = [birds.names.index(name) for name in data["names"][data["first_test"] :]]
    assert [birds.labels[at] for at in order] == sorted(test.labels.tolist()) and data["tested"] == len(test)
    for role, run in runs.items():
        told, network = data["networks"][role], run.network
        for n, at in enumerate(order):
            one = network(birds.pixels[at : at + 1])
            scores, k = one.logits[0].double(), int(one.logits[0].argmax())
            assert told["predicted"][n] == k
            terms = network.layer.similarity(one.distances[0].double()) * network.decision.weight[k].double()
            rows = np.reshape(told["tops"][n], (-1, 3))
            assert rows[:, 1].tolist() == sorted(rows[:, 1].tolist(), reverse=True)
            for j, adds, cell in rows:
                assert adds == pytest.approx(float(terms[int(j)]), abs=2e-2) and cell == one.cells[0, int(j)]
            gain, loss, total = told["sums"][n]
            assert total == pytest.approx(float(scores[k]), abs=2e-2)
            assert rows[:, 1].sum() + gain + loss == pytest.approx(total, abs=0.01)
            second, less = told["next"][n]
            assert second != k and less == pytest.approx(float(scores.sort().values[-2]), abs=2e-2)


def test_few_images_are_shown_where_few_may_be(folders, birds: ImageSet) -> None:
    data, pixels = explorer.explorer_data(folders, birds, many=len(birds.classes) + 1)
    first = data["first_test"]
    assert data["labels"][first:] == list(range(len(birds.classes))) and len(pixels) == first + len(birds.classes)
    assert data["tested"] == int((birds.split == 2).sum()) > len(birds.classes)


def test_a_prototype_is_shown_with_its_own_patch_and_its_nearest_images(folders, birds: ImageSet, whole) -> None:
    data, pixels = whole
    assert len(pixels) == len(data["names"]) == len(data["labels"])
    train, run = birds.subset("train"), load_run(folders["student"])
    for j, (at, cell) in enumerate(zip(data["networks"]["student"]["source"], run.projection.cells, strict=True)):
        source = int(run.projection.images[j])
        assert data["names"][at] == train.names[source] and torch.equal(pixels[at], train.pixels[source])
        assert data["networks"]["student"]["cell"][j] == cell
    heat = np.frombuffer(base64.b64decode(data["networks"]["student"]["heat"]), np.uint8).reshape(-1, 16)
    assert (heat.argmax(1) == run.projection.cells.numpy()).all()  # nothing is nearer to a patch than the patch
    table = load_run(folders["teacher"]).network(pixels[data["first_test"] :])
    for j, row in enumerate(data["nearest"]):
        images = np.reshape(row, (-1, 5))
        assert images[0, 0] == table.distances[:, j].argmin() and (np.diff(images[:, 1]) <= 0).all()
        assert images[:, 2].tolist() == table.cells[images[:, 0].astype(int), j].tolist()


def test_parts_are_those_that_cover_a_cell(birds: ImageSet, whole) -> None:
    data, _ = whole
    on = part_of_cells(birds, (4, 4))
    assert on is not None and birds.masks is not None and (on >= 0).any() and (on < 0).any()
    for n in range(0, len(birds), 7):
        for cell in range(16):
            y, x = (8 * at for at in divmod(cell, 4))
            square = birds.masks[n, y : y + 8, x : x + 8]
            counts = [int((square == q + 1).sum()) for q in range(len(birds.part_names))]
            expected = int(np.argmax(counts)) if max(counts) >= 8 else -1  # an eighth of 64 pixels
            assert on[n, cell] == expected
    teacher = data["networks"]["teacher"]
    assert data["parts"] == list(birds.part_names) and set(teacher["part"]) <= set(range(-1, 6))
    assert all(0 < sum(share for _, share in found) <= 1.001 for found in teacher["lies"])


def test_parts_of_photographs_lie_in_the_cell_of_their_point() -> None:
    parts = torch.tensor([[[0.0, 0.0, 1.0], [31.9, 0.0, 1.0], [1.0, 1.0, 1.0], [9.0, 9.0, 0.0]]])
    pixels, label = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    known = ImageSet(pixels, label, label.byte(), ("a",), ("x",), parts=parts, part_names=("p", "q", "r", "s"))
    on = part_of_cells(known, (4, 4))
    assert on is not None and on[0].tolist() == [0, -1, -1, 1] + [-1] * 12  # the first of two in one cell
    assert part_of_cells(ImageSet(pixels, label, label.byte(), ("a",), ("x",)), (4, 4)) is None


def test_sheets_hold_the_images_in_order(whole, tmp_path: Path, monkeypatch) -> None:
    data, pixels = whole
    monkeypatch.setattr(explorer, "COLUMNS", 4)
    (tmp_path / "explorer").mkdir()
    (tmp_path / "explorer" / "sheet-99.webp").write_bytes(b"old")
    names = explorer.write_explorer(tmp_path, {"study": "tiny</script>"} | data, pixels)
    assert sorted(names) == sorted(f"explorer/{path.name}" for path in (tmp_path / "explorer").iterdir())
    text = (tmp_path / "explorer" / "data.js").read_text()
    read = json.loads(text.removeprefix("window.p2pExplorer(").removesuffix(");\n"))
    assert read["tile"] == 32 and read["sheets"] == -(-len(pixels) // 16) and "</" not in text
    for n in (0, 17, len(pixels) - 1):
        sheet = np.array(Image.open(tmp_path / "explorer" / f"sheet-{n // 16}.webp").convert("RGB"))
        y, x = (32 * at for at in divmod(n % 16, 4))
        tile = sheet[y : y + 32, x : x + 32].astype(float)
        off = [np.abs(tile - other.permute(1, 2, 0).numpy()).mean() for other in pixels]
        assert np.argmin(off) == n and off[n] < 12
    assert Image.open(io.BytesIO(explorer.sheets(pixels, 16, 50)[0])).size == (64, 64)
    monkeypatch.setattr(explorer, "LARGEST", 10)
    with pytest.raises(UserError, match="set 'explorer' to false"):
        explorer.write_explorer(tmp_path, data, pixels)


def test_who_is_missing_is_named(tmp_path: Path, folders) -> None:
    with pytest.raises(UserError, match="has no teacher to explore"):
        explorer.find_networks(tmp_path, {})
    found = explorer.find_networks(ROOT / "networks" / "birds", {})
    assert list(found) == ["teacher", "student", "baseline"] and found["student"].name == "student-small_eighth"


def test_a_study_says_whether_its_images_may_be_shown() -> None:
    values = {"study": "s", "title": "S", "images": "drawn", "seeds": [0], "data": {}, "recipe": {}}
    values |= {"triples": [{"name": "t", "teacher": {"network": "small"}, "student": {"network": "small_sixth"}}]}
    assert not Study.model_validate(values).page().explorer
    assert Study.model_validate(values | {"explorer": True}).page().explorer
    with pytest.raises(ValueError, match="'explorer' is without effect"):
        Study.model_validate(values | {"explorer": True, "private": True})


def test_links_lead_to_a_prototype_or_an_image() -> None:
    link = explorer_link("birds", "<b>", image="bird 7&8")
    assert link == '<a href="../../explorer.html#study=birds&amp;image=bird+7%268">&lt;b&gt;</a>'
    assert prototype_links("birds", [3, 5, 3]).count("<a ") == 2
    assert prototype_links("birds", [3], root="").count('"explorer.html#study=birds&amp;prototype=3"') == 1


def test_pages_lead_to_the_networks_that_they_picture(tmp_path: Path) -> None:
    results, told = ROOT / "results", list(read_idea(ROOT / "networks" / "birds", 8).told.values())
    found = explored(results, "birds", told, page="06_topk")
    assert found is not None and found.prototype(7) == explorer_link("birds", "no. 7", root="", prototype=7)
    first = explorer_link("birds", found.images[0], image=found.images[0])  # of the first picture, as its page has it
    assert json.dumps(first)[1:-1] in (results / "birds" / "06_topk.ipynb").read_text()
    assert found.image(found.images[0]) == first.replace("../../", "") and found.image("bird 1") == "bird 1"
    one = told[1].evidence[0]
    for other in (replace(one, source_cell=(7, 7)), replace(one, source_name="bird 1"), replace(one, prototype=40)):
        assert not found.has(replace(told[1], evidence=(other,)))
    assert explored(results, "birds", [replace(told[1], role="teacher")]) is None
    assert explored(results, "cub-short") is None and explored(results, "none", page="06_topk") is None

    copy = tmp_path / "birds"
    for name in ("explorer", "checksums"):
        shutil.copytree(results / "birds" / name, copy / name)
    assert explored(tmp_path, "birds") is not None and explored(tmp_path, "birds", page="06_topk") is None
    page = (results / "birds" / "06_topk.ipynb").read_text()
    (copy / "06_topk.ipynb").write_text(page.replace("teacher-small-s20", "teacher-small-s21"))
    assert explored(tmp_path, "birds", page="06_topk") is None
    (copy / "explorer" / "sheet-0.webp").write_bytes(b"half of")
    assert explored(tmp_path, "birds") is None


def test_pictures_of_other_pages_are_looked_up() -> None:
    birds = next(setting for setting in read_settings(ROOT / "results") if setting.study == "birds")
    assert '<a href="explorer.html#study=birds&amp;image=' in questions.picture(ROOT / "results", birds)
    text, drawn = part_tables.pictures(ROOT / "results", birds), (ROOT / "results" / "birds" / "parts.svg").read_text()
    numbers = re.findall(r"prototype=(\d+)", text)
    assert len(numbers) == 3 and all(f">no. {number}</text>" in drawn for number in numbers)


def test_the_frame_names_the_studies_that_have_data(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    sys.modules.pop("explorer", None)
    import explorer as frame
    from studies import Study as Shown

    def shown(name: str) -> Shown:
        (tmp_path / name).mkdir()
        return Shown(name, f"{name} <b>", 1, "", "drawn", tmp_path / name, (), ("r",))

    with_data, without = shown("one"), shown("two")
    assert "make study" in frame.explorer([with_data, without])
    (with_data.folder / "explorer").mkdir()
    (with_data.folder / "explorer" / "data.js").write_text("")
    text = frame.explorer([with_data, without])
    assert '<option value="one">one &lt;b&gt;</option>' in text and '"two"' not in text and "<noscript>" in text


def test_what_the_repository_ships_is_small_and_of_its_packed_networks() -> None:
    place = ROOT / "results" / "birds" / "explorer"
    sizes = [path.stat().st_size for path in place.iterdir()]
    assert sum(sizes) <= 6_000_000 and max(sizes) <= 2_000_000
    text = (place / "data.js").read_text()
    read = json.loads(text.removeprefix("window.p2pExplorer(").removesuffix(");\n"))
    assert len(list(place.glob("sheet-*.webp"))) == read["sheets"]
    params = load_run(ROOT / "networks" / "birds" / "teacher-small").params
    assert load_images(params).names[-1] in read["names"] and read["study"] == "birds"
