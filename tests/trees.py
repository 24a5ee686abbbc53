"""Data sets as files: trees in the layout of CUB-200-2011 and Stanford Cars, generated photographs, random weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

SHARED = Path(os.environ.get("P2P_DATA") or Path(__file__).parents[2] / "shared" / "data")
CAR_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
CAR_LISTS = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
CLASSES, TRAINING, TEST, PARTS = 8, 6, 6, 15  # of the generated sets: images of each class; CUB has 15 parts, too
CarRow = tuple[int, int, int, int, int, str]


@dataclass(frozen=True)
class Bird:
    """One image of a CUB tree, as its lists describe it."""

    name: str
    label: int  # from 1
    training: bool
    box: tuple[float, float, float, float]  # x, y, width, height
    parts: Sequence[tuple[float, float, bool]]  # x, y, visible


def write_cub(base: Path, birds: Sequence[Bird], classes: Sequence[str], parts: Sequence[str]) -> Path:
    """The lists of CUB-200-2011; the images are the caller's."""
    numbered = list(enumerate(birds, 1))
    lists: dict[str, Iterable[str]] = {
        "images.txt": (f"{n} {bird.name}" for n, bird in numbered),
        "image_class_labels.txt": (f"{n} {bird.label}" for n, bird in numbered),
        "train_test_split.txt": (f"{n} {int(bird.training)}" for n, bird in numbered),
        "bounding_boxes.txt": (f"{n} {' '.join(str(float(x)) for x in bird.box)}" for n, bird in numbered),
        "classes.txt": (f"{n} {name}" for n, name in enumerate(classes, 1)),
        "parts/parts.txt": (f"{n} {name}" for n, name in enumerate(parts, 1)),
        "parts/part_locs.txt": (
            f"{n} {part} {x} {y} {int(seen)}" for n, bird in numbered for part, (x, y, seen) in enumerate(bird.parts, 1)
        ),
    }
    (base / "parts").mkdir(parents=True, exist_ok=True)
    for name, rows in lists.items():
        (base / name).write_text("".join(f"{row}\n" for row in rows))
    return base


def annotate(path: Path, rows: Sequence[CarRow], fields: Sequence[str] = CAR_FIELDS) -> None:
    """A MATLAB file of annotations as Stanford Cars has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.array([rows], dtype=[(name, object) for name in CAR_FIELDS])
    savemat(path, {"annotations": array[list(fields)].astype([(name, object) for name in fields])})


def write_cars(base: Path, classes: Sequence[str], train: Sequence[CarRow], test: Sequence[CarRow]) -> Path:
    """The lists of Stanford Cars in torchvision's layout; the images are the caller's."""
    annotate(base / CAR_LISTS["train"], train)
    annotate(base / CAR_LISTS["test"], test)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array([classes], dtype=object)})
    return base


def photograph(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """Coloured noise whose amplitudes fall with the frequency, as those of photographs do."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = 1.0
    waves = np.fft.rfft2(generator.standard_normal((3, height, width))) / frequencies**1.2
    waves[:, 0, 0] = 0
    image = np.fft.irfft2(waves, (height, width))
    grey = 128 + generator.uniform(-20, 20, (3, 1, 1)) + 55 * image / image.std()
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def write_photograph(path: Path, generator: np.random.Generator) -> tuple[int, int]:
    """A generated crop, as the shared ones are: longest side 224 pixels, WebP; returns its width and height."""
    sides = [224, int(generator.integers(120, 225))]
    width, height = sides if generator.random() < 0.5 else sides[::-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    photograph(generator, width, height).save(path, quality=80, method=0)
    return width, height


def generated_cub(base: Path) -> Path:
    """Eight classes of crops; the box of each is the whole of it."""
    generator, birds = np.random.default_rng(0), []
    classes = [f"{label:03d}.Generated_Wren_{label}" for label in range(1, CLASSES + 1)]
    for label, folder in enumerate(classes, 1):
        for i in range(TRAINING + TEST):
            name = f"{folder}/Wren_{i:04d}_{label}.webp"
            width, height = write_photograph(base / "images" / name, generator)
            places = (generator.random((PARTS, 2)) * (width, height)).round(1).tolist()
            parts = [(x, y, True) if generator.random() < 0.8 else (0.0, 0.0, False) for x, y in places]
            birds.append(Bird(name, label, i % 2 == 0, (0, 0, width, height), parts))
    return write_cub(base, birds, classes, [f"part_{q}" for q in range(1, PARTS + 1)])


def generated_cars(base: Path) -> Path:
    """Eight classes of crops, divided as the shared training half is: every image has a number of its own."""
    generator = np.random.default_rng(1)
    rows: dict[str, list[CarRow]] = {"train": [], "test": []}
    for i in range(CLASSES * (TRAINING + TEST)):
        split, name = ("test" if i // CLASSES % 2 else "train"), f"{i + 1:05d}.webp"
        width, height = write_photograph(base / f"cars_{split}" / name, generator)
        rows[split].append((1, 1, width, height, i % CLASSES + 1, name))
    return write_cars(base, [f"Generated Car {label} 2012" for label in range(1, CLASSES + 1)], **rows)


def generated_weights(folder: Path) -> Path:
    """Random weights under the names and with the gaps of the shared files."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    states = {
        name: torchvision.models.get_model(name, weights=None).state_dict()
        for name in ("mobilenet_v2", "squeezenet1_1", "resnet18")
    }
    features = {key: value for key, value in states["mobilenet_v2"].items() if key.startswith("features.")}
    save_file(features, folder / "mobilenet_v2.safetensors")
    save_file(states["squeezenet1_1"], folder / "squeezenet1_1.safetensors")
    left_out = ("fc.", "layer4.0.conv", "layer4.0.bn", "layer4.1.conv", "layer4.1.bn")
    part = {key: value for key, value in states["resnet18"].items() if not key.startswith(left_out)}
    part = {key: value for key, value in part.items() if not key.endswith("num_batches_tracked")}
    save_file(part, folder / "resnet18_to_layer3.safetensors")
    return folder


def loaded(trunk: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    """Whether the trunk's tensors, in order, are the first ones of the state."""
    mine = list(trunk.state_dict().values())
    return all(torch.equal(a, b) for a, b in zip(mine, state.values(), strict=False))
