"""One image explained: numbers that add up, words that say them, pages that load nothing, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch
from heads import linear
from PIL import Image

import p2p
from p2p.data.images import ImageSet, load_images
from p2p.data.photo import find_photos, read_photo
from p2p.evaluation.contributions import deciding, top
from p2p.evaluation.explainer import Explainer, usual_distance
from p2p.evaluation.explanation import Explanation
from p2p.evaluation.measure import Answer
from p2p.evaluation.on_object import NAMES, hits_on_object, object_cells, object_rows, source_on_object
from p2p.evaluation.own import on_object, one_patch, same_patches
from p2p.evaluation.runs import finish_run, load_run
from p2p.figures import glyphs
from p2p.figures.explain import Explained, main, write_pages
from p2p.figures.one_image import one_image
from p2p.networks import ProtoNet
from p2p.responses import ResponseTable
from p2p.training.trainer import Trainer


@pytest.fixture(scope="module")
def place(tiny_student, birds, teacher_folder, tmp_path_factory) -> Path:
    """Folder of a study's runs: teacher, its student, a classifier without prototypes."""
    runs = tmp_path_factory.mktemp("runs") / "tiny"
    shutil.copytree(teacher_folder, runs / "teacher")
    network = load_run(runs / "teacher").network
    assert isinstance(network, ProtoNet)
    short = {"rounds": 1, "warm_epochs": 0, "joint_epochs": 1}
    student = tiny_student.model_copy(update=short)
    Trainer(student, birds, runs / "student", network).run(progress=False)
    alone = {
        "run": "linear",
        "role": "control",
        "model": "linear",
        "teacher_run": "",
        "distillation": {},
        "head": "own",
    }
    Trainer(student.model_copy(update=alone), birds, runs / "linear").run(progress=False)
    for run in ("teacher", "student"):
        finish_run(runs / run, birds, network if run == "student" else None)
    return runs


@pytest.fixture(scope="module")
def said(place: Path, birds: ImageSet) -> Explained:
    return p2p.explain(birds.subset("test").pixels[5], place / "student")


def test_contributions_add_up_to_the_logit(said: Explained, birds: ImageSet, place: Path) -> None:
    network = load_run(place / "student").network
    with torch.inference_mode():
        logits = network(birds.subset("test").pixels[5][None]).logits[0].double()
    torch.testing.assert_close(said.logits, logits, rtol=1e-5, atol=1e-5)
    for one in (said, said.teacher):
        assert one is not None and one.contributions.sum().item() == pytest.approx(one.logit, abs=1e-5)
        assert one.steps()[-1][2] == pytest.approx(one.logit, abs=1e-5)  # so do the bars
        count, gain, loss = one.rest
        assert count == len(one.contributions) - len(one.evidence)
        assert sum(e.contribution for e in one.evidence) + gain + loss == pytest.approx(one.logit, abs=1e-5)
        values = [e.contribution for e in one.evidence]
        assert values == sorted(values, reverse=True) and max(one.contributions.tolist()) == pytest.approx(values[0])
        assert sum(map(one.share, one.contributions.tolist())) == pytest.approx(1)
        assert f" {100 * one.share(values[0]):.0f} % of all that speaks for this class." in one.lines()[2]
        for e in one.evidence:
            assert e.contribution == pytest.approx(e.similarity * e.weight, rel=1e-5)
            row, column = e.cell
            assert float(e.similarities[row, column]) == pytest.approx(e.similarity, rel=1e-3)
            assert float(e.similarities.max()) == pytest.approx(e.similarity, rel=1e-3)


def test_sources_are_training_images_of_the_prototypes_class(said: Explained, birds: ImageSet) -> None:
    train = birds.subset("train")
    for e in said.evidence:
        n = train.names.index(e.source_name)
        assert e.labels == (int(train.labels[n]),) and torch.equal(train.pixels[n], e.source)


def test_words_say_the_numbers(said: Explained) -> None:
    text = said.text()
    first = said.evidence[0]
    assert f"Prototype {first.prototype} " in text and first.source_name in text
    assert f"row {first.cell[0] + 1}, column {first.cell[1] + 1} of the image" in text
    assert text.count("count most") == 2 and "teacher (teacher) takes the image for" in text


