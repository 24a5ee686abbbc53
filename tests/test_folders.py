"""A user's own folders: what is read rightly, what is passed over and said, and what is refused in one sentence."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p import figures
from p2p.data import decode
from p2p.data.ahead import look_ahead, unread
from p2p.data.images import ImageSet, load_images
from p2p.data.listing import formats, suffixes
from p2p.study.params import DataParams
from p2p.training.preflight import count_images

RED, BLUE, WHITE = (250, 10, 20), (5, 30, 240), (255, 255, 255)
SPLITS, CLASSES = ("train", "test"), ("auk", "wren")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noise(path: Path, seed: int | str, width: int = 40, height: int = 30) -> Path:
    """An image unlike any of another seed."""
    generator = np.random.default_rng(list(str(seed).encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def fill(place: Path, count: int, seed: str = "") -> Path:
    for i in range(count):
        noise(place / f"{i}.png", f"{seed}{place.parent.name}{place.name}{i}")
    return place


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two class folders of five images."""
    for name in CLASSES:
        fill(tmp_path / "mine" / name, 5)
    return tmp_path / "mine"


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """train/ and test/ with two class folders each, of three and of two images."""
    for split, count in zip(SPLITS, (3, 2), strict=True):
        for name in CLASSES:
            fill(tmp_path / "mine" / split / name, count)
    return tmp_path / "mine"


def load(root: Path, **changed: object) -> ImageSet:
    return load_images(DataParams(reader="folder", root=str(root), size=32, device="cpu", **changed))  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------- what is right


def test_folder_with_its_own_split(divided: Path) -> None:
    images = load(divided)
    assert images.classes == CLASSES and images.boxes is None and images.remarks == ()
    assert [len(images.subset(s)) for s in ("train", "validation", "test")] == [4, 2, 4]
    assert all(name.startswith("test/") for name in images.subset("test").names)


def test_folder_without_split_gets_a_seeded_quarter(plain: Path) -> None:
    fill(plain / "auk", 12)
    images = load(plain, validation_fraction=0.25)
    for label, counts in enumerate(([7, 2, 3], [3, 1, 1])):
        split = images.split[images.labels == label]
        assert [(split == k).sum().item() for k in (0, 1, 2)] == counts
    assert torch.equal(images.split, load(plain, validation_fraction=0.25).split)


def pixels_of(path: Path) -> torch.Tensor:
    """The frame (3, 32, 32) of one image among others."""
    root = path.parent.parent
    for name in CLASSES:
        fill(root / name, 5)
    images = load(root)
    return images.pixels[images.names.index(path.relative_to(root).as_posix())]


def ramp(low: float, high: float, kind: type) -> Image.Image:
    """Grey from the left to the right."""
    return Image.fromarray(np.tile(np.linspace(low, high, 32), (32, 1)).astype(kind))


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
@pytest.mark.parametrize(("low", "high"), [(0, 65535), (100, 4095), (300, 900)])
def test_sixteen_bits_are_scaled_by_their_range_and_that_is_said(tmp_path, ending, low, high) -> None:
    path = tmp_path / "mine" / "auk" / f"deep.{ending}"
    path.parent.mkdir(parents=True)
    ramp(low, high, np.uint16).save(path)
    frame = pixels_of(path)
    assert frame[:, 5].float() == pytest.approx(torch.linspace(0, 255, 32).expand(3, 32), abs=1)
    for _ in "decoded", "cached":
        (remark,) = load(tmp_path / "mine").remarks
        assert "more than 8 bits" in remark and f"auk/deep.{ending}" in remark


@pytest.mark.parametrize(("low", "high", "kind"), [(0, 1, np.float32), (-3, 5, np.float32), (-70000, 70000, np.int32)])
def test_floats_and_integers_are_scaled_by_their_range(tmp_path, low, high, kind) -> None:
    path = tmp_path / "mine" / "auk" / "deep.tif"
    path.parent.mkdir(parents=True)
    ramp(low, high, kind).save(path)
    assert pixels_of(path)[1, 7].float() == pytest.approx(torch.linspace(0, 255, 32), abs=1)


