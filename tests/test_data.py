"""Readers, decoding, splits and the image cache: generated trees of known colours, and the shared data."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bounds import rounding
from PIL import Image
from scipy.io import savemat
from trees import CAR_FIELDS, Bird, CarRow, annotate, write_cars, write_cub

from p2p.data import birds, decode
from p2p.data.images import BIRD_TEST_INDEX, ImageSet, bird_indices, load_images
from p2p.data.listing import seeded_cut
from p2p.data.readers import CARS_META, load_mat
from p2p.data.source import images_digest
from p2p.data.species import PARTS, class_table
from p2p.errors import UserError

RED, BLUE = (250, 10, 20), (5, 30, 240)


def parameters(reader: str, root: Path | str = "", **changed: object) -> SimpleNamespace:
    values = {
        "reader": reader,
        "root": str(root),
        "size": 32,
        "class_step": 1,
        "class_first": 0,
        "class_count": None,
        "images_per_class": None,
        "validation_fraction": 0.25,
        "skip_bad": False,
        "data_seed": 0,
        "streaming": "off",
        "allow_duplicates": False,
        "bird_train_per_class": 8,
        "bird_test_per_class": 3,
        "bird_hardness": 0.0,
    }
    return SimpleNamespace(**(values | changed))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def paint(path: Path, box: tuple[int, int, int, int], width: int = 60, height: int = 40) -> None:
    """A blue PNG with a red box, x0, y0, x1, y1 (ends excluded)."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Three classes of four training and two test images, each with a red box of its own; two parts."""
    root, birds = tmp_path / "CUB_200_2011", []
    for label in (1, 2, 3):
        for i in range(6):
            x, y, w, h = 6 + len(birds), 3 + i, 19 + label, 16
            name = f"{label:03d}.Bird/{i}.png"
            paint(root / "images" / name, (x, y, x + w, y + h))
            parts = [(x + w / 4, y + 12.0, True), (x + 1.0, y + 1.0, i == 0)]  # a quarter across, three quarters down
            birds.append(Bird(name, label, i < 4, (x, y, w, h), parts))
    return write_cub(root, birds, [f"{k:03d}.Bird" for k in (1, 2, 3)], ["beak", "left eye"])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_cub_frames_show_the_box_and_nothing_else(cub: Path) -> None:
    images = load_images(parameters("cub", cub))
    assert images.pixels.shape == (18, 3, 32, 32) and images.pixels.dtype == torch.uint8
    assert (images.pixels == torch.tensor(RED, dtype=torch.uint8)[None, :, None, None]).all()
    assert torch.equal(images.boxes, torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(18, 4))
    assert images.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert images.classes == ("001.Bird", "002.Bird", "003.Bird")
    assert images.names[7] == "002.Bird/1.png"


def test_the_edges_of_a_box_go_to_the_nearest_pixel(cub: Path) -> None:
    edit(cub / "bounding_boxes.txt", "1 6.0 3.0 20.0 16.0", "1 6.4 2.6 19.9 16.2")  # 6.4 to 26.3, 2.6 to 18.8
    assert (load_images(parameters("cub", cub)).pixels[0] == torch.tensor(RED, dtype=torch.uint8)[:, None, None]).all()


def test_cub_parts_are_in_frame_pixels(cub: Path) -> None:
    images = load_images(parameters("cub", cub))
    assert images.part_names == ("beak", "left eye")
    assert torch.allclose(images.parts[:, 0], torch.tensor([8.0, 24.0, 1.0]).expand(18, 3))
    assert images.parts[:, 1, 2].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0] * 3
    assert torch.allclose(images.parts[6, 1, :2], torch.tensor([32 / 21, 2.0]))  # class 2: 21 x 16 pixels
    assert (images.parts[1, 1] == 0).all()


def test_a_part_outside_the_crop_is_not_visible(cub: Path) -> None:
    edit(cub / "parts" / "part_locs.txt", "1 1 11.0 15.0 1", "1 1 2.0 15.0 1")
    assert (load_images(parameters("cub", cub)).parts[0, 0] == 0).all()