def test_who_speaks_against_the_class_is_named(said: Explained) -> None:
    for one in (said, said.teacher):
        assert one is not None and one.rest[2] < 0 < len(one.against) <= 3
        told = {e.prototype for e in one.evidence}
        left = [(value, j) for j, value in enumerate(one.contributions.tolist()) if value < 0 and j not in told]
        assert [(a.contribution, a.prototype) for a in one.against] == sorted(left)[:3]
        for a in one.against:
            words = f"{a.prototype} ({one.owner(a)}, \N{MINUS SIGN}{-a.contribution:.2f})"
            assert a.labels == (a.prototype // 2,) and words in one.lines()[-1]  # two of each class
            assert escape(words) in said.html()
    alone = replace(said, teacher=None, against=said.against[:1])
    assert ", above all prototype " in alone.lines()[-1] and "above all" not in replace(alone, against=()).text()


def test_deciding_prototypes_of_a_table_are_those_of_each_image(place: Path, birds: ImageSet) -> None:
    network = load_run(place / "student").network
    assert isinstance(network, ProtoNet)
    table = ResponseTable.load(place / "student" / "responses.safetensors")
    found = deciding(table, network.decision, network.layer, 3)
    explainer = Explainer(place / "student", Explanation, birds)
    for n in (0, 7):
        one = explainer.explain(birds.subset("test").pixels[n], k=3)
        assert (
            found.prototypes[n].tolist() == [e.prototype for e in one.evidence] and found.predicted[n] == one.predicted
        )
        torch.testing.assert_close(
            found.contributions[n], torch.tensor([e.contribution for e in one.evidence]).double(), rtol=1e-3, atol=1e-4
        )


def test_terms_of_a_logit_by_hand() -> None:
    decision = linear(torch.tensor([[1.0, -0.5], [0.0, 2.0]]))
    values = decision.contributions(torch.tensor([[1.0, 2.0], [3.0, 0.5]]), torch.tensor([1, 0]))
    assert values.tolist() == [[0.0, 4.0], [3.0, -0.25]]
    assert top(torch.tensor([[1.0, 3.0, 3.0]]), 2)[1].tolist() == [[1, 2]]  # of equal ones the first


def test_what_resembles_nothing_is_said_so(place: Path, birds: ImageSet) -> None:
    explainer = Explainer(place / "teacher", Explanation, birds)
    table = ResponseTable.load(place / "teacher" / "responses.safetensors")
    assert explainer.limit == table.distances[:].amin(1).max().item() == usual_distance(place / "teacher")  # 16 images
    for pixels in birds.subset("test").pixels:
        assert not explainer.explain(pixels).warning
    explainer.limit = table.distances[:].min().item() - 1e-3
    warned = explainer.explain(birds.subset("test").pixels[0])
    assert "Nothing in this image resembles any prototype of teacher" in warned.warning
    assert warned.text().startswith(warned.warning)


def test_a_photograph_in_any_form(place: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    grey = Image.fromarray(noise).convert("L")
    turned = Image.fromarray(noise).convert("CMYK")
    one = p2p.explain(tmp_path / "photo.png", place / "teacher")
    assert one.name == "photo.png" and one.image.shape == (3, 32, 32) and one.teacher is None
    assert torch.equal(p2p.explain(Image.open(tmp_path / "photo.png"), place / "teacher").image, one.image)
    for image in (grey, turned):
        assert p2p.explain(image, place / "teacher").image.shape == (3, 32, 32)


def test_pages_load_nothing_and_lead_to_each_other(place: Path, tmp_path: Path, birds: ImageSet) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n, name in enumerate(["a & <b>.png", "größe #1.jpg"]):
        Image.fromarray(birds.subset("test").pixels[n].permute(1, 2, 0).numpy()).save(photos / name)
    opened = write_pages(place / "student", photos, tmp_path / "out")
    assert opened.name == "index.html"
    pages = sorted((tmp_path / "out").glob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src|href)=["']?(?!data:)(?:https?:)?//|url\(|<script|@import""", text)
        assert "<b>.png" not in text and all(re.search(r'\salt="', tag) for tag in re.findall(r"<img[^>]*>", text))
    text = opened.read_text(encoding="utf-8")
    assert 'href="a%20%26%20%3Cb%3E.png.html"' in text and 'href="gr%C3%B6%C3%9Fe%20%231.jpg.html"' in text
    page = (tmp_path / "out" / "a & <b>.png.html").read_text(encoding="utf-8")
    assert page.count('<section class="network"') == 2 and page.index("<h2>Teacher") < page.index("<h2>Student")
    for ending in ("svg", "png"):
        assert (tmp_path / "out" / f"größe #1.jpg.{ending}").stat().st_size > 1000
    alone = write_pages(place / "teacher", photos / "a & <b>.png", tmp_path / "alone")
    assert alone.name == "a & <b>.png.html" and not (tmp_path / "alone" / "index.html").exists()


def test_mistakes_are_one_sentence(place: Path, tmp_path: Path, refuses) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    image = tmp_path / "ok.png"
    Image.new("RGB", (40, 40)).save(image)
    with refuses("There is no run", "student, teacher"):
        write_pages(place / "gone", image)
    with refuses("holds several runs", "name one"):
        write_pages(place, image)
    with refuses("no finished run"):
        write_pages(tmp_path / "empty", image)
    with refuses("ordinary classifier", "no prototypes"):
        write_pages(place / "linear", image)
    out = tmp_path / "out"
    with refuses("There is no image"):
        write_pages(place / "teacher", tmp_path / "gone.jpg", out)
    with refuses("holds no image"):
        write_pages(place / "teacher", tmp_path / "empty", out)
    with refuses("text.png cannot be decoded (cannot identify image file)"):
        write_pages(place / "teacher", tmp_path / "text.png", out)
    foreign = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    shutil.copy(image, foreign)
    with refuses("caf\\udce9.png", "not UTF-8", "rename"):
        write_pages(place / "teacher", foreign, out)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / name).write_text("no image")
    shutil.copy(image, folder)
    with refuses("2 of 3 images", "a.png, b.jpg", "cannot be decoded"):
        write_pages(place / "teacher", folder, out)
    assert not out.exists()
    long = shutil.copy(image, tmp_path / f"{'n' * 251}.png")
    with refuses("Cannot write", "shorten the name"):
        write_pages(place / "teacher", Path(long), out)


def test_images_of_another_data_set_are_refused(place: Path, tiny, refuses) -> None:
    other = load_images(tiny.model_copy(update={"data_seed": 9, "bird_train_per_class": 2}))
    with refuses("teacher", "images"):
        Explainer(place / "teacher", Explanation, other)


def test_the_command(place: Path, tmp_path: Path, capsys) -> None:
    image = tmp_path / "ok.png"
    Image.new("RGB", (40, 40), "green").save(image)
    assert main([str(place / "student"), str(image)]) == 0
    assert (place / "student" / "explained" / "ok.png.html").as_uri() in capsys.readouterr().out
    assert main(["", str(image)]) == 1
    assert "RUN=" in capsys.readouterr().err
    imported = [sys.executable, "-c", "import p2p, sys; assert 'torch' not in sys.modules; print(p2p.explain.__name__)"]
    assert subprocess.run(imported, capture_output=True, text=True, check=True).stdout.strip() == "explain"


def alike(one: Explained) -> Explained:
    """The same, its first and third prototype the same patch, found on the same cell in the top row."""
    first, second, third, *others = one.evidence
    first, second = replace(first, cell=(0, 2)), replace(second, cell=(3, 3), source_name="another")
    third = replace(third, cell=(0, 2), source_cell=first.source_cell, source_name=first.source_name)
    return replace(one, evidence=(first, second, third, *(replace(e, cell=(2, i)) for i, e in enumerate(others))))


def test_frames_on_one_cell_stand_inside_each_other_and_that_is_said(said: Explained) -> None:
    one = alike(replace(said, teacher=None))
    assert one.on_one_cell() == [[1, 3]]
    (told,) = one.frames
    assert told.startswith("Numbers 1 and 3 lie on the same cell of the image, row 1, column 3;") and told in one.text()
    (same,) = one.remarks
    assert same.startswith("Numbers 1 and 3 are the same patch, row ") and same.endswith("one reason, counted twice.")
    page = one.html()
    assert same in page and told in page
    picture = page[page.index('<figure class="whole">') : page.index("</figure>")]
    places = re.findall(r'class="box" style="([^"]*)"', picture)
    assert len(places) == len(set(places)) == len(one.evidence) and '<b class="below left">1, 3</b>' in picture
    whole, *_ = one.figure().axes
    frames = {patch.get_bbox().bounds for patch in whole.patches if patch.get_width() > 1}
    assert len(frames) == len(one.evidence) and "1, 3" in [text.get_text() for text in whole.texts]
    assert "1, 3: the same cell" in whole.get_xlabel()
    for compact in (False, True):
        shown = [text.get_text() for text in one_image([one], compact).axes[0].texts]
        assert shown == (["1", "2"] if compact else ["1, 3", "2"])
    apart = replace(
        one, evidence=tuple(replace(e, cell=(i, i), source_name=str(i)) for i, e in enumerate(one.evidence))
    )
    assert apart.frames == apart.remarks == [] and "the same cell" not in apart.html()


def test_prototypes_that_are_the_same_patch_are_said(place: Path, birds: ImageSet) -> None:
    trained = load_run(place / "student")
    found = trained.projection
    assert found is not None and isinstance(trained.network, ProtoNet)
    first, second, *_ = trained.network.own[1].nonzero()[:, 0].tolist()
    cells, images = torch.arange(len(found.cells)), torch.zeros_like(found.images)
    assert same_patches(replace(trained, projection=replace(found, images=images, cells=cells)), birds.classes) == ""
    cells[second] = cells[first]
    told = same_patches(replace(trained, projection=replace(found, images=images, cells=cells)), ["a", "$b$", "c", "d"])
    assert f"no. {first} and {second} of \\$b\\$." in told and "push: distinct" in told


def test_an_image_that_a_network_was_made_from_is_said_so(place: Path, birds: ImageSet) -> None:
    explainer = Explainer(place / "student", Explanation, birds)
    for split, how in (("train", "trained"), ("validation", "validated")):
        own = birds.subset(split)
        one = explainer.explain(own.pixels[1])
        assert one.known == (how, own.names[1])
        assert any(f"student was {how} on this very image ({own.names[1]})" in remark for remark in one.remarks)
        assert one.teacher and one.teacher.known == one.known
    assert explainer.explain(birds.subset("test").pixels[1]).known is None
    changed = birds.subset("train").pixels[1].clone()
    changed[0, 0, 0] ^= 1  # far from the row that is looked at first
    assert explainer.explain(changed).known is None


def test_a_photograph_is_known_again_by_a_patch_that_was_stored_with_loss() -> None:
    explainer = Explainer(Path(__file__).parents[1] / "networks" / "cub-20" / "student-squeezenet1_1", Explanation)
    packed = explainer.trained.packed
    assert packed
    noise = torch.randint(-6, 7, (3, 160, 160), generator=torch.Generator().manual_seed(0))
    for patch in packed.patches[:3]:
        (x, y), (high, wide) = patch.corner, patch.pixels.shape[1:]
        image = torch.zeros(3, 160, 160, dtype=torch.uint8)
        for pixels, known in ((patch.pixels, ("trained", patch.image)), (patch.pixels.flip(2), None)):
            image[:, y : y + high, x : x + wide] = pixels
            assert explainer.known((image + noise).clamp(0, 255).to(torch.uint8)) == known


@pytest.mark.parametrize(("count", "told"), [(1, "this one counts most"), (3, "these 3 count most")])
def test_words_fit_a_count_of_one(said: Explained, count: int, told: str) -> None:
    one = replace(said, evidence=said.evidence[:count], contributions=said.contributions[: count + 1])
    numbered = tuple(replace(e, prototype=j) for j, e in enumerate(one.evidence))
    text = " ".join(replace(one, evidence=numbered, teacher=None).lines())
    assert told in text and "The other prototype adds " in text and " and takes " in text
    assert "1 prototypes" not in text and "others prototype" not in text


def test_letters_that_no_font_has_are_named_without_a_warning(said: Explained, monkeypatch) -> None:
    assert glyphs.readable("Größe $x$ 100 %\n_") == "Größe $x$ 100 %\n_"
    monkeypatch.setattr(glyphs, "other_font", lambda letter: "")  # as on a machine of few fonts
    assert (
        glyphs.readable("wren 🐦 カラス 漢 👍🏽")
        == "wren [bird] [ka ra su] [U+6F22] [thumbs up sign emoji modifier fitzpatrick type-4]"
    )
    named = replace(said, teacher=None, classes=tuple(f"{name} 🐦" for name in said.classes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = named.figure()
        figure.canvas.draw()
    text = "".join(label.get_text() for ax in figure.axes for label in (ax.title, ax.xaxis.label))
    assert "[bird]" in text and "🐦" not in text and "🐦" in named.html()


def test_a_letter_that_another_font_has_is_lent(monkeypatch) -> None:
    from matplotlib.figure import Figure

    monkeypatch.setattr(glyphs, "other_font", lambda letter: "STIXGeneral" if letter == "🐦" else "")
    assert glyphs.readable("a 🐦") == "a 🐦"
    figure = Figure()
    text = figure.text(0, 0, "a 🐦")
    assert glyphs.lend_fonts(figure) is figure and text.get_fontfamily()[-1] == "STIXGeneral"


def test_what_a_folder_of_photographs_has_besides_is_counted(place: Path, tmp_path: Path, capsys, refuses) -> None:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    Image.new("RGB", (40, 40), "green").save(photos / "ok.png")
    for name in ("b.heic", "a.HEIC", "notes.txt", ".hidden"):
        (photos / name).write_text("x")
    os.mkfifo(photos / "pipe.jpg")
    found, told = find_photos(photos)
    assert [path.name for path in found] == ["ok.png"]
    assert told.startswith(
        "Left out, as not read: 2 .heic, 1 .txt (a.HEIC, b.heic, notes.txt), 1 pipe, socket or device (pipe."
    )
    assert "1 folder in it (more)" in told and told.endswith("on export.") and "hidden" not in told
    assert main([str(place / "teacher"), str(photos), "--out", str(tmp_path / "out")]) == 0
    index = (tmp_path / "out" / "index.html").read_text()
    assert told in capsys.readouterr().out and told in index and "One image explained by teacher" in index
    (photos / "ok.png").unlink()
    with refuses("holds no image that is read", "2 .heic", "JPEG"):
        find_photos(photos)


def test_one_photograph_that_is_no_intact_copy_away(tmp_path: Path, monkeypatch, refuses) -> None:
    for name in ("a.heic", "b.jpg"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        with refuses(name, "is HEIC, a format that is not read", "convert it to JPEG"):
            read_photo(tmp_path / name, 32)
    os.mkfifo(tmp_path / "pipe.png")
    with refuses("pipe.png is a pipe"):
        read_photo(tmp_path / "pipe.png", 32)
    Image.new("RGB", (9, 9)).save(tmp_path / "closed.png")

    def forbid(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", forbid)
    with refuses("closed.png cannot be decoded (Permission denied)", f"chmod u+r {tmp_path}/closed.png"):
        read_photo(tmp_path / "closed.png", 32)


# ------------------------------------------------------------------------------------------------- on the object


def test_cells_on_a_drawn_bird_have_a_quarter_of_it(birds: ImageSet) -> None:
    found = object_cells(birds, (8, 8))
    assert found is not None and birds.masks is not None
    for n in (0, 13, 40):
        for c in range(64):
            y, x = divmod(c, 8)
            cell = birds.masks[n, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] > 0
            assert bool(found[n, c]) == (cell.float().mean().item() >= 0.25)


def test_shares_on_the_object_are_those_of_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    on = torch.rand(6, 25, generator=draw) < 0.4
    images, cells = torch.randint(6, (11,), generator=draw), torch.randint(25, (11,), generator=draw)
    share, chance = source_on_object(on, images, cells)
    assert share == pytest.approx(sum(bool(on[i, c]) for i, c in zip(images, cells, strict=True)) / 11)
    assert chance == pytest.approx(sum(float(on[i].float().mean()) for i in images) / 11)
    hits = torch.randint(25, (6, 3), generator=draw)
    share, chance = hits_on_object(on, hits)
    assert share == pytest.approx(sum(bool(on[n, c]) for n in range(6) for c in hits[n]) / 18)
    assert chance == pytest.approx(float(on.float().mean()))


def test_a_network_has_rows_of_the_object(place: Path, birds: ImageSet) -> None:
    blind = birds.__class__(**{**birds.__dict__, "masks": None, "parts": None})
    for run in ("teacher", "student"):
        tables = {"tuned": ResponseTable.load(place / run / "responses.safetensors")}
        answer = Answer(run, "paper", {}, tables, load_run(place / run))
        rows = list(object_rows(answer, birds))
        assert [row[3] for row in rows] == list(NAMES) and all(0 <= row[5] <= 1 for row in rows)
        assert not list(object_rows(answer, blind))


def test_shares_on_the_object_and_equal_patches_in_words(place: Path, birds: ImageSet) -> None:
    trained = {role: load_run(place / role) for role in ("teacher", "student")}
    tables = {role: {"tuned": ResponseTable.load(place / role / "responses.safetensors")} for role in trained}
    answers = [Answer(role, "paper", {}, tables[role], run) for role, run in trained.items()]
    told = on_object(answers, birds)
    for key, first in (("source", NAMES[0]), ("hits", NAMES[2])):
        assert told[key].startswith(("Source patches on the object", "Hits on the object")[key == "hits"])
        for answer in answers:
            found = {row[3]: row[5] for row in object_rows(answer, birds)}
            said = re.search(rf"{answer.role} ([\d.]+) % \(([\d.]+) %\)", told[key])
            assert said and [float(number) for number in said.groups()] == pytest.approx(
                [100 * found[name] for name in (first, f"{first}_chance")], abs=0.51
            )
    assert on_object(answers, birds.__class__(**{**birds.__dict__, "masks": None, "parts": None})) == {}
    found = trained["student"].projection
    assert found is not None
    images, cells = torch.tensor([0, 1, 0, 1, 2, 1]), torch.tensor([5, 5, 5, 5, 5, 4])
    changed = replace(found, images=images, cells=cells)
    assert one_patch(changed, range(6)) == "0 and 2; 1 and 3" and one_patch(changed, [3, 4, 5]) == ""


def test_cells_on_a_photographed_bird_have_a_visible_part(birds: ImageSet) -> None:
    draw = torch.Generator().manual_seed(1)
    parts = torch.rand(len(birds), 15, 3, generator=draw) * 32
    parts[..., 2] = (parts[..., 2] < 8).float()
    parts[0, :2] = torch.tensor([[32.0, 32.0, 1.0], [0.0, 0.0, 0.0]])  # at the very edge; not visible
    found = object_cells(replace(birds, masks=None, parts=parts), (5, 7))
    assert found is not None
    for n in range(len(birds)):
        on = {min(int(y * 5 / 32), 4) * 7 + min(int(x * 7 / 32), 6) for x, y, visible in parts[n].tolist() if visible}
        assert set(found[n].nonzero()[:, 0].tolist()) == on
    assert 34 in found[0].nonzero()[:, 0].tolist()


def test_one_image_shows_each_networks_share_of_the_evidence(said: Explained) -> None:
    assert said.teacher is not None
    for compact, count in ((False, 3), (True, 2)):
        figure = one_image([said.teacher, said], compact, said.predicted)
        assert len(figure.axes) == 2 * (1 + count)  # a row a network: the image, and a patch a prototype
        assert (
            max(ax.get_position().x1 for ax in figure.axes) <= 1
            and min(ax.get_position().y0 for ax in figure.axes) >= 0
        )
        shown = [text.get_text() for text in figure.axes[count + 2].texts]
        gain = sum(value for value in said.contributions.tolist() if value > 0)
        assert f"1: {100 * said.evidence[0].contribution / gain:.0f} %" in shown[0]
        words = " ".join(text.get_text() for text in figure.texts)
        assert "student" in words and "(right)" in words
