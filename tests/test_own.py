"""Your own images, end to end: the written study file, the check of every file, names as data, cautions, the page."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from p2p import figures
from p2p.data.checkup import check_up, refuse, table
from p2p.data.conversions import checked, frame, skipping
from p2p.data.images import load_images
from p2p.data.source import images_digest
from p2p.errors import UserError
from p2p.evaluation.cautions import Score, at_border, at_chance, guessing, not_followed
from p2p.evaluation.own import accuracy_table, confusion, how_sure, most_confused, said
from p2p.evaluation.runs import finish_run, load_run
from p2p.evaluation.settings import read_settings
from p2p.figures.style import short
from p2p.networks import ProtoNet
from p2p.study.own import (
    Found,
    choose,
    keep_from_git,
    sentences,
    study_file,
    study_text,
    weights_folder,
    write_study,
)
from p2p.study.params import DataParams, TrainParams, parameter_hash
from p2p.study.remedy import fitting
from p2p.study.study import Study, load_study
from p2p.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
NAMES = ("$x$ [a](b)|", 'Größe "<b>x" 🐦', "plain_one", "2.5", "$5", "it's")
WEIGHTS = {"mobilenet_v2": "mobilenet_v2.safetensors", "squeezenet1_1": "imagenet"}
FOUND = Found("/some/where/birds", NAMES[:4], 44, 16, 9, False, (87, 200, 300))


def module(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
        assert spec and spec.loader
        found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
        spec.loader.exec_module(found)
        return found
    finally:
        sys.path.remove(str(path.parent))


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 36), mode: str = "RGB", **how: object) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, **how)


def tree(root: Path, classes: tuple[str, ...] = NAMES[:2], each: int = 4) -> Path:
    for k, name in enumerate(classes):
        for i in range(each):
            picture(root / name / f"{i}.png", 100 * k + i)
    return root


# ------------------------------------------------------------------------------------------------- the defaults


def test_the_defaults_are_the_recipe_of_cub_20() -> None:
    study = load_study(ROOT / "params" / "cub-20.yaml")
    (triple,) = study.triples
    student = next(run for run in study.runs().values() if run.role == "baseline")
    named = {"study", "run", "role", "seed", *study.data, *study.recipe, *triple.student}
    default = TrainParams().model_dump()
    assert {k: v for k, v in student.model_dump().items() if k not in named} == {
        k: v for k, v in default.items() if k not in named
    }
    assert set(study.recipe) == {"grid"}
    recipe = {"prototypes_per_class": 10, "prototype_depth": 128, "prototype_init": "patches", "feature_init": "data"}
    recipe |= {"warm_epochs": 10, "warm_copies": 5, "joint_epochs": 80, "joint_copies": 10, "lr_trunk": 1e-3}
    recipe |= {"lr_prototypes": 0.01, "joint_factor": 0.3, "trunk_batchnorm": "frozen", "batch_size": 32}
    assert {key: default[key] for key in recipe} == recipe


MOVED = ("prototypes_per_class", "prototype_depth", "prototype_init", "feature_init", "warm_epochs", "warm_copies")
MOVED += ("joint_epochs", "joint_copies", "lr_trunk", "lr_prototypes", "joint_factor", "trunk_batchnorm")
BEFORE = {  # what the baseline of each study's first triple had when the defaults were others, in the order of MOVED
    "birds": (5, 64, "uniform", "kaiming", 0, 10, 800, 50, 1e-2, 3e-3, 1.0, "train"),
    "quick": (5, 64, "uniform", "kaiming", 0, 10, 50, 20, 3e-3, 3e-3, 1.0, "train"),
    "cub-20": (10, 128, "patches", "data", 10, 5, 80, 10, 1e-3, 0.01, 0.3, "frozen"),
    "cub-200": (10, 128, "patches", "data", 10, 5, 20, 10, 3e-4, 0.01, 0.3, "frozen"),
    "cub-short": (10, 128, "patches", "data", 10, 4, 4, 0, 5e-5, 0.01, 0.1, "frozen"),
    "cub": (10, 128, "patches", "data", 10, 5, 40, 0, 3e-4, 0.01, 0.3, "frozen"),
    "cars": (10, 128, "patches", "data", 10, 5, 40, 0, 3e-4, 0.01, 0.3, "frozen"),
    "cub-official": (10, 128, "patches", "data", 10, 5, 40, 0, 3e-4, 0.01, 0.3, "frozen"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_study_files_still_mean_what_they_meant(name: str) -> None:
    run = next(run for run in load_study(ROOT / "params" / f"{name}.yaml").runs().values() if run.role == "baseline")
    assert tuple(getattr(run, key) for key in MOVED) == BEFORE[name]


def test_without_warm_passes_their_copies_say_nothing() -> None:
    assert TrainParams(warm_epochs=0).warm_copies == 10 and TrainParams(warm_epochs=0, warm_copies=3).warm_copies == 3
    assert TrainParams().warm_copies == 5


# ------------------------------------------------------------------------------------------------- the study file


@pytest.mark.parametrize(
    ("found", "weights", "size", "grid", "networks"),
    [
        (FOUND, WEIGHTS, 160, 5, ("mobilenet_v2", "squeezenet1_1")),
        (replace(FOUND, sides=(60, 70, 90)), WEIGHTS, 96, 3, ("mobilenet_v2", "squeezenet1_1")),
        (replace(FOUND, sides=(32, 32, 32)), WEIGHTS, 32, 4, ("small", "small_half")),
        (FOUND, {"mobilenet_v2": "imagenet", "squeezenet1_1": ""}, 64, 8, ("small", "small_half")),
    ],
)
def test_the_written_file_is_a_study_that_fits_the_images(found, weights, size, grid, networks, tmp_path) -> None:
    choice = choose(found, weights)
    path = study_file("mine", tmp_path)
    write_study(path, found, choice)
    study = load_study(path)
    assert study.private and study.data == {"reader": "folder", "root": found.root, "size": size}
    runs = {run.role: run for run in study.runs().values()}
    assert (runs["teacher"].network, runs["student"].network) == networks
    assert {run.grid for run in runs.values()} == {grid} and runs["student"].prototypes_per_class == 4
    assert runs["student"].distillation == {"global": 10.0, "ppc": 10.0}
    text = path.read_text()
    assert text == study_text("mine", found, choice) == study_text("mine", found, choose(found, weights))
    assert all(f"# {line}" in text for line in (*sentences(found), *choice.why))
    pretrained = networks[0] == "mobilenet_v2"
    assert (runs["student"].weights != "none") == pretrained == (runs["student"].trunk_batchnorm == "frozen")
    assert "skip_bad" not in runs["student"].model_dump()


@pytest.mark.parametrize(
    ("weights", "folder", "told"),
    [
        (
            WEIGHTS,
            "/w",
            "mobilenet_v2.safetensors of P2P_WEIGHTS, '/w'; squeezenet1_1 downloaded, as P2P_WEIGHTS, '/w', has",
        ),
        (dict.fromkeys(WEIGHTS, "imagenet"), "", "ImageNet weights (mobilenet_v2 and squeezenet1_1 downloaded)."),
        (
            WEIGHTS | {"squeezenet1_1": ""},
            "/w",
            "no ImageNet weights of squeezenet1_1 can be had: P2P_WEIGHTS, '/w', has no",
        ),
        ({}, "", "of mobilenet_v2 and squeezenet1_1 can be had: P2P_WEIGHTS is not set, and a download has failed"),
    ],
)
def test_the_written_file_says_why_its_weights_and_how_to_change_them(weights, folder, told) -> None:
    text = study_text("mine", FOUND, choose(FOUND, weights, folder))
    header = text[: text.index("study:")]
    assert told in header and "let P2P_WEIGHTS" in header and "remove this file" in header
    own = weights.get("squeezenet1_1", "") != ""
    assert text.count("joint_epochs: ") == 1 + own and ("passes of its own" in text) == own
    assert text.count("warm_epochs") == 1  # the default, as a comment; or none, and why


def test_the_cost_of_the_written_file_grows_with_the_images() -> None:
    few, many = (choose(replace(FOUND, train=train), WEIGHTS).minutes for train in (36, 600))
    assert 3 <= few < many <= 30  # recorded of cub-20: 26 minutes for 590 images and 80 passes


@pytest.mark.parametrize(("name", "told"), [("gone", "no folder that is there"), ("file", "a file and no folder")])
def test_a_wrong_folder_of_weights_is_named(name: str, told: str, tmp_path, monkeypatch, refuses) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("P2P_WEIGHTS", str(tmp_path / name))
    with refuses("P2P_WEIGHTS is", name, told, "mobilenet_v2.safetensors", "unset it"):
        weights_folder()
    monkeypatch.setenv("P2P_WEIGHTS", str(tmp_path))
    assert weights_folder() == str(tmp_path)
    monkeypatch.delenv("P2P_WEIGHTS")
    assert weights_folder() == ""


def test_where_the_system_forbids_the_remedy_is_a_permission(tmp_path: Path, monkeypatch) -> None:
    def forbid(*_: object, **how: object) -> None:
        raise PermissionError(13, "Permission denied", f"{how['dir']}/.mine.yaml.part")

    monkeypatch.setattr("tempfile.mkstemp", forbid)
    with pytest.raises(UserError) as told:
        write_study(tmp_path / "my params" / "mine.yaml", FOUND, choose(FOUND, WEIGHTS))
    assert str(fitting(told.value)).endswith(
        f"allow it with `chmod u+w '{tmp_path}/my params'`, or choose another folder."
    )
    assert "free space" in str(told.value) and str(fitting(UserError("No."))) == "No."
    with pytest.raises(UserError, match="No") as again:
        try:
            raise UserError("No.")
        except UserError as error:
            raise fitting(error) from error
    assert fitting(again.value) is again.value  # though it is its own cause


def test_few_images_mean_few_prototypes_and_many_passes() -> None:
    few, many = (choose(replace(FOUND, train=n, fewest=f), WEIGHTS).recipe for n, f in ((6, 2), (9_000, 400)))
    assert (few["prototypes_per_class"], few["joint_epochs"], few["batch_size"]) == (1, 160, 16)
    assert (many["prototypes_per_class"], many["joint_epochs"], many.get("batch_size")) == (10, 20, None)


@pytest.mark.parametrize("root", ['/tmp/a "b" c', "/a/$x: #y", "/a/Größe 🐦", "/tmp/[a](b)|<b>", "/tmp/back\\slash"])
def test_a_folder_may_have_any_name(root: str, tmp_path: Path) -> None:
    path = study_file("mine", tmp_path)
    write_study(path, replace(FOUND, root=root), choose(FOUND, WEIGHTS))
    study = load_study(path)
    assert study.data["root"] == root and Path(root).name in study.title


@pytest.mark.parametrize("name", ["", "Mine", "a/b", "../x", "x" * 61, "ü"])
def test_a_name_that_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NAME is"):
        study_file(name, tmp_path)


def test_an_existing_file_is_used_as_it_is(tmp_path, monkeypatch, capsys) -> None:
    runner = module(ROOT / "notebooks" / "own.py")
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "pretrained", lambda network: "")
    (tmp_path / "params").mkdir()
    images, path = tree(tmp_path / "images"), tmp_path / "params" / "mine.yaml"
    runner.study_of(path, str(images))
    assert "Written: params/mine.yaml" in capsys.readouterr().out
    path.write_text(path.read_text() + "# edited\n")
    before = path.read_bytes()
    runner.study_of(path, str(images))
    runner.study_of(path, "")
    assert "used as it is" in capsys.readouterr().out and path.read_bytes() == before
    with pytest.raises(UserError, match="choose another NAME"):
        runner.study_of(path, str(tmp_path))
    path.write_text(before.decode().replace("private: true", "private: false"))
    with pytest.raises(UserError, match="no study of your own images"):
        runner.study_of(path, str(images))
    (tmp_path / "images.zip").write_bytes(b"PK")
    wrongs = {
        "": "IMAGES=",
        "gone": "no such folder",
        "images.zip": "unpack it",
        "params/mine.yaml": "is a file and no",
    }
    for wrong, told in ((str(tmp_path / name) if name else "", told) for name, told in wrongs.items()):
        with pytest.raises(UserError, match=told):
            runner.study_of(tmp_path / "params" / "other.yaml", wrong)
    for wrong, told in (
        ("/", "folder of the system"),
        ("/proc/self", "folder of the system"),
        ("/" + "a" * 300, "long"),
    ):
        with pytest.raises(UserError, match=told):
            runner.study_of(tmp_path / "params" / "other.yaml", wrong)


# ------------------------------------------------------------------------------------------------- every file


def odd(root: Path) -> Path:
    """Two classes with one file of each kind."""
    tree(root, ("a", "b"), 8)
    (root / "a" / "broken.png").write_bytes((root / "a" / "0.png").read_bytes()[:400])
    (root / "a" / "text.jpg").write_text("no image")
    (root / "a" / "notes.txt").write_text("x")
    picture(root / "b" / "grey.png", 50, mode="L")
    picture(root / "b" / "clear.png", 51, mode="RGBA")
    picture(root / "b" / "print.jpg", 52, mode="CMYK")
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(root / "b" / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(root / "b" / "turned.jpg", 53, exif=turned)
    odd = Image.Exif()
    odd[0x0112] = 77  # no orientation: it stays as it is
    picture(root / "b" / "tiny.png", 54, size=(9, 9), exif=odd)
    Image.new("RGB", (40, 40), "red").save(root / "b" / "red.png")
    frames = [Image.fromarray(np.full((40, 40, 3), v, np.uint8)) for v in (3, 200)]
    frames[0].putpixel((1, 1), (255, 0, 0))
    frames[0].save(root / "b" / "film.gif", save_all=True, append_images=frames[1:])
    return root


def params(root: Path, **more: object) -> DataParams:
    return DataParams.model_validate({"reader": "folder", "root": str(root), "size": 32} | more)


def test_each_kind_of_file_has_its_row(tmp_path: Path) -> None:
    found = check_up(params(odd(tmp_path / "own")))
    rows = {row.what: row for row in found.rows}
    one = {
        "broken": "a/broken.png",
        "no image, in spite of its name": "a/text.jpg",
        "no image by its name": "a/notes.txt",
        "with transparency": "b/clear.png",
        "CMYK": "b/print.jpg",
        "more than 8 bits": "b/deep.png",
        "rotated by EXIF": "b/turned.jpg",
        "several frames": "b/film.gif",
        "one single colour": "b/red.png",
        "tiny": "b/tiny.png",
    }
    assert {what: row.names for what, row in rows.items() if what != "greyscale"} == one
    assert rows["greyscale"].files == 2 and set(rows["greyscale"].names.split(", ")) == {"b/deep.png", "b/grey.png"}
    assert all(row.done for row in found.rows) and rows["broken"].done == "stops the run"
    shown = table(found).splitlines()
    assert len(shown) == 2 + len(rows) and f"{found.files} images" in shown[0] and found.files == 26
    with pytest.raises(UserError) as told:
        refuse(found, params(tmp_path / "own"), "params/mine.yaml")
    assert all(word in str(told.value) for word in ("a/broken.png", "a/text.jpg", "skip_bad: true", "params/mine.yaml"))
    assert "\n" not in str(told.value)


def test_of_many_bad_files_a_message_names_the_first(tmp_path: Path) -> None:
    root = tree(tmp_path / "own", ("a", "b"), 4)
    for i in range(30):
        (root / "a" / f"bad{i:02}.png").write_bytes(b"")
    found = check_up(params(root))
    (row,) = found.rows
    assert (row.what, row.files) == ("no image, in spite of its name", 30)
    with pytest.raises(UserError, match=r"30 of 38 images.*bad19\.png .*; 10 more; replace") as told:
        refuse(found, params(root), "x")
    assert "bad20" not in str(told.value)


@pytest.mark.parametrize(("large", "said"), [(39, False), (40, True)])
def test_classes_of_very_different_size_are_said(tmp_path: Path, large: int, said: bool) -> None:
    root = tree(tmp_path / "own", ("few", "many"), 4)
    for i in range(4, large):
        picture(root / "many" / f"{i}.png", 100 + i)
    remarks = check_up(params(root)).remarks
    assert [("few has 4 images" in remark and "many has 40" in remark) for remark in remarks] == [True] * said


@pytest.mark.parametrize("path", ["a $HOME $(id) `id` \"q\" 'z' # 100%", "plain"])
def test_make_takes_a_path_as_it_was_typed(tmp_path: Path, path: str) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    for words in (["own", f"IMAGES={path}"], ["explain", "RUN=r", f"IMAGE={path}", f"OUT={path}"]):
        done = subprocess.run(
            ["make", "-s", "-C", ROOT, "-o", "setup", f"BIN={tmp_path}", *words], capture_output=True, text=True
        )
        assert done.stdout.splitlines().count(path) == len(words) - 1 - (words[0] == "explain"), done


def test_nothing_odd_is_one_line(tmp_path: Path) -> None:
    found = check_up(params(tree(tmp_path / "own")))
    assert found.rows == () and len(table(found).splitlines()) == 1
    refuse(found, params(tmp_path / "own"), "x")


def test_copies_within_training_and_across_the_split(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for place, seed in (("train/a/1", 1), ("train/a/2", 2), ("train/a/copy", 1), ("test/a/3", 3), ("test/a/leak", 2)):
        picture(root / f"{place}.png", seed)
    for place, seed in (("train/b/4", 4), ("train/b/5", 5), ("train/b/lost", 1), ("test/b/6", 6)):
        picture(root / f"{place}.bmp", seed)
    rows = {row.what: (row.files, row.done) for row in check_up(params(root)).rows}
    assert rows["twice in training"][0] == 2 and rows["in two classes"][0] == 3
    assert rows["in training and test"] == (1, "stops the run")
    with pytest.raises(UserError, match=r"train/a/2\.png and test/a/leak\.png.*allow_duplicates"):
        refuse(check_up(params(root)), params(root), "x")
    allowed = params(root, allow_duplicates=True)
    refuse(check_up(allowed), allowed, "x")


def test_skip_bad_leaves_out_and_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    root = odd(tmp_path / "own")
    for path in ("red.png", "film.gif", "deep.png"):
        (root / "b" / path).unlink()
    with pytest.raises(UserError, match="cannot be"):
        load_images(params(root))
    skipping = params(root, skip_bad=True)
    images = load_images(skipping)
    assert not {"a/broken.png", "a/text.jpg"} & set(images.names) and len(images) == 21
    assert any("left out, as they cannot be read: 2" in remark for remark in images.remarks)
    checked = check_up(skipping)
    refuse(checked, skipping, "x")
    assert {row.done for row in checked.rows if row.what == "broken"} == {"left out, as skip_bad says"}
    assert images_digest(skipping) == images.source
    picture(root / "a" / "broken.png", 99)  # mended: its place in the cache is another
    assert "a/broken.png" in load_images(skipping).names


@pytest.mark.parametrize(("bad", "told"), [(2, "has 2 images"), (4, "has no image that can be read")])
def test_a_class_too_small_without_its_bad_files_says_how_many_they_were(
    bad: int, told: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    root = tree(tmp_path / "own", ("auk", "wren"))
    for i in range(bad):
        (root / "auk" / f"{i}.png").write_bytes(b"no image")
    (root / "wren" / "5.png").write_bytes(b"")
    skipping_all = params(root, skip_bad=True)
    with pytest.raises(UserError) as error, skipping(skipping_all):
        check_up(skipping_all)
    text = str(error.value)
    assert text.startswith("Class") and told in text and text.endswith("remove the class.") and "\n" not in text
    assert f"leaves out {bad + 1} files that cannot be read ({bad} of auk, 1 of wren; such as auk/0.png)" in text
    for given in (params(root), skipping_all):  # other mistakes stay what they are
        with pytest.raises(UserError, match=r"^Other\.$"), skipping(given):
            raise UserError("Other.")


def test_rows_say_what_they_count_and_files_left_out_are_told_apart(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    root = tree(tmp_path / "own", ("auk", "wren"), 5)
    (root / "wren" / "twin.png").write_bytes((root / "auk" / "0.png").read_bytes())
    (root / "auk" / "a.heic").write_bytes(b"x")
    (root / "auk" / "notes.txt").write_text("x")
    os.mkfifo(root / "auk" / "pipe.jpg")
    heic = root / "auk" / "phone.jpg"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    given = params(root, allow_duplicates=True)
    for _ in "looked", "kept":
        found = checked(given)
        rows = {row.what: (row.files, row.names) for row in found.rows}
        assert rows["of a format that is not read"] == (1, "auk/a.heic") and rows["pipe, socket or device"][0] == 1
        assert rows["no image by its name"] == (1, "auk/notes.txt")
        assert rows["same picture under several classes, each file counted"] == (2, "auk/0.png, wren/twin.png")
        assert found.bad.keys() == {"auk/phone.jpg"} and "is HEIC in spite of its name" in found.bad["auk/phone.jpg"]
        assert list(frame(found)["files"]) == [str(row.files) for row in found.rows]
    assert len(list((tmp_path / "cache").glob("checkup-*.json"))) == 1
    heic.unlink()
    assert not checked(given).bad


def test_skip_bad_changes_no_hash_where_it_says_nothing() -> None:
    plain, false, true = (TrainParams(**more) for more in ({}, {"skip_bad": False}, {"skip_bad": True}))
    assert plain.model_dump_json() == false.model_dump_json() and "skip_bad" not in plain.model_dump()
    assert parameter_hash(plain) == parameter_hash(false) != parameter_hash(true)


def test_skip_bad_is_for_folders(tmp_path: Path) -> None:
    text = (ROOT / "params" / "cub-20.yaml").read_text().replace("reader: cub", "reader: cub\n  skip_bad: true")
    (tmp_path / "cub-20.yaml").write_text(text)
    with pytest.raises(UserError, match="skip_bad.*reader 'folder' alone"):
        load_study(tmp_path / "cub-20.yaml")


# ------------------------------------------------------------------------------------------------- names as data


def text_of(figure: Figure) -> str:
    from html import unescape

    return unescape(" ".join(re.findall(r"<text[^>]*>(.*?)</text>", figures.svg(figure), re.S)))


def test_class_names_are_shown_as_they_are() -> None:
    counts = torch.eye(len(NAMES), dtype=torch.int64)
    text = text_of(figures.confusion_matrix(counts, NAMES))
    assert all(name in text for name in ("$x$ [a](b)|", 'Größe "<b>x"', "plain one", "2.5", "$5", "it's"))
    pixels = torch.zeros(len(NAMES), 3, 8, 8, dtype=torch.uint8)
    assert "$x$ [a](b)|" in text_of(figures.image_sheet(pixels, NAMES))
    assert short("001.Black_footed_Albatross", 40) == "Black footed Albatross" and short("___", 9) == "___"


def test_confusions_are_counted_and_named_in_markdown() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 2, 3]), torch.tensor([1, 1, 0, 1, 3, 3])
    counts = confusion(predicted, labels, 4)
    assert counts.sum() == 6 and counts[0].tolist() == [1, 2, 0, 0] and counts[2, 3] == 1
    shown = most_confused(counts, NAMES[:4])
    assert shown["how often"].tolist() == ["2 of 3", "1 of 1"]
    assert shown["images of"][0] == r"\$x\$ \[a\]\(b\)\|" and shown["taken for"][0].startswith("Größe")
    assert len(most_confused(torch.eye(4, dtype=torch.int64), NAMES[:4])) == 0


# ------------------------------------------------------------------------------------------------- cautions


def test_wilson_against_the_formula() -> None:
    for right, count in ((0, 4), (3, 4), (11, 16), (940, 1000)):
        p, z = right / count, 1.959963984540054
        middle, half = p + z * z / (2 * count), z * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2))
        expected = (np.array([middle - half, middle + half]) / (1 + z * z / count)).clip(0, 1)
        assert Score(right, count).interval() == pytest.approx(tuple(expected), abs=1e-9)
    assert "4 test images say little" in how_sure(Score(3, 4)) and "say little" not in how_sure(Score(940, 1000))
    assert said(Score(0, 4)).startswith("0 of 4 (0 %; 0 to ") and "99.9 %" in said(Score(9999, 10_000))
    assert "below 1 %" in said(Score(1, 1000))


def test_a_network_at_chance_is_said() -> None:
    found = {"teacher": Score(15, 16), "student": Score(6, 16)}
    told = at_chance(found, 0.25)
    assert "student (6 of 16 right) is not shown to be better than guessing (25 %)" in told and "teacher" not in told
    assert at_chance({"teacher": Score(15, 16)}, 0.25) == ""
    assert guessing(torch.tensor([0, 0, 0, 1]), 2) == 0.75 and guessing(torch.tensor([0, 1, 2, 3]), 4) == 0.25
    assert accuracy_table(found, 0.25)["accuracy"].tolist() == ["94 %", "38 %", "25 %"]


def test_prototypes_at_the_border_are_said() -> None:
    ring = torch.tensor([0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 19, 20, 21, 22, 23, 24])
    told = at_border({"student": ring, "teacher": torch.arange(25)}, (5, 5))
    assert "student (16 of 16)" in told and "teacher" not in told and "64 %" in told
    assert at_border({"student": torch.zeros(40, dtype=torch.int64)}, (2, 2)) == ""  # all cells are outermost


def test_a_student_that_did_not_follow_is_said() -> None:
    assert not_followed(0.5) == not_followed(None) == ""
    assert "3 % of what varies" in not_followed(0.03) and "(R² 0.03)" in not_followed(0.03)
    assert "not above 0" in not_followed(-0.2) and "0.00" not in not_followed(0.0)
    for told in (not_followed(0.03), not_followed(-1.0)):
        assert told.count(". ") == 0 and told.endswith(".")


# ------------------------------------------------------------------------------------------------- a tiny study


@pytest.fixture(scope="module")
def tiny_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four images at 32 px, trained for a moment, its page drawn; the folder it all lies in."""
    place = tmp_path_factory.mktemp("own")
    found = Found(str(tree(place / "images")), NAMES[:2], 6, 2, 2, False, (36, 36, 36))
    (place / "images" / NAMES[1] / "phone.heic").write_bytes(b"x")
    picture(place / "images" / NAMES[0] / "3.png", 3, mode="RGBA")
    path = study_file("mine", place)
    write_study(path, found, choose(found, {}))
    text = path.read_text().replace("joint_epochs: 400", "joint_epochs: 2")
    path.write_text(text.replace('"My images: images"', '"R&D <b>images"'))
    study = load_study(path)
    for name, run in study.runs().items():
        folder = place / "runs" / "mine" / name
        taught = load_run(folder.parent / run.teacher_run) if run.teacher_run else None
        network = taught.network if taught else None
        assert network is None or isinstance(network, ProtoNet)
        images = load_images(run)
        Trainer(run, images, folder, network).run(progress=False)
        outcome = finish_run(folder, images, network)
        (folder / "run.json").write_text(json.dumps({"outcome": outcome}))
    values = study.page().model_dump() | {"runs": str(place / "runs"), "results": str(place / "results")}
    out = place / "results" / "mine"
    for source, given in (("12_own", values), ("01_data", study.data_params().model_dump())):
        command = [sys.executable, str(ROOT / "notebooks" / "execute.py"), str(ROOT / "notebooks" / f"{source}.py")]
        command += [str(out / f"{source}.ipynb"), "--parameters", json.dumps(given)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
        assert done.returncode == 0, done.stderr[-3000:]
    keep_from_git(out)
    return place


def words(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join([c.source for c in cells if c.cell_type == "markdown"] + [str(o.get("data", o)) for o in outputs])


def test_the_page_of_a_tiny_study_stays_true(tiny_own: Path) -> None:
    out = tiny_own / "results" / "mine"
    text = re.sub(r"<svg.*?</svg>", "", words(out / "12_own.ipynb"), flags=re.S)
    text = re.sub(r":::\{admonition\} Provenance.*?:::", "", text, flags=re.S)
    assert "0.000" not in text and "nan" not in text.lower().replace("finance", "")
    assert "2 test images say little" in text and "guessing" in text and "claim" not in text.lower()
    summary = (out / "summary.txt").read_text().splitlines()
    assert any(line.startswith("Caution: ") and "guessing" in line for line in summary)
    for caution in (line.removeprefix("Caution: ") for line in summary if line.startswith("Caution: ")):
        assert caution in text.replace("\\n", "\n")


def test_the_data_page_lists_what_became_of_the_files(tiny_own: Path) -> None:
    text = words(tiny_own / "results" / "mine" / "01_data.ipynb")
    rows = dict(re.findall(r"\| (with transparency|of a format that is not read) +\| (\d+)", text))
    assert rows == {"with transparency": "1", "of a format that is not read": "1"}
    assert "phone" in text and "laid on white" in text and "Of 8 image files in the folder" in text
    assert "Files left out" not in text  # they are in the table


def test_a_private_study_is_in_no_published_page(tiny_own: Path) -> None:
    studies = module(ROOT / "book" / "studies.py")
    assert studies.find_studies(tiny_own / "results") == []
    assert list(read_settings(tiny_own / "results")) == []
    ignored = subprocess.run(
        ["git", "init", "-q", "."], cwd=tiny_own / "results", check=True, capture_output=True
    ) and subprocess.run(
        ["git", "status", "--porcelain", "-uall"],
        cwd=tiny_own / "results",
        check=True,
        capture_output=True,
        text=True,
    )
    assert "mine" not in ignored.stdout


def test_the_small_book_is_built(tiny_own: Path) -> None:
    """Its title is text, wherever the theme shows it: study_file's is `R&D <b>images`."""
    build = module(ROOT / "book" / "build.py")
    page = build.build_own("mine", ROOT / "book", tiny_own / "results", tiny_own / "book")
    assert page == tiny_own / "book" / "_build" / "own-mine" / "html" / "index.html"
    html = page.read_text()
    assert "What came out" in html and "&lt;b&gt;x" in html and "<b>x" not in html and "$x$ [a](b)|" in html
    assert {path.name for path in page.parent.glob("*.html")} >= {"index.html", "images.html", "files.html"}
    assert "injected" not in html
    for one in page.parent.glob("*.html"):
        text = one.read_text()
        assert "<b>images" not in text and "R&amp;D &lt;b&gt;images" in text and "&amp;amp;" not in text, one
    with pytest.raises(UserError, match="cannot be shown as a private one"):
        build.build_own("other", ROOT / "book", tiny_own / "results", tiny_own / "book")


def test_the_workflow_of_a_private_study_has_no_claims() -> None:
    assert not Study.model_fields["private"].default
    text = (ROOT / "Snakefile").read_text()
    assert '"12_own"' in text and "--own {NAME}" in text