def test_split_is_official_and_validation_is_cut_from_each_class(cub: Path) -> None:
    images = load_images(parameters("cub", cub))
    for label in range(3):
        split = images.split[images.labels == label].tolist()
        assert split[4:] == [2, 2] and sorted(split[:4]) == [0, 0, 0, 1]
    assert [len(images.subset(s)) for s in ("train", "validation", "test")] == [9, 3, 6]
    assert torch.equal(load_images(parameters("cub", cub)).split, images.split)
    others = [load_images(parameters("cub", cub, data_seed=s)).split for s in (1, 2, 3)]
    assert any(not torch.equal(other, images.split) for other in others)


def test_the_cut_of_a_class_does_not_depend_on_the_others_or_on_the_extension(cub: Path) -> None:
    whole = load_images(parameters("cub", cub))
    some = load_images(parameters("cub", cub, class_step=2))
    split_of = dict(zip(whole.names, whole.split.tolist(), strict=True))
    assert [split_of[name] for name in some.names] == some.split.tolist()
    labels = np.zeros(40, dtype=int)
    cuts = [seeded_cut([f"{i}{e}" for i in range(40)], labels, "a", 0.3, 5, "test") for e in (".jpg", ".webp")]
    assert (cuts[0] == cuts[1]).all() and cuts[0].sum() == 12


def test_choosing_classes_and_images(cub: Path) -> None:
    images = load_images(parameters("cub", cub, class_step=2, images_per_class=2))
    assert images.classes == ("001.Bird", "003.Bird")
    assert images.labels.tolist() == [0] * 4 + [1] * 4
    assert [n for n in images.names if n.startswith("003")] == [f"003.Bird/{i}.png" for i in (0, 1, 4, 5)]
    assert load_images(parameters("cub", cub, class_count=2)).classes == ("001.Bird", "002.Bird")
    others = load_images(parameters("cub", cub, class_first=1, class_count=2))
    assert others.classes == ("002.Bird", "003.Bird") and sorted(set(others.labels.tolist())) == [0, 1]
    shifted = parameters("cub", cub, class_first=1)
    assert images_digest(shifted) != images_digest(parameters("cub", cub)), "other classes are another study's images"


def test_classes_left_out_are_never_opened(cub: Path) -> None:
    (cub / "images" / "002.Bird" / "0.png").write_bytes(b"broken")
    assert len(load_images(parameters("cub", cub, class_step=2))) == 12


