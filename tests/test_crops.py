"""Whole photographs with boxes give the frames and part locations that the prepared crops give.

The whole photographs are built from the crops of ../shared/data: each crop is enlarged, put at a known place of a
larger noisy canvas and listed with that place as its bounding box, as CUB-200-2011 lists it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p.data.images import ImageSet, load_images
from p2p.study.params import DataParams

SHARED = Path(os.environ.get("P2P_DATA") or Path(__file__).parents[2] / "shared" / "data")
SIZE = 224
ENLARGED = 1.6  # about what the longest side of an official box has over the 224 px of a prepared crop
BOUND = 3.0  # grey levels of 255, mean absolute difference of a frame: two more resamplings and a JPEG of quality 95
PART_BOUND = 0.5  # frame pixels; both lists of parts are rounded to a tenth of a source pixel

pytestmark = pytest.mark.skipif(not (SHARED / "CUB_200_2011").is_dir(), reason="no CUB_200_2011 in ../shared/data")


def lines(name: str) -> dict[int, list[str]]:
    """Image id: the rest of its last line."""
    return {int(row.split()[0]): row.split()[1:] for row in (SHARED / "CUB_200_2011" / name).read_text().splitlines()}


def build(root: Path, listed: tuple[str, ...], shift: tuple[int, int] = (0, 0)) -> Path:
    """Whole photographs of the crops `listed`; their boxes, moved by `shift` pixels; their parts where they are."""
    names, classes, split = lines("images.txt"), lines("image_class_labels.txt"), lines("train_test_split.txt")
    parts: dict[int, list[list[str]]] = {}
    for row in (SHARED / "CUB_200_2011" / "parts" / "part_locs.txt").read_text().splitlines():
        parts.setdefault(int(row.split()[0]), []).append(row.split()[1:])
    generator = np.random.default_rng(0)
    kept = [(number, name[0]) for number, name in names.items() if name[0] in listed]
    rows: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    rows |= {"bounding_boxes": [], "parts/part_locs": []}
    for number, name in kept:
        with Image.open(SHARED / "CUB_200_2011" / "images" / name) as file:
            crop = file.convert("RGB")
        width, height = round(crop.width * ENLARGED), round(crop.height * ENLARGED)
        x, y, right, below = generator.integers(20, 120, 4).tolist()
        shape = (y + height + below, x + width + right, 3)
        whole = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        whole.paste(crop.resize((width, height), Image.Resampling.BICUBIC), (x, y))
        path = root / "images" / Path(name).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.save(path, quality=95, subsampling=0)
        rows["images"].append(f"{number} {Path(name).with_suffix('.jpg').as_posix()}")
        rows["image_class_labels"].append(f"{number} {classes[number][0]}")
        rows["train_test_split"].append(f"{number} {split[number][0]}")
        rows["bounding_boxes"].append(f"{number} {x + shift[0]}.0 {y + shift[1]}.0 {width}.0 {height}.0")
        for part, across, down, visible in parts[number]:
            place = (x + float(across) * width / crop.width, y + float(down) * height / crop.height)
            rows["parts/part_locs"].append(f"{number} {part} {place[0]:.1f} {place[1]:.1f} {visible}")
    (root / "parts").mkdir(parents=True)
    for name, content in rows.items():
        (root / f"{name}.txt").write_text("".join(f"{row}\n" for row in content))
    used = {classes[number][0] for number, _ in kept}
    known = (SHARED / "CUB_200_2011" / "classes.txt").read_text().splitlines()
    (root / "classes.txt").write_text("".join(f"{row}\n" for row in known if row.split()[0] in used))
    (root / "parts" / "parts.txt").write_text((SHARED / "CUB_200_2011" / "parts" / "parts.txt").read_text())
    return root


def read(root: Path, **changed: int) -> ImageSet:
    return load_images(DataParams(reader="cub", root=str(root), size=SIZE, **changed))


def differences(one: ImageSet, other: ImageSet) -> torch.Tensor:
    """(N,) mean absolute difference of the frames, grey levels."""
    assert [Path(name).stem for name in one.names] == [Path(name).stem for name in other.names]
    return (one.pixels.float() - other.pixels.float()).abs().mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """32 prepared crops of eight species over the whole list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("P2P_CACHE", str(tmp_path_factory.mktemp("cache")))
        return read(SHARED, class_step=25, images_per_class=2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the shifted photographs out of the user's cache."""
    monkeypatch.setenv("P2P_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def whole(crops: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """The same 32 images, read from whole photographs."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("P2P_CACHE", str(folder / "cache"))
        return read(build(folder / "CUB_200_2011", crops.names))


def test_frames_and_parts_are_those_of_the_prepared_crops(crops: ImageSet, whole: ImageSet) -> None:
    assert crops.pixels.shape == whole.pixels.shape == (32, 3, SIZE, SIZE)
    assert differences(whole, crops).max() < BOUND
    assert torch.equal(whole.labels, crops.labels) and torch.equal(whole.split, crops.split)
    assert torch.equal(whole.boxes, torch.tensor([0.0, 0.0, SIZE, SIZE]).expand(32, 4))
    assert torch.equal(whole.parts[:, :, 2], crops.parts[:, :, 2]) and whole.parts[:, :, 2].sum() > 200
    assert (whole.parts - crops.parts).abs().max() < PART_BOUND


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_the_bound_is_sharp(crops: ImageSet, whole: ImageSet, tmp_path: Path, direction: tuple[int, int]) -> None:
    """A box one source pixel off doubles the difference of every frame; two pixels off, none is within the bound."""
    beside, far = (
        read(build(tmp_path / str(step) / "CUB_200_2011", crops.names, (step * direction[0], step * direction[1])))
        for step in (1, 2)
    )
    assert (differences(beside, crops) > 2 * differences(whole, crops)).all()
    assert differences(far, crops).min() > BOUND
    both = (crops.parts[:, :, 2] > 0) & (far.parts[:, :, 2] > 0)
    assert (far.parts - crops.parts)[:, :, :2].abs().amax(dim=2)[both].min() > 2 * PART_BOUND
