"""What the checks of both data sets say: small sets taken for the official ones, one fault at a time; shared sets."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from trees import CAR_FIELDS, CAR_LISTS, SHARED, Bird, CarRow, annotate, write_cars, write_cub

from p2p.data import verify
from p2p.data.verify import check_cars, check_cub

OFFICIAL_CUB, OFFICIAL_CARS = dict(verify.CUB_LISTS), dict(verify.CARS_LISTS)
WIDTH, HEIGHT = 60, 40


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def sentences(texts: list[str]) -> None:
    for text in texts:
        assert "\n" not in text and text.endswith(".") and not re.search(r"[.!?] +[A-Z]", text), text


# CUB-200-2011


@pytest.fixture
def cub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of eight images, half of them to train; 60 x 40 pixels, box (5, 4) to (45, 34), two parts."""
    base = tmp_path / "CUB_200_2011"
    parts = [(10.0, 20.0, True), (20.0, 20.0, True)]
    birds = [Bird(f"00{1 + n // 9}.Wren/{n}.jpg", 1 + n // 9, n % 2 == 1, (5, 4, 40, 30), parts) for n in range(1, 17)]
    for bird in birds:
        picture(base / "images" / bird.name)
    write_cub(base, birds, ["001.Wren", "002.Wren"], ["back", "left eye"])
    monkeypatch.setattr(verify, "CUB_LISTS", {name: md5((base / name).read_text()) for name in OFFICIAL_CUB})
    monkeypatch.setattr(verify, "CUB_COUNTS", {"classes": 2, "training images": 8, "test images": 8})
    return base


def test_a_complete_cub(cub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_cub(cub.parent)
    assert found.problems == [] and found.remarks == [] and len(found.listing.names) == 16
    monkeypatch.setenv("P2P_DATA", str(cub.parent))
    assert check_cub(None).problems == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("image_class_labels.txt", "3 1\n", "3 2\n", ["image_class_labels.txt", "not the official one"]),
        ("train_test_split.txt", "1 1\n2 0\n", "1 0\n2 1\n", ["train_test_split.txt", "not the official one"]),
        ("classes.txt", "2 002.Wren", "2 002.Auk", ["classes.txt", "not the official one"]),
        ("parts/parts.txt", "left eye", "right eye", ["parts.txt", "not the official one"]),
        (
            "images.txt",
            "1 001.Wren/1.jpg\n2 001.Wren/2.jpg",
            "1 001.Wren/2.jpg\n2 001.Wren/1.jpg",
            ["images.txt", "MD5"],
        ),
        ("bounding_boxes.txt", "9 5.0", "9 5.0 4.0 40.0 30.0\n9 5.0", ["bounding_boxes.txt", "17 lines", "16 in all"]),
        ("parts/part_locs.txt", "9 2 20.0 20.0 1\n", "", ["part_locs.txt", "31 lines", "32 in all"]),
        ("parts/part_locs.txt", "9 2 20.0", "9 1 20.0", ["part_locs.txt", "32 lines", "some twice"]),
        ("parts/part_locs.txt", "9 2 20.0", "9 2 58.0", ["1 of 32 visible parts", "outside"]),
        (
            "bounding_boxes.txt",
            "9 5.0 4.0",
            "9 45.0 30.0",
            ["Bounding box (45, 30, 85, 60)", "002.Wren/9.jpg", "60 x 40"],
        ),
        ("bounding_boxes.txt", "9 5.0", "9 five", ["Line 9", "bounding_boxes.txt"]),
    ],
)
def test_a_changed_list_is_named(cub: Path, file: str, old: str, new: str, words: list[str]) -> None:
    edit(cub / file, old, new)
    found = check_cub(cub)
    (problem, *more) = found.problems
    assert all(word in problem for word in words), problem
    # one fault, one problem: an image that cannot be used has no say about its parts
    assert more == [], more
    sentences(found.problems + found.remarks)


def test_missing_lists_and_counts(cub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(cub / "parts")
    found = check_cub(cub)
    assert [name in text for name, text in zip(("parts.txt", "part_locs.txt"), found.problems, strict=True)] == [
        True
    ] * 2
    monkeypatch.setattr(verify, "CUB_COUNTS", {"classes": 2, "training images": 9, "test images": 7})
    found = check_cub(cub)
    assert "8 training images, the official release 9" in found.problems[0] and "8 test images" in found.problems[1]
    (cub / "images.txt").unlink()
    found = check_cub(cub)
    assert len(found.problems) == 1 and "images.txt" in found.problems[0] and found.listing is None
    assert "does not exist" in check_cub(tmp_path / "none").problems[0]


def test_unreadable_and_missing_images_are_named(cub: Path) -> None:
    whole = (cub / "images" / "001.Wren" / "1.jpg").read_bytes()
    damage = {"001.Wren/2.jpg": whole[: len(whole) // 2], "001.Wren/5.jpg": b"", "002.Wren/12.jpg": b"<html>" * 99}
    for name, content in damage.items():
        (cub / "images" / name).write_bytes(content)
    (cub / "images" / "002.Wren" / "16.jpg").unlink()
    found = check_cub(cub)
    assert "1 of 16 listed images are missing" in found.problems[0] and "002.Wren/16.jpg" in found.problems[0]
    for name, text in zip(damage, found.problems[1:], strict=True):
        assert name in text and "cannot be decoded" in text
    sentences(found.problems)
    for number in range(1, 16):
        (cub / "images" / f"00{1 + number // 9}.Wren" / f"{number}.jpg").write_bytes(b"")
    found = check_cub(cub)
    assert len(found.problems) == 1 + verify.NAMED + 1
    assert found.problems[-1].startswith("15 of 16 images") and "first 10" in found.problems[-1]


def test_sound_differences_are_remarks(cub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(cub / "bounding_boxes.txt", "9 5.0 4.0 40.0 30.0", "9 5.0 4.0 58.0 30.0")
    found = check_cub(cub)
    assert found.problems == [] and found.remarks == [
        "Bounding boxes that stick out of their images: 1, by at most 3 pixels; they are cut at the edge."
    ]
    monkeypatch.setattr(verify, "STRAY_PARTS", 0.05)
    edit(cub / "parts" / "part_locs.txt", "3 1 10.0", "3 1 1.0")
    assert "1 of 32 visible parts" in check_cub(cub).remarks[1]
    for path in sorted((cub / "images").glob("*/*.jpg")):  # cut beforehand, saved in another format
        with Image.open(path) as image:
            image.crop((5, 4, 45, 34)).save(path.with_suffix(".webp"))
        path.unlink()
    (cub / "images.txt").write_text((cub / "images.txt").read_text().replace(".jpg", ".webp"))
    (cub / "bounding_boxes.txt").write_text("".join(f"{n} 0.0 0.0 40.0 30.0\n" for n in range(1, 17)))
    found = check_cub(cub)
    assert found.problems == [] and len(found.remarks) == 2
    assert all(text.startswith("Not the official release: ") for text in found.remarks)
    assert ".webp instead of .jpg" in found.remarks[0] and "cut to their boxes" in found.remarks[1]
    sentences(found.remarks)


# Stanford Cars


def car_rows(numbers: list[int]) -> list[CarRow]:
    return [(3, 2, WIDTH, HEIGHT, 1 + n % 2, f"{n:05d}.jpg") for n in numbers]


TRAIN, TEST = CAR_LISTS["train"], CAR_LISTS["test"]


@pytest.fixture
def cars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, six training and four test images; boxes reach the right and the lower edge of the image."""
    base = tmp_path / "stanford_cars"
    for split, count in (("train", 6), ("test", 4)):
        for n in range(1, count + 1):
            picture(base / f"cars_{split}" / f"{n:05d}.jpg")
    write_cars(base, ["A", "B"], car_rows([1, 2, 3, 4, 5, 6]), car_rows([1, 2, 3, 4]))
    labels = "00001 2\n00002 1\n00003 2\n00004 1\n00005 2\n00006 1\n"
    monkeypatch.setattr(verify, "CARS_LISTS", {"classes": md5("A\nB\n"), "training labels": md5(labels)})
    monkeypatch.setattr(verify, "CARS_CLASSES", 2)
    monkeypatch.setattr(verify, "CARS_COUNTS", {"train": 6, "test": 4})
    return base


def only(base: Path, *words: str) -> None:
    found = check_cars(base)
    assert len(found.problems) == 1, found.problems
    sentences(found.problems)
    assert all(word in found.problems[0] for word in words), found.problems


def test_cars_lists(cars: Path) -> None:
    found = check_cars(cars.parent)
    assert found.problems == [] and found.remarks == [] and len(found.listing.names) == 10
    rows, tests = car_rows([1, 2, 3, 4, 5, 6]), car_rows([1, 2, 3, 4])
    annotate(cars / TRAIN, [rows[1], rows[0], *rows[2:]])  # in another order, but each image with its class
    assert check_cars(cars).problems == []
    annotate(cars / TRAIN, [(*rows[0][:4], 1, "00001.jpg"), *rows[1:]])
    only(cars, "cars_train_annos.mat", "other numbers or classes")
    annotate(cars / TRAIN, [(*rows[0][:4], 3, "00001.jpg"), *rows[1:]])
    only(cars, "class 3", "1 to 2")
    annotate(cars / TRAIN, rows[:5])
    only(cars, "cars_train_annos.mat", "5 annotations", "6 images")
    annotate(cars / TRAIN, [(3, 2, 200, 90, 2, "00001.jpg"), *rows[1:]])
    only(cars, "Bounding box (2, 1, 200, 90)", "00001.jpg")
    annotate(cars / TRAIN, rows)
    annotate(cars / TEST, [(*row[:4], 1, row[5]) for row in tests])
    only(cars, TEST, "no image of B")
    annotate(cars / TEST, [*tests[:3], (3, 2, WIDTH, HEIGHT, 1, "00009.jpg")])
    (cars / "cars_test" / "00004.jpg").rename(cars / "cars_test" / "00009.jpg")
    only(cars, TEST, "00001 to 00004")
    annotate(cars / TEST, tests, CAR_FIELDS[:4] + CAR_FIELDS[5:])
    only(cars, TEST, "no field `class`")
    annotate(cars / TEST, tests)
    (cars / "cars_test" / "00009.jpg").rename(cars / "cars_test" / "00004.jpg")
    savemat(cars / "devkit" / "cars_meta.mat", {"class_names": np.array([["A", "C"]], dtype=object)})
    only(cars, "cars_meta.mat", "other class names")
    savemat(cars / "devkit" / "cars_meta.mat", {"class_names": np.array([["A", "B", "C"]], dtype=object)})
    only(cars, "cars_meta.mat", "3 classes, expected 2")


def test_cars_images(cars: Path) -> None:
    (cars / "cars_train" / "00003.jpg").write_bytes(b"<html>")
    only(cars, "00003.jpg", "cannot be decoded")
    (cars / "cars_train" / "00003.jpg").rename(cars / "cars_train" / "three.jpg")
    found = check_cars(cars)
    assert "1 of 10 listed images are missing" in found.problems[0] and "00003.jpg" in found.problems[0]
    (cars / "cars_train").rename(cars / "away")
    only(cars, "cars_train is missing")
    (cars / "cars_train").mkdir()
    (cars / "away").rename(cars / "cars_train" / "cars_train")
    only(cars, "cars_train/", "up one folder")


def test_fewer_cars_on_both_sides_are_not_the_release(cars: Path) -> None:
    annotate(cars / TEST, car_rows([1, 2, 3]))
    (cars / "cars_test" / "00004.jpg").unlink()
    only(cars, TEST, "3 annotations, the official one 4")


def test_nothing_of_cars_is_there(tmp_path: Path) -> None:
    found = check_cars(tmp_path)
    names = ("cars_meta.mat", "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_train", "cars_test")
    assert [name in text and "missing" in text for name, text in zip(names, found.problems, strict=True)] == [True] * 5
    sentences(found.problems)


def test_the_training_half_of_cars(cars: Path) -> None:
    """Training images alone, some held out under their official numbers: sound, but to be called what it is."""
    shutil.rmtree(cars / "cars_test")
    (cars / "cars_test").mkdir()
    for n in (3, 6):
        (cars / "cars_train" / f"{n:05d}.jpg").rename(cars / "cars_test" / f"{n:05d}.jpg")
    annotate(cars / TRAIN, car_rows([1, 2, 4, 5]))
    annotate(cars / TEST, car_rows([3, 6]))
    found = check_cars(cars)
    assert found.problems == [] and len(found.remarks) == 1
    assert "divided into 4 to train and 2 to test" in found.remarks[0]
    sentences(found.remarks)
    annotate(cars / TEST, [(3, 2, WIDTH, HEIGHT, 1, "00003.jpg"), *car_rows([6])])
    assert any("other numbers or classes" in text for text in check_cars(cars).problems)


# Photographs, generated and shared: crops, called what they are


@pytest.fixture
def released(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder; of the generated photographs the lists are taken for the official ones."""
    if photographs != SHARED:
        base = photographs / "CUB_200_2011"
        lists = {name: (base / name).read_text() for name in OFFICIAL_CUB}
        lists["images.txt"] = lists["images.txt"].replace(".webp", ".jpg")
        monkeypatch.setattr(verify, "CUB_LISTS", {name: md5(text) for name, text in lists.items()})
        monkeypatch.setattr(verify, "CUB_COUNTS", {"classes": 8, "training images": 48, "test images": 48})
        names = "".join(f"Generated Car {k} 2012\n" for k in range(1, 9))
        labels = "".join(f"{n:05d} {(n - 1) % 8 + 1}\n" for n in range(1, 97))
        monkeypatch.setattr(verify, "CARS_LISTS", {"classes": md5(names), "training labels": md5(labels)})
        monkeypatch.setattr(verify, "CARS_CLASSES", 8)
        monkeypatch.setattr(verify, "CARS_COUNTS", {"train": 96, "test": 90})
    return photographs


@pytest.mark.parametrize(
    ("check", "remarks"),
    [
        (check_cub, [".webp instead of .jpg", "cut to their boxes"]),
        (check_cars, ["the training half", ".webp instead of .jpg"]),
    ],
)
def test_photographs_have_the_official_lists(released: Path, check: Callable, remarks: list[str]) -> None:
    found = check(released)
    assert found.problems == []
    assert all(text.startswith("Not the official release: ") for text in found.remarks)
    assert all(any(remark in text for text in found.remarks) for remark in remarks)