def write_png16(path: Path, values: np.ndarray, kind: int) -> None:
    """A PNG of 16 bits a channel, which Pillow reads but does not write; (H, W, C), kind 2: RGB, 6: RGBA."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *values.shape[1::-1], 16, kind, 0, 0, 0))]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    blocks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(blocks))


def test_sixteen_bit_colours_are_read_where_eight_bits_show_them(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "mine" / "auk" / "deep.png"
    write_png16(path, np.full((32, 32, 3), (65535, 32768, 1)), 2)
    assert pixels_of(path)[:, 3, 3].tolist() == [255, 128, 0]
    write_png16(path, np.random.default_rng(0).integers(0, 4096, (32, 32, 3)), 2)  # twelve bits: Pillow shows black
    with refuses("auk/deep.png", "16-bit", "sixteenth"):
        load(tmp_path / "mine")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "1", "I;16"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    """The left half is transparent, and black is hidden under it; the right half is grey, or white."""
    path = tmp_path / "mine" / "auk" / "clear.png"
    path.parent.mkdir(parents=True)
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((130, 130, 130, 255), (16, 0, 32, 32))
    if mode == "I;16":
        Image.fromarray(np.array(image)[:, :, 0].astype(np.uint16) * 300).save(path, transparency=0)
    elif mode in ("RGBA", "LA"):
        image.convert(mode).save(path)
    else:  # one colour stands for transparent
        flat = image.convert("RGB").quantize(8) if mode == "P" else image.convert("RGB").convert(mode)
        hidden: object = (0, 0, 0) if mode == "RGB" else flat.getpixel((0, 0))
        flat.save(path, transparency=hidden)
    frame = pixels_of(path)
    assert (frame[:, :, :14] == 255).all()
    right = frame[:, :, 18:]
    assert (right == (255 if mode in ("1", "I;16") else right[0, 0, 0])).all()
    if mode not in ("1", "I;16"):
        assert right[0, 0, 0] == 130


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    path = tmp_path / "mine" / "auk" / "clear.webp"
    path.parent.mkdir(parents=True)
    Image.new("RGBA", (32, 32), (0, 100, 0, 128)).save(path, lossless=True)
    assert pixels_of(path)[:, 1, 1].float() == pytest.approx(torch.tensor([127.0, 177.0, 127.0]), abs=2)


def test_modes_and_turned_photographs(tmp_path: Path) -> None:
    """EXIF turning, grey, palette, black-and-white and CMYK images all become upright RGB."""
    place = tmp_path / "mine" / "auk"
    place.mkdir(parents=True)
    for mode in ("L", "P", "1"):
        Image.new("RGB", (40, 40), WHITE).convert(mode).save(place / "white.png")
        assert (pixels_of(place / "white.png") == 255).all()
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(place / "ink.jpg")
    assert pixels_of(place / "ink.jpg")[:, 9, 9].float() == pytest.approx(torch.tensor([254.0, 0.0, 0.0]), abs=3)
    tall = Image.new("RGB", (40, 60), BLUE)
    tall.paste(RED, (0, 0, 20, 60))  # red on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it: red on top
    tall.save(place / "turned.png", exif=exif)
    frame = pixels_of(place / "turned.png")
    assert frame[:, 4, 28].tolist() == list(RED) and frame[:, 28, 4].tolist() == list(BLUE)


@pytest.mark.parametrize("ending", ["gif", "avif", "jfif", "webp", "tif", "bmp", "tga", "jp2", "ico", "qoi"])
def test_formats_of_pillow_are_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "mine" / "auk" / f"red.{ending.upper()}"
    path.parent.mkdir(parents=True)
    image = Image.new("RGB", (32, 32), RED)
    image.putpixel((31, 31), BLUE)
    kinds = {"jfif": "JPEG", "jp2": "JPEG2000", "tif": "TIFF"}
    if kinds.get(ending, ending.upper()) not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {ending}")
    image.save(path, kinds.get(ending, ending))
    assert pixels_of(path)[:, 9, 9].float() == pytest.approx(torch.tensor(RED).float(), abs=8)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "mine" / "auk" / f"moving.{ending}"
    path.parent.mkdir(parents=True)
    first, second = (Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE))
    first.putpixel((31, 31), WHITE)
    first.save(path, save_all=True, append_images=[second])
    assert pixels_of(path)[:, 9, 9].float() == pytest.approx(torch.tensor(RED).float(), abs=8)
    assert any("several frames" in text and f"auk/moving.{ending}" in text for text in load(tmp_path / "mine").remarks)


def test_what_runs_other_programs_or_is_read_by_name_only_is_no_image(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    assert {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm"} <= suffixes()
    assert suffixes().isdisjoint({".eps", ".ps", ".pdf", ".mpg", ".h5", ".wmf"}) and "EPS" not in formats()
    path = fill(tmp_path / "mine" / "auk", 5) / "photo.jpg"
    fill(tmp_path / "mine" / "wren", 5)
    Image.new("RGB", (8, 8)).save(path, "EPS")  # Ghostscript must not be run for it
    with refuses("auk/photo.jpg", "cannot be decoded"):
        load(tmp_path / "mine")


@pytest.mark.parametrize("shape", [(1, 1), (9000, 2), (2, 9000)])
def test_odd_shapes_are_read(plain: Path, shape: tuple[int, int]) -> None:
    noise(plain / "auk" / "odd.png", "odd", *shape)
    assert len(load(plain)) == 11


def test_an_image_of_a_hundred_megapixels_is_read_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (10_000, 10_000)).save(path)
    code = f"from p2p.data.decode import read_frame; print(read_frame(Path({str(path)!r}), None, False, 32)[0].shape)"
    done = subprocess.run([sys.executable, "-c", f"from pathlib import Path; {code}"], capture_output=True, text=True)
    assert done.stdout == "(3, 32, 32)\n" and done.stderr == ""


def test_images_of_one_colour_are_named(plain: Path) -> None:
    Image.new("RGB", (9, 9), RED).save(plain / "auk" / "empty.png")
    assert load(plain).remarks == ("Images of one single colour: 1; auk/empty.png.",)


# ------------------------------------------------------------------------------------- what is passed over and said


def write(path: Path, content: bytes = b"no image") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


PASSED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a photograph that Pillow cannot read": (
        lambda root: write(root / "auk" / "a.heic") or write(root / "wren" / "b.HEIC"),
        ["Files left out", "2 .heic", ": 2; auk/a.heic, wren/b.HEIC."],
    ),
    "notes, a video and a file without ending": (
        lambda root: [write(root / name) for name in ("auk/notes.txt", "auk/a.mpg", "auk/plain")],
        ["1 .txt", "1 .mpg", "1 no ending", ": 3;"],
    ),
    "a folder called x.jpg": (lambda root: fill(root / "auk" / "x.jpg", 2), ["Sub-folders", ": 1; auk/x.jpg (2)."]),
    "sub-folders": (
        lambda root: [fill(root / "auk" / "a" / "b", 2), fill(root / "wren" / "c", 3)],
        ["Sub-folders", ": 2; auk/a (2), wren/c (3)."],
    ),
    "a sub-folder that leads back": (lambda root: (root / "auk" / "up").symlink_to(root), ["Sub-folders", "auk/up"]),
    "images beside the class folders": (
        lambda root: noise(root / "cover.jpg", 0),
        ["outside the class folders: 1; cover.jpg."],
    ),
    "what macOS, Synology, Jupyter and git leave": (
        lambda root: [
            write(root / name / "x")
            for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints", ".git", "auk/@eaDir", "auk/.thumbs")
        ],
        ["Folders ignored", ": 6; .git, .ipynb_checkpoints, @eaDir and 3 more."],
    ),
    "classes that differ in capitals": (
        lambda root: fill(root / "Auk", 4),
        ["differ only in capital letters, blanks or underscores: Auk, auk;", "one class"],
    ),
    "classes that differ in blanks": (
        lambda root: [fill(root / name, 4) for name in ("a b", " a_b ")],
        ["differ only in capital letters, blanks or underscores:  a_b , a b;"],
    ),
    "a pipe": (lambda root: os.mkfifo(root / "auk" / "pipe.jpg"), ["Files left out", "auk/pipe.jpg"]),
    "a device": (lambda root: (root / "auk" / "zero.jpg").symlink_to("/dev/zero"), ["Files left out", "auk/zero.jpg"]),
    "hidden files": (lambda root: [write(root / "auk" / name) for name in ("._0.png", ".DS_Store", "Thumbs.db")], []),
    "a link to an image elsewhere": (
        lambda root: (root / "auk" / "link.png").symlink_to(noise(root.parent / "elsewhere.png", "else")),
        [],
    ),
    "emoji, blanks and quotes in names": (
        lambda root: noise(root / "auk" / "a 🐦 'b' \"c\" #1 %s {x} $y^$ \u202fPM.png", "emoji"),
        [],
    ),
    "classes in other scripts": (lambda root: fill(root / "カラス 🐦", 4), []),
}


@pytest.mark.parametrize("case", PASSED)
def test_passed_over_and_said(plain: Path, case: str) -> None:
    change, words = PASSED[case]
    change(plain)
    remarks = load(plain).remarks
    assert len(remarks) == bool(words), remarks
    for remark in remarks:
        assert "\n" not in remark and remark.endswith(".") and all(word in remark for word in words), remark


def test_more_folders_beside_train_and_test_are_named(divided: Path) -> None:
    fill(divided / "val" / "auk", 2)
    write(divided / "train" / ".ipynb_checkpoints" / "0.png")
    noise(divided / "train" / "loose.png", 0)
    ignored, beside, loose = sorted(load(divided).remarks)
    assert beside.endswith("beside train/ and test/: 1; val.") and loose.endswith("1; train/loose.png.")
    assert ignored.endswith("1; train/.ipynb_checkpoints.")


# ------------------------------------------------------------------------------------------------ what is refused


def spoil(root: Path, *names: str) -> None:
    """Cut a photograph off, make one empty, and so on: none can be decoded."""
    for i, name in enumerate(names):
        path = noise(root / name, name, 200, 200)
        path.write_bytes((path.read_bytes()[:3000], b"", b"<html>404</html>", b"\xff\xd8\xff\xe0junk")[i % 4])


def jpeg(path: Path) -> None:
    noise(path, 0, 300, 300)
    path.write_bytes(path.read_bytes()[:-2000])


def rename(old: Path, new: str | bytes) -> None:
    os.rename(os.fsencode(old), os.path.join(os.fsencode(old.parent), os.fsencode(new)))


def single(root: Path) -> None:
    shutil.rmtree(root / "wren")


REFUSED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "classes that differ in how a letter is written": (
        lambda root: [fill(root / unicodedata.normalize(form, "café"), 4, form) for form in ("NFC", "NFD")],
        ["'caf\\xe9'", "'cafe\\u0301'", "have the same name, café", "NFC and NFD", "into one folder"],
    ),
    "a name that turns the text round": (lambda root: fill(root / "\u202eevil", 4), ["'\\u202eevil'", "rename"]),
    "Train and Test": (
        lambda root: [
            single(root),
            shutil.rmtree(root / "auk"),
            [fill(root / split / name, 4) for split in ("Train", "Test", "Validation") for name in CLASSES],
        ],
        ["the folders Test, Train, Validation", "called train and test, in small letters", "rename"],
    ),
    "images and no folder": (
        lambda root: [single(root), shutil.rmtree(root / "auk"), fill(root, 4), fill(root / ".git", 1)],
        ["no class folders but 4 images right in it and hidden ones (.git)"],
    ),
    "one outlier among few values": (
        lambda root: Image.fromarray(np.append(np.arange(30) % 30, 1e30).astype(np.float32).reshape(1, 31)).save(
            root / "auk" / "spike.tif"
        ),
        ["auk/spike.tif", "far from all others", "contrast"],
    ),
    "a pointer of Git LFS": (
        lambda root: write(root / "auk" / "big.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        ["auk/big.png", "pointer of Git LFS", "git lfs pull"],
    ),
    "an empty file": (lambda root: write(root / "auk" / "none.jpg", b""), ["auk/none.jpg", "the file is empty"]),
    "a PNG cut off in its header": (
        lambda root: write(root / "auk" / "cut.png", (root / "auk" / "0.png").read_bytes()[:45]),
        ["auk/cut.png", "cut off or damaged"],
    ),
    "no folder at all": (lambda root: [shutil.rmtree(root / name) for name in CLASSES], ["no class folders"]),
    "one class": (single, ["one class folder, auk", "second"]),
    "one class and hidden ones": (
        lambda root: [single(root), fill(root / ".git", 3), fill(root / "__MACOSX", 3)],
        ["one class folder, auk"],
    ),
    "a level too high": (
        lambda root: [root.rename(root.parent / "in"), root.mkdir(), (root.parent / "in").rename(root / "in")],
        ["one class folder, in", "name the folder that holds"],
    ),
    "an empty class": (lambda root: (root / "gull").mkdir(), ["gull", "no image that can be read", "it is empty"]),
    "three empty classes": (
        lambda root: [(root / name).mkdir() for name in "xyz"],
        ["mine/x has", "nor have 2 others"],
    ),
    "two empty classes": (lambda root: [(root / name).mkdir() for name in "xy"], ["mine/x has", "nor has one other;"]),
    "two classes of one image": (
        lambda root: [write(root / name / "a.png") for name in "xy"],
        ["Class x", "and one other class has too few"],
    ),
    "a class of HEIC alone": (lambda root: write(root / "gull" / "a.heic"), ["gull", "it holds a.heic"]),
    "a class of sub-folders": (lambda root: fill(root / "gull" / "adult", 4), ["gull", "4 images lie in its sub-fold"]),
    "a class that is a link in a circle": (
        lambda root: [single(root), (root / "wren").symlink_to(root / "wren")],
        ["one class folder, auk"],
    ),
    "one image": (lambda root: fill(root / "gull", 1), ["Class gull", "has 1 image;", "at least three"]),
    "two images": (lambda root: fill(root / "gull", 2), ["Class gull", "has 2 images;", "one to validate"]),
    "a thousand classes of one image": (
        lambda root: [write(root / f"{i:04d}" / "a.png") for i in range(1000)],
        ["Class 0000", "999 other classes have too few"],
    ),
    "three broken images": (
        lambda root: spoil(root, "auk/1.png", "auk/3.jpg", "wren/2.png"),
        ["3 of 11 images", "auk/1.png, auk/3.jpg, wren/2.png", "cannot be decoded", "intact copy"],
    ),
    "twenty broken images": (
        lambda root: spoil(root, *(f"auk/{i}.jpg" for i in range(20))),
        ["20 of 30 images", "and 15 more"],
    ),
    "a photograph cut off": (lambda root: jpeg(root / "auk" / "cut.jpg"), ["auk/cut.jpg", "truncated"]),
    "no pixels": (lambda root: write(root / "auk" / "none.ppm", b"P6 0 0 255\n"), ["auk/none.ppm"]),
    "a promise of more pixels than there can be": (
        lambda root: write(root / "auk" / "bomb.ppm", b"P6 40000 40000 255\n"),
        ["auk/bomb.ppm", "more pixels", "make it smaller"],
    ),
    "a value for what was not measured": (
        lambda root: Image.fromarray(
            np.where(np.arange(400) % 9, np.linspace(0, 1, 400), -3.4e38).reshape(20, 20).astype(np.float32)
        ).save(root / "auk" / "map.tif"),
        ["auk/map.tif", "far from all others", "contrast"],
    ),
    "numbers that are none": (
        lambda root: Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(root / "auk" / "nan.tif"),
        ["auk/nan.tif", "no finite numbers"],
    ),
    "a link that leads nowhere": (
        lambda root: (root / "auk" / "gone.png").symlink_to(root / "nowhere"),
        ["auk/gone.png", "missing", "remove its link"],
    ),
    "links in a circle": (
        lambda root: [(root / "auk" / n).symlink_to(root / "auk" / n) for n in ("a.png", "b.png")],
        ["auk/a.png", "missing", "symbolic links", "1 more of 12"],
    ),
    "a file name in Latin-1": (
        lambda root: rename(noise(root / "auk" / "x.png", 0), b"caf\xe9.png"),
        ["caf\\udce9.png", "not UTF-8", "rename"],
    ),
    "a class name in Latin-1": (lambda root: rename(fill(root / "x", 4), b"caf\xe9"), ["not UTF-8", "caf"]),
    "a line break in a name": (
        lambda root: rename(noise(root / "auk" / "x.png", 0), "a\nb.png"),
        ["'a\\nb.png'", "line break"],
    ),
    "a control character in a class name": (lambda root: rename(fill(root / "x", 4), "a\x1bb"), ["'a\\x1bb'"]),
    "train/ alone": (
        lambda root: [fill(root / "train" / name, 4) for name in CLASSES],
        ["train/ but no test/"],
    ),
    "train/ and test/ of images alone": (
        lambda root: [fill(root / name, 4) for name in SPLITS],
        ["train has no class folders", "means the split", "rename the two if they are classes"],
    ),
    "the same image twice in a class": (
        lambda root: [shutil.copy(root / "auk" / "1.png", root / "auk" / f"copy {i}.png") for i in range(9)],
        ["are training images, too", "auk/", "allow_duplicates: true"],
    ),
    "one class folder linked as two": (
        lambda root: (root / "gull").symlink_to(root / "auk"),
        ["are training images, too", "gull/"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(plain: Path, case: str, refuses) -> None:  # type: ignore[no-untyped-def]
    change, words = REFUSED[case]
    change(plain)
    with refuses(*words, str(plain)):
        load(plain)
    decoded = list((plain.parent / "cache").glob("*"))
    assert len(decoded) == ("allow_duplicates: true" in words or "gull/" in words)  # else no half of a cache file


DIVIDED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a class without test": (
        lambda root: fill(root / "train" / "gull", 3),
        ["only one of", "gull in train/", "both need"],
    ),
    "a class that another system wrote in another way": (
        lambda root: [
            fill(root / split / unicodedata.normalize(form, "é"), 3, split)
            for split, form in zip(SPLITS, ("NFC", "NFD"), strict=True)
        ],
        ["only one of", "some names differ only in how their letters are written (Unicode NFC and NFD)"],
    ),
    "a class without training": (lambda root: fill(root / "test" / "gull", 3), ["only one of", "gull in test/"]),
    "names of another case": (lambda root: (root / "test" / "auk").rename(root / "test" / "Auk"), ["only one", "Auk"]),
    "nothing in a test class": (
        lambda root: [path.unlink() for path in (root / "test" / "auk").iterdir()],
        ["test/auk", "no image", "it is empty"],
    ),
    "one training image": (
        lambda root: [(root / "train" / "auk" / f"{i}.png").unlink() for i in (1, 2)],
        ["Class auk", "validation", "at least two"],
    ),
    "one class": (lambda root: [shutil.rmtree(root / split / "wren") for split in SPLITS], ["one class folder, auk"]),
    "test/ is train/": (
        lambda root: [shutil.rmtree(root / "test"), (root / "test").symlink_to(root / "train")],
        ["6 of 6 test images", "train/auk/0.png and test/auk/0.png", "allow_duplicates"],
    ),
    "one image under another name, in another class": (
        lambda root: shutil.copy(root / "train" / "auk" / "1.png", root / "test" / "wren" / "new.png"),
        ["1 of 5 test images", "train/auk/1.png and test/wren/new.png"],
    ),
    "one image in another format": (
        lambda root: Image.open(root / "train" / "auk" / "1.png").save(root / "test" / "auk" / "new.bmp"),
        ["1 of 5 test images", "train/auk/1.png and test/auk/new.bmp"],
    ),
}


@pytest.mark.parametrize("case", DIVIDED)
def test_refused_with_train_and_test(divided: Path, case: str, refuses) -> None:  # type: ignore[no-untyped-def]
    change, words = DIVIDED[case]
    change(divided)
    with refuses(*words):
        load(divided)


def test_a_data_folder_whose_own_name_is_not_utf8(plain: Path, refuses, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    rename(plain, b"caf\xe9")
    monkeypatch.setenv("P2P_DATA", str(plain.parent / os.fsdecode(b"caf\xe9")))
    with refuses("caf\\udce9", "not UTF-8"):
        load_images(DataParams(reader="folder", size=32))


def test_a_class_step_that_leaves_one_class(plain: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    with refuses("'class_step' 2", "2 classes", str(plain)):
        load(plain, class_step=2)
    with refuses("'class_step' 1 from 'class_first' 1 on leaves 1", "2 classes", str(plain)):
        load(plain, class_first=1)


def test_a_folder_that_may_not_be_read(plain: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    scan = os.scandir

    def closed(path: Path):  # type: ignore[no-untyped-def]
        if Path(path).name == "wren":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)  # root may read everything
    with refuses(f"{plain / 'wren'}", "cannot be read (Permission denied)"):
        load(plain)


def test_a_file_that_may_not_be_read(plain: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def closed(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(decode.Image, "open", closed)
    with refuses("auk/0.png", "(Permission denied)", "10 of 10"):
        load(plain)


# ---------------------------------------------------------------------------------------------------------- twins


def test_twins_that_are_allowed_are_still_counted(divided: Path) -> None:
    shutil.copy(divided / "train" / "auk" / "1.png", divided / "test" / "auk" / "9.png")
    shutil.copy(divided / "train" / "auk" / "1.png", divided / "train" / "wren" / "9.png")
    images = load(divided, allow_duplicates=True)
    assert len(images) == 12
    leaked, copies, clash = images.remarks
    assert leaked.startswith("1 test images") and "train/auk/1.png and test/auk/9.png" in leaked
    assert "1; train/auk/1.png and train/wren/9.png" in copies
    assert "two classes: 1;" in clash and "train/wren/9.png" in clash


def test_copies_within_the_training_or_the_test_images_stop_nothing(divided: Path) -> None:
    shutil.copy(divided / "test" / "auk" / "1.png", divided / "test" / "auk" / "9.png")
    assert load(divided).remarks == ()
    shutil.copy(divided / "train" / "auk" / "1.png", divided / "train" / "auk" / "9.png")
    (remark,) = load(divided).remarks
    assert "may be validated on: 1; train/auk/1.png and train/auk/9.png" in remark


def test_whether_twins_are_looked_for_depends_on_the_split_and_not_on_the_cache(plain: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    shutil.copy(plain / "auk" / "1.png", plain / "auk" / "copy.png")
    leaks = []
    for seed in range(8):  # the same decoded images, divided in another way
        try:
            load(plain, data_seed=seed)
            leaks.append(False)
        except ValueError:
            leaks.append(True)
    assert len(set(leaks)) == 2


def test_a_dollar_in_a_class_name_is_a_dollar() -> None:
    drawn = figures.svg(figures.image_sheet(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ["a$\\frac$b", "<b> & c"]))
    assert "a$\\frac$b" in drawn


# ------------------------------------------------------------------------------------------------ a look ahead

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def heic(place: Path, count: int = 3, ending: str = "heic") -> None:
    for i in range(count):
        write(place / f"IMG_{i}.{ending}", HEIC)


def classes_in(place: Path) -> None:
    for name in CLASSES:
        fill(place / name, 4, str(place))


AHEAD: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "train beside Test": (
        lambda root: [classes_in(root / name) for name in ("train", "Test")],
        ["has train/ beside Test/", "rename Test to test."],
    ),
    "Train beside test": (
        lambda root: [classes_in(root / name) for name in ("Train", "test")],
        ["has Train/ beside test/", "rename Train to train."],
    ),
    "both under other names": (
        lambda root: [classes_in(root / name) for name in ("TRAINING", "val", "Testing")],
        ["has TRAINING/ beside Testing/", "rename TRAINING to train and Testing to test."],
    ),
    "a class that test/ writes in capitals": (
        lambda root: [classes_in(root / "train"), fill(root / "test" / "Auk", 3), fill(root / "test" / "wren", 3)],
        ["Class auk of train/", "is called Auk in test/", "same name"],
    ),
    "HEIC alone": (
        lambda root: [heic(root / name) for name in CLASSES],
        ["auk has no image that is read but 3 .heic, and so it is with 1 more", "convert", "JPEG"],
    ),
    "one class of HEIC": (
        lambda root: [classes_in(root), heic(root / "gull"), write(root / "gull" / "notes.txt")],
        ["gull has no image that is read but 3 .heic: this format is not read"],
    ),
    "two formats": (
        lambda root: [classes_in(root), heic(root / "gull"), heic(root / "gull", 1, "DNG")],
        ["3 .heic, 1 .dng: these formats are not read"],
    ),
    "HEIC and no folder": (lambda root: heic(root), ["but 3 .heic", "JPEG", "into a folder for each class"]),
    "HEIC a level deeper": (lambda root: [heic(root / n / "x") for n in CLASSES], ["auk/x has no image", "3 .heic"]),
    "a level too high": (lambda root: classes_in(root / "in"), ["8 images lie deeper", "name ", "/mine/in."]),
    "a split, a level too high": (
        lambda root: [classes_in(root / "in" / name) for name in SPLITS],
        ["16 images lie deeper", "/mine/in."],
    ),
    "all classes in sub-folders": (
        lambda root: [fill(root / name / age, 2) for name in CLASSES for age in ("old", "young")],
        ["8 images lie deeper, such as 2 in", "auk/old: move them up, or name a folder whose folders are the classes"],
    ),
}


@pytest.mark.parametrize("case", AHEAD)
def test_a_look_ahead_says_what_was_found_and_what_to_do(tmp_path: Path, case: str, refuses) -> None:  # type: ignore[no-untyped-def]
    change, words = AHEAD[case]
    (tmp_path / "mine").mkdir()
    change(tmp_path / "mine")
    with refuses(str(tmp_path / "mine"), *words):
        look_ahead(tmp_path / "mine")
    with refuses(str(tmp_path / "mine"), *words):  # `make study`, before anything runs
        count_images(DataParams(reader="folder", root=str(tmp_path / "mine")))


LEFT_TO_THE_READER: dict[str, Callable[[Path], object]] = {
    "plain": classes_in,
    "divided": lambda root: [classes_in(root / split) for split in SPLITS],
    "train/ alone": lambda root: classes_in(root / "train"),
    "a class called Train, with images": lambda root: [
        classes_in(root),
        fill(root / "Train", 3),
        fill(root / "test", 3),
    ],
    "some HEIC": lambda root: [classes_in(root), heic(root / "auk"), heic(root)],
    "one class nested": lambda root: [classes_in(root), fill(root / "gull" / "young", 3)],
    "pipes": lambda root: [classes_in(root), os.mkfifo(root / "auk" / "a.jpg"), os.mkfifo(root / "b")],
    "linked classes": lambda root: [
        classes_in(root.parent / "elsewhere"),
        [(root / name).symlink_to(root.parent / "elsewhere" / name) for name in CLASSES],
    ],
    "nothing": lambda root: None,
    "one class": lambda root: fill(root / "auk", 3),
    "a link that leads nowhere": lambda root: [classes_in(root), (root / "auk" / "x.png").symlink_to(root / "gone")],
}


@pytest.mark.parametrize("case", LEFT_TO_THE_READER)
def test_a_look_ahead_passes_what_the_reader_reads_or_names_well(tmp_path: Path, case: str) -> None:
    (tmp_path / "mine").mkdir()
    LEFT_TO_THE_READER[case](tmp_path / "mine")
    look_ahead(tmp_path / "mine")


@pytest.mark.parametrize("closed", ["auk/1.png", "wren", ""])
def test_what_may_not_be_read_is_to_be_allowed(plain: Path, closed: str, refuses, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != plain / closed and allowed(path, mode))
    with refuses(str(plain), closed, "may not read", f"chmod -R u+rX {plain}"):
        look_ahead(plain)


def test_heic_is_known_by_its_name_and_by_its_first_bytes(tmp_path: Path) -> None:
    heic(tmp_path, 1, "jpg")
    heic(tmp_path, 1, "HEIC")
    write(tmp_path / "short.jpg", b"\0")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = {path.name: unread(path) for path in sorted(tmp_path.iterdir())}
    assert found == {"IMG_0.HEIC": "HEIC", "IMG_0.jpg": "HEIC", "pipe.jpg": "", "short.jpg": ""}
    assert unread(Path("a.CR2")) == "CR2" and unread(Path("a.png")) == unread(noise(tmp_path / "b.png", 0)) == ""
