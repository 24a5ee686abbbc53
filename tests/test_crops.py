"""Whole photographs with boxes give the frames and part locations that the prepared crops give.

The whole photographs are built from crops, generated ones and those of ../shared/data: each is enlarged, put at a known
place of a larger noisy canvas and listed with that place as its bounding box, as CUB-200-2011 lists it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import Bird, write_cub

from p2p.data.images import ImageSet, load_images
from p2p.study.params import DataParams

SIZE = 224
ENLARGED = 1.6  # about what the longest side of an official box has over the 224 px of a prepared crop
BOUND = 3.0  # grey levels of 255, mean absolute difference of a frame: two more resamplings and a JPEG of quality 95
PART_BOUND = 0.5  # frame pixels; both lists of parts are rounded to a tenth of a source pixel


def rows(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def build(root: Path, source: Path, listed: tuple[str, ...], shift: tuple[int, int] = (0, 0)) -> Path:
    """Whole photographs of the crops `listed`; their boxes, moved by `shift` pixels; their parts where they are."""
    names, labels, split = (
        dict(rows(source / f"{name}.txt")) for name in ("images", "image_class_labels", "train_test_split")
    )
    places: dict[str, list[list[str]]] = {}
    for number, *place in rows(source / "parts" / "part_locs.txt"):
        places.setdefault(number, []).append(place)
    generator = np.random.default_rng(0)
    kept = {number: name for number, name in names.items() if name in listed}
    used = sorted({int(labels[number]) for number in kept})
    birds = []
    for number, name in kept.items():
        with Image.open(source / "images" / name) as file:
            crop = file.convert("RGB")
        width, height = round(crop.width * ENLARGED), round(crop.height * ENLARGED)
        x, y, right, below = generator.integers(20, 120, 4).tolist()
        shape = (y + height + below, x + width + right, 3)
        whole = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        whole.paste(crop.resize((width, height), Image.Resampling.BICUBIC), (x, y))
        path = root / "images" / Path(name).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.save(path, quality=95, subsampling=0)
        parts = [
            (
                round(x + float(across) * width / crop.width, 1),
                round(y + float(down) * height / crop.height, 1),
                visible == "1",
            )
            for _, across, down, visible in sorted(places[number], key=lambda place: int(place[0]))
        ]
        box = (x + shift[0], y + shift[1], width, height)
        label = used.index(int(labels[number])) + 1
        birds.append(Bird(Path(name).with_suffix(".jpg").as_posix(), label, split[number] == "1", box, parts))
    known = {int(number): name for number, name in rows(source / "classes.txt")}
    part_names = [" ".join(name) for _, *name in rows(source / "parts" / "parts.txt")]
    return write_cub(root, birds, [known[label] for label in used], part_names)


def read(root: Path, **changed: int) -> ImageSet:
    return load_images(DataParams(reader="cub", root=str(root), size=SIZE, **changed))


def differences(one: ImageSet, other: ImageSet) -> torch.Tensor:
    """(N,) mean absolute difference of the frames, grey levels."""
    assert [Path(name).stem for name in one.names] == [Path(name).stem for name in other.names]
    return (one.pixels.float() - other.pixels.float()).abs().mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def source(photographs: Path) -> Path:
    return photographs / "CUB_200_2011"


@pytest.fixture(scope="module")
def crops(source: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """32 prepared crops of eight species over the whole list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("P2P_CACHE", str(tmp_path_factory.mktemp("cache")))
        return read(source, class_step=len(rows(source / "classes.txt")) // 8, images_per_class=2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the shifted photographs out of the user's cache."""
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def whole(source: Path, crops: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """The same 32 images, read from whole photographs."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("P2P_CACHE", str(folder / "cache"))
        return read(build(folder / "CUB_200_2011", source, crops.names))


def test_frames_and_parts_are_those_of_the_prepared_crops(crops: ImageSet, whole: ImageSet) -> None:
    assert crops.pixels.shape == whole.pixels.shape == (32, 3, SIZE, SIZE)
    assert differences(whole, crops).max() < BOUND
    assert torch.equal(whole.labels, crops.labels) and torch.equal(whole.split, crops.split)
    assert torch.equal(whole.boxes, torch.tensor([0.0, 0.0, SIZE, SIZE]).expand(32, 4))
    assert torch.equal(whole.parts[:, :, 2], crops.parts[:, :, 2]) and whole.parts[:, :, 2].sum() > 200
    assert (whole.parts - crops.parts).abs().max() < PART_BOUND


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_the_bound_is_sharp(
    source: Path, crops: ImageSet, whole: ImageSet, tmp_path: Path, direction: tuple[int, int]
) -> None:
    """A box one source pixel off doubles the difference of every frame; two pixels off, none is within the bound."""
    across, down = direction
    beside, far = (
        read(build(tmp_path / str(step) / "CUB_200_2011", source, crops.names, (step * across, step * down)))
        for step in (1, 2)
    )
    assert (differences(beside, crops) > 2 * differences(whole, crops)).all()
    assert differences(far, crops).min() > BOUND
    both = (crops.parts[:, :, 2] > 0) & (far.parts[:, :, 2] > 0)
    assert (far.parts - crops.parts)[:, :, :2].abs().amax(dim=2)[both].min() > 2 * PART_BOUND