def test_root_may_be_the_parent_and_come_from_the_environment(cub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2P_DATA", str(cub.parent))
    assert len(load_images(parameters("cub"))) == 18
    assert len(load_images(parameters("cub", root=cub.parent))) == 18


def test_resizing_matches_an_area_average(tmp_path: Path) -> None:
    """Halving with an antialiased triangle filter: weights 1, 3, 3, 1 over 8 along each axis."""
    values = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for name in "ab":
        (tmp_path / "tree" / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(values).save(tmp_path / "tree" / name / f"{i}.png")
    pixels = load_images(parameters("folder", tmp_path / "tree", allow_duplicates=True)).pixels[0, 0].numpy()
    rows = sum(w * values[1 + k :][0:60:2].astype(float) for k, w in enumerate((1, 3, 3, 1))) / 8
    expected = sum(w * rows[:, 1 + k :][:, 0:60:2] for k, w in enumerate((1, 3, 3, 1))) / 8
    assert np.abs(pixels[1:-1, 1:-1] - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("images.txt", "3 001.Bird/2.png", "three 001.Bird/2.png", ["Line 3", "images.txt"]),
        ("bounding_boxes.txt", "2 7.0 4.0 20.0 16.0", "2 7.0 4.0 20.0", ["Line 2", "bounding_boxes.txt"]),
        ("bounding_boxes.txt", "2 7.0 4.0 20.0 16.0", "2 7.0 4.0 0.0 16.0", ["001.Bird/1.png", "empty"]),
        ("bounding_boxes.txt", "2 7.0 4.0 20.0 16.0", "2 7.0 4.0 500.0 300.0", ["1.png", "60 x 40", "fit"]),
        ("image_class_labels.txt", "2 1\n", "2 9\n", ["001.Bird/1.png", "class 9"]),
        ("image_class_labels.txt", "5 1\n", "", ["image 5", "image_class_labels.txt"]),
        ("train_test_split.txt", "\n18 0", "\n17 0", ["image 18", "train_test_split.txt"]),
        ("classes.txt", "3 003.Bird", "3 003.Bird\n4 004.Bird", ["004.Bird", "no training image"]),
        ("images.txt", "\n2 ", "\n1 ", ["images.txt", "twice"]),
        ("images.txt", "001.Bird/2.png", "001.Bird/77.png", ["77.png", "missing"]),
        ("parts/part_locs.txt", "1 1 11.0", "1 7 11.0", ["part_locs.txt", "part 7"]),
    ],
)
def test_contradictions_are_named(cub: Path, file: str, old: str, new: str, words: list[str]) -> None:
    edit(cub / file, old, new)
    with pytest.raises(UserError) as caught:
        load_images(parameters("cub", cub))
    check_sentence(caught, words)


def check_sentence(caught: pytest.ExceptionInfo[UserError], words: list[str]) -> None:
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text and text.endswith(".") and ". " not in text, text


@pytest.mark.parametrize("file", ["images.txt", "bounding_boxes.txt", "train_test_split.txt", "classes.txt"])
def test_a_missing_list_is_named(cub: Path, file: str) -> None:
    (cub / file).unlink()
    with pytest.raises(UserError) as caught:
        load_images(parameters("cub", cub))
    check_sentence(caught, [str(cub / file)])


def test_parts_are_optional(cub: Path) -> None:
    (cub / "parts" / "parts.txt").unlink()
    assert load_images(parameters("cub", cub)).part_names == ("part 1", "part 2")
    shutil.rmtree(cub / "parts")
    images = load_images(parameters("cub", cub))
    assert images.parts is None and images.part_names == ()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty"])
def test_a_corrupt_image_is_named_and_leaves_no_cache(cub: Path, own_cache: Path, damage: str) -> None:
    path = cub / "images" / "002.Bird" / "3.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    content = {"garbage": b"no image", "truncated": path.read_bytes()[:3000], "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_images(parameters("cub", cub))
    assert "002.Bird/3.png" in str(caught.value) and "cannot be decoded" in str(caught.value)
    assert list(own_cache.glob("*.*")) == []


@pytest.mark.parametrize("reader", ["cub", "cars", "folder"])
def test_missing_roots(reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("P2P_DATA", raising=False)
    with pytest.raises(UserError) as caught:
        load_images(parameters(reader))
    check_sentence(caught, ["P2P_DATA", "root"])
    with pytest.raises(UserError) as caught:
        load_images(parameters(reader, tmp_path / "nowhere"))
    check_sentence(caught, ["nowhere", "does not exist"])
    if reader != "folder":
        assert f"python -m p2p.data.download {reader} --root" in str(caught.value)


def test_cache_is_read_back_and_keyed_by_the_files(cub: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    frame = decode.read_frame
    monkeypatch.setattr(decode, "read_frame", lambda path, *rest: decoded.append(path) or frame(path, *rest))
    first = load_images(parameters("cub", cub))
    pixels = first.pixels.clone()
    assert len(decoded) == 18
    again = load_images(parameters("cub", cub))
    assert len(decoded) == 18
    assert torch.equal(again.pixels, pixels) and torch.equal(first.parts, again.parts)
    again.pixels.zero_()  # a private mapping: the file keeps its content
    assert torch.equal(load_images(parameters("cub", cub)).pixels, pixels)
    load_images(parameters("cub", cub, data_seed=4))  # another cut, the same pixels
    assert len(decoded) == 18
    load_images(parameters("cub", cub, size=16))
    assert len(decoded) == 36
    path = cub / "images" / "001.Bird" / "0.png"
    size = path.stat().st_size
    paint(path, (0, 0, 1, 1))
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))  # another image in as many bytes
    assert path.stat().st_size == size
    changed = load_images(parameters("cub", cub))
    assert len(decoded) == 54 and changed.pixels[0, :, 9, 9].tolist() == list(BLUE)
    edit(cub / "bounding_boxes.txt", "1 6.0 3.0 20.0", "1 6.0 3.0 10.0")
    load_images(parameters("cub", cub))
    assert len(decoded) == 72
    assert all(path.suffix == ".npy" for path in own_cache.iterdir() if path.is_file())


@pytest.mark.parametrize("keep", [0, 50, 20_000, 55_500])
def test_a_cut_off_cache_file_is_decoded_anew(cub: Path, own_cache: Path, keep: int) -> None:
    first = load_images(parameters("cub", cub)).pixels.clone()
    (path,) = own_cache.glob("*.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    assert torch.equal(load_images(parameters("cub", cub)).pixels, first)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("asked_first", [True, False])
def test_full_disk(cub: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, asked_first: bool) -> None:
    """A disk too small for the cache, whether or not its free space is reported truly."""
    monkeypatch.setenv("P2P_CACHE", str(small_disk))
    mounted = small_disk.name == "mounted"
    if not (mounted and asked_first):
        free = 64 * 1024 if asked_first else 10**12
        monkeypatch.setattr(decode.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(UserError) as caught:
        load_images(parameters("cub", cub, size=128))
    text = str(caught.value)
    assert str(small_disk) in text and "free space" in text and "\n" not in text
    assert ("P2P_CACHE" if asked_first else "No space left on device" if mounted else "File too large") in text
    assert list(small_disk.glob("*.*")) == []


def test_a_cache_folder_that_is_a_file(cub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError) as caught:
        load_images(parameters("cub", cub))
    check_sentence(caught, ["P2P_CACHE"])


# Stanford Cars


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """Two classes, three training and two test images each; boxes count from 1 and include their ends."""
    root = tmp_path / "stanford_cars"
    rows: dict[str, list[CarRow]] = {"train": [], "test": []}
    for split, count in (("train", 6), ("test", 4)):
        for i in range(count):
            paint(root / f"cars_{split}" / f"{i + 1:05d}.png", (15, 10, 45, 30))
            rows[split].append((16, 11, 45, 30, i % 2 + 1, f"{i + 1:05d}.png"))
    return write_cars(root, ["Car A", "Car B"], **rows)


def test_cars_are_read_uncropped_with_boxes(cars: Path) -> None:
    images = load_images(parameters("cars", cars.parent))
    assert images.classes == ("Car A", "Car B")
    assert images.labels.tolist() == [0, 1] * 5
    assert (images.split == 2).tolist() == [False] * 6 + [True] * 4
    assert torch.allclose(images.boxes, torch.tensor([8.0, 8.0, 24.0, 24.0]).expand(10, 4))
    assert images.pixels[0, :, 16, 16].tolist() == list(RED)
    assert images.pixels[0, :, 2, 2].tolist() == list(BLUE)
    assert images.parts is None and images.masks is None


def test_cars_crop_cuts_the_inclusive_box(cars: Path) -> None:
    from p2p.data.readers import read_cars

    decoded = decode.decode(read_cars(cars, crop=True), 16, "cars")
    assert (decoded.pixels == torch.tensor(RED, dtype=torch.uint8)[None, :, None, None]).all()
    assert (decoded.windows == [15, 10, 45, 30]).all()


def test_cars_mistakes(cars: Path) -> None:
    train = cars / "devkit" / "cars_train_annos.mat"
    test = cars / "cars_test_annos_withlabels.mat"
    good, good_test = train.read_bytes(), test.read_bytes()

    def message() -> pytest.ExceptionInfo[UserError]:
        with pytest.raises(UserError) as caught:
            load_images(parameters("cars", cars))
        return caught

    (cars / "cars_train" / "00004.png").rename(cars / "away.png")
    check_sentence(message(), ["cars_train_annos.mat", "6 annotations", "5 images"])
    (cars / "away.png").rename(cars / "cars_train" / "other.png")
    check_sentence(message(), ["00004.png", "missing"])
    (cars / "cars_train" / "other.png").rename(cars / "cars_train" / "00004.png")
    for content in (good[:200], good[: len(good) - 40], b"", b"text"):
        train.write_bytes(content)
        check_sentence(message(), ["cars_train_annos.mat", "truncated or no MATLAB file"])
    train.unlink()
    check_sentence(message(), ["cars_train_annos.mat", "missing", "p2p.data.download cars"])
    train.write_bytes(good)
    annotate(test, [(1, 1, 9, 9, 1, f"{i + 1:05d}.png") for i in range(4)], CAR_FIELDS[:4] + CAR_FIELDS[5:])
    check_sentence(message(), ["cars_test_annos_withlabels.mat", "`class`"])
    annotate(test, [(1, 1, 9, 9, 3, f"{i + 1:05d}.png") for i in range(4)])
    check_sentence(message(), ["class 3", "1 to 2"])
    test.write_bytes(good_test)
    savemat(cars / "devkit" / "cars_meta.mat", {"something": 1})
    check_sentence(message(), ["cars_meta.mat", "class_names"])


# Birds and the image set


def test_birds() -> None:
    images = load_images(parameters("birds", class_count=3))
    assert images.pixels.shape == (33, 3, 32, 32) and images.masks.shape == (33, 32, 32)
    assert [len(images.subset(s)) for s in ("train", "validation", "test")] == [18, 6, 9]
    assert torch.bincount(images.labels).tolist() == [11, 11, 11]
    assert images.part_names == PARTS and images.parts.shape == (33, len(PARTS), 3)
    index = bird_indices(images.names)
    assert len(set(index.tolist())) == 33
    assert ((index >= BIRD_TEST_INDEX) == (images.split == 2)).all()
    drawn = birds.draw(images.labels, index, class_table(3, 0), 32, 0)
    assert torch.equal(drawn.pixels, images.pixels) and torch.equal(drawn.masks, images.masks)
    more = load_images(parameters("birds", class_count=3, bird_train_per_class=9, bird_test_per_class=4))
    kept = [more.names.index(name) for name in images.names]
    assert torch.equal(more.pixels[kept], images.pixels)
    few = load_images(parameters("birds", class_count=3, images_per_class=2))
    assert len(few) == 12
    for key in ("class_step", "class_first"):
        with pytest.raises(UserError, match=key):
            load_images(parameters("birds", **{key: 2}))


def test_image_set_selects_every_field_alike() -> None:
    images = load_images(parameters("birds", class_count=2, bird_train_per_class=4))
    index = torch.tensor([5, 0, 9])
    some = images.select(index)
    assert len(some) == 3 and some.names == tuple(images.names[i] for i in (5, 0, 9))
    for field in ("pixels", "labels", "split", "boxes", "parts", "masks"):
        assert torch.equal(getattr(some, field), getattr(images, field)[index])
    assert some.to("meta").pixels.device.type == "meta" and some.to("meta").masks.device.type == "meta"
    with pytest.raises(UserError, match="train, validation, test"):
        images.subset("valid")
    with pytest.raises(ValueError, match="labels has 2 rows"):
        ImageSet(torch.zeros(1, 3, 8, 8), torch.zeros(2), torch.zeros(1), ("a",), ("x",))


def test_one_image_cannot_be_cut() -> None:
    with pytest.raises(UserError) as caught:
        seeded_cut(["x"], np.zeros(1, dtype=int), ["Wren"], 0.2, 0, "validation")
    check_sentence(caught, ["Wren", "at least two"])


# Photographs, generated and shared


def test_cub_photographs(photographs: Path) -> None:
    base = photographs / "CUB_200_2011"
    classes = [line.split()[1] for line in (base / "classes.txt").read_text().splitlines()]
    half = len(classes) // 2
    images = load_images(parameters("cub", photographs, class_step=half, images_per_class=6, size=48))
    assert images.classes == (classes[0], classes[half])
    assert images.pixels.shape == (24, 3, 48, 48) and images.parts.shape == (24, 15, 3)
    rows = {line.split()[1]: line.split()[0] for line in (base / "images.txt").read_text().splitlines()}
    split = dict(line.split() for line in (base / "train_test_split.txt").read_text().splitlines())
    assert [split[rows[name]] == "0" for name in images.names] == (images.split == 2).tolist()
    with Image.open(base / "images" / images.names[3]) as file:
        width, height = file.size
        mean = np.asarray(file.convert("RGB")).mean((0, 1))
    assert np.abs(images.pixels[3].float().mean((1, 2)).numpy() - mean).max() < 4
    lines = (base / "parts" / "part_locs.txt").read_text().splitlines()
    for line in (line for line in lines if line.split()[0] == rows[images.names[3]]):
        _, part, x, y, visible = line.split()
        expected = [float(x) * 48 / width, float(y) * 48 / height, 1.0] if visible == "1" else [0.0, 0.0, 0.0]
        assert images.parts[3, int(part) - 1].tolist() == pytest.approx(expected, rel=rounding(4))


def test_cars_photographs(photographs: Path) -> None:
    names = [str(name) for name in load_mat(photographs / "stanford_cars" / CARS_META, "class_names")]
    half = len(names) // 2
    images = load_images(parameters("cars", photographs, class_step=half, images_per_class=4, size=48))
    assert images.classes == (names[0], names[half])
    assert torch.bincount(images.labels).tolist() == [8, 8]
    assert torch.equal(images.boxes, torch.tensor([0.0, 0.0, 48.0, 48.0]).expand(16, 4))
