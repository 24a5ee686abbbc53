"""The study file of a user's own images: written once from what lies in their folder, then theirs to edit.

What is chosen follows from the images and the weights that can be had alone, so the same folder gives the same file.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from p2p.errors import UserError, shown
from p2p.files import find_weights, write_atomic

IMAGE_PASSES = 40_000  # of a student in joint passes: those of the reference recipe, 500 images 80 times
PAIR = ("mobilenet_v2", "squeezenet1_1")  # the pair that the reference recipe was searched for
# Image passes a second of one CPU core at a side of so many pixels: the mean of the trainings recorded in results/ of
# cub-20, and of a private study of 38 photographs; the same machine had half and twice that.
SPEED = {"mobilenet_v2": (55, 160), "squeezenet1_1": (98, 160), "small": (240, 64), "small_half": (500, 64)}
AROUND = 90  # seconds: three programs that start, an evaluation, two pages and the book
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
FROM_NOTHING = {  # params/birds.yaml: what differs from the reference recipe where no weights are
    "prototype_depth": 64,
    "warm_epochs": 0,
    "feature_init": "kaiming",
    "prototype_init": "uniform",
    "trunk_batchnorm": "train",
    "lr_trunk": 3e-3,
    "lr_prototypes": 3e-3,
    "joint_factor": 1.0,
}


@dataclass(frozen=True)
class Found:
    """What lies in a folder of images.

    Attributes:
        root: The folder.
        classes: K names.
        train, test: Images; validation is cut from the former.
        fewest: Images of the smallest class that are for training alone.
        divided: Whether the folder has train/ and test/ of its own.
        sides: Shorter sides, pixels: the smallest, the median, the largest of all images that can be opened.
    """

    root: str
    classes: tuple[str, ...]
    train: int
    test: int
    fewest: int
    divided: bool
    sides: tuple[int, int, int]


@dataclass(frozen=True)
class Choice:
    """What a study of these images is to be, and why, a sentence a choice."""

    size: int
    grid: int
    teacher: dict[str, object]
    student: dict[str, object]
    recipe: dict[str, object]
    minutes: int  # of one CPU core, for all three networks and the pages
    why: tuple[str, ...]


def pretrained(network: str) -> str:
    """Where ImageNet weights of a network can be had: a file of P2P_WEIGHTS, "imagenet" (downloaded), or ""."""
    file = f"{network}.safetensors"
    try:
        find_weights(file, network)
        return file
    except UserError:
        pass
    from p2p.weights import torchvision_state  # brings PyTorch with it

    try:
        torchvision_state(network)
        return "imagenet"
    except UserError:
        return ""


def weights_folder() -> str:
    """What P2P_WEIGHTS names; "" where it is not set.

    Raises:
        UserError: It names no folder.
    """
    folder = os.environ.get("P2P_WEIGHTS", "")
    if folder and not os.path.isdir(folder):
        what = "a file and no folder" if os.path.exists(folder) else "no folder that is there"
        files = " and ".join(f"{network}.safetensors" for network in PAIR)
        raise UserError(
            f"P2P_WEIGHTS is {shown(folder)}, which is {what}; let it name the folder that holds {files}, or unset it "
            "to have them downloaded."
        )
    return folder


def choose(found: Found, weights: dict[str, str], folder: str = "") -> Choice:
    """Networks, size, prototypes and budget that fit the images.

    Args:
        found: In the folder.
        weights: network: see `pretrained`, of both networks of `PAIR`.
        folder: What P2P_WEIGHTS names, see `weights_folder`.
    """
    side = found.sides[1]
    had = all(weights.get(name) for name in PAIR)
    recipe: dict[str, object] = {}
    teacher: dict[str, object]
    student: dict[str, object]
    if had and side >= 48:
        size, grid = (160, 5) if side >= 128 else (96, 3)
        names, start = PAIR, f"ImageNet weights ({_had(weights, folder)})"
        passes = _passes(found.train, 20, 160)
        teacher = {"network": PAIR[0], "weights": weights[PAIR[0]], "lr_trunk": 1e-4, "joint_epochs": passes // 2}
        student = {"network": PAIR[1], "weights": weights[PAIR[1]]}
    else:
        size, grid = (64, 8) if side >= 48 else (32, 4)
        names, passes = ("small", "small_half"), _passes(found.train, 40, 400)
        start = f"trained from nothing, {'as the images are small' if had else _not_had(weights, folder)}"
        teacher, student = {"network": names[0]}, {"network": names[1]}
        recipe |= FROM_NOTHING
    per_class = min(10, max(1, found.fewest // 2))
    recipe |= {"prototypes_per_class": per_class, "joint_epochs": passes}
    recipe |= {"batch_size": 16} if found.train < 128 else {}
    each = [(names[0], int(str(teacher.get("joint_epochs", passes)))), (names[1], passes), (names[1], passes)]
    work = sum(found.train * count / SPEED[name][0] * (size / SPEED[name][1]) ** 2 for name, count in each)
    why = (
        f"Networks: {names[0]} teaches {names[1]}, {start}.",
        f"Size: {size} × {size} pixels, {grid} × {grid} cells, for a median shorter side of {side} pixels.",
        f"Prototypes: {per_class} a class, one for every two images (at most 10); the smallest class has "
        f"{found.fewest} for training alone.",
        f"Budget: {passes} joint passes over {found.train:,} images: few images are seen more often.",
    )
    return Choice(size, grid, teacher, student, recipe, round((work + AROUND) / 60), why)


def _had(weights: dict[str, str], folder: str) -> str:
    """Where the weights of both networks come from."""
    files, loaded = ([n for n in PAIR if (weights[n] == "imagenet") == online] for online in (False, True))
    told = [f"{', '.join(weights[n] for n in files)} of P2P_WEIGHTS, {shown(folder)}"] if files else []
    told += [f"{' and '.join(loaded)} downloaded"] if loaded else []
    lacks = ", ".join(f"{n}.safetensors" for n in loaded)
    return "; ".join(told) + (f", as P2P_WEIGHTS, {shown(folder)}, has no {lacks}" if folder and loaded else "")


def _not_had(weights: dict[str, str], folder: str) -> str:
    """Why the pretrained pair cannot be used."""
    lacking = [name for name in PAIR if not weights.get(name)]
    place = f"P2P_WEIGHTS, {shown(folder)}, has no such files" if folder else "P2P_WEIGHTS is not set"
    return f"as no ImageNet weights of {' and '.join(lacking)} can be had: {place}, and a download has failed"


def _passes(images: int, least: int, most: int) -> int:
    """Passes that make `IMAGE_PASSES`, in tens."""
    return min(most, max(least, 10 * round(IMAGE_PASSES / images / 10)))


def sentences(found: Found) -> list[str]:
    """What was found, in words: classes, counts, sizes, the split."""
    low, middle, high = found.sides
    names = ", ".join(found.classes[:8]) + (f" and {len(found.classes) - 8} more" if len(found.classes) > 8 else "")
    how = "as train/ and test/ say" if found.divided else "a quarter of each class, by a seed, is kept for the test"
    return [
        f"Found: {len(found.classes)} classes ({names}), {found.train + found.test:,} images.",
        f"Split: {found.train:,} to train and validate, {found.test:,} to test: {how}.",
        f"Shorter sides of the images: {low} to {high} pixels, median {middle}.",
    ]


def study_text(name: str, found: Found, choice: Choice) -> str:
    """The study file, commented; YAML."""

    def keys(values: dict[str, object]) -> str:
        return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in values.items()) + "}"

    # to the recipe, and to the teacher whose passes are its own
    said = {
        "warm_epochs": "passes with the trunk frozen: none, as it knows nothing yet",
        "joint_epochs": "passes with all layers learning; for a first try, halve it",
    }
    comment = ""
    if "joint_epochs" in choice.teacher:
        comment = (
            "  # the teacher has a rate and passes of its own, half of the others': its best in params/cub-20.yaml\n"
        )
    small = choice.teacher["network"] == "small"
    sides = "4 go with 32 px, 8 with 64" if small else "3 go with 96 px, 5 with 160, 7 with 224"
    comments = "\n".join(f"# {line}" for line in (*sentences(found), *choice.why))
    lines = [
        f"{f'  {key}: {_scalar(value)}':<32} {f'# {said[key]}' if key in said else ''}".rstrip()
        for key, value in choice.recipe.items()
    ]
    if "warm_epochs" not in choice.recipe:
        lines.append(
            "  # warm_epochs: 10              # so many passes come before, with the trunk frozen: the default"
        )
    recipe = "\n".join(lines)
    return f"""\
# yaml-language-server: $schema=study.schema.json
# Your own images. `make own` wrote this file from what it found, and never writes over it: edit it, and give the same
# command again; remove it to have it written anew.
{comments}
# The choice of networks and weights stays as it is written here, whatever can be had later. To change it,
# let P2P_WEIGHTS name a folder with {PAIR[0]}.safetensors and {PAIR[1]}.safetensors, or go online;
# then remove this file and give the same command again. Or edit `network` and `weights` at the end: a file of
# P2P_WEIGHTS, imagenet, or none.
# Cost: about {choice.minutes} minutes of a CPU core, by recorded trainings; elsewhere half or twice that.
study: {name}
title: {_scalar(f"My images: {Path(found.root).name or found.root}"[:200])}
private: true                    # a book of its own, book/_build/own-{name}; no part of the published one
images: "own images, {len(found.classes)} classes"
seeds: [0]                       # one training of each network; with [0, 1, 2] the page shows the first

data:
  reader: folder
  root: {_scalar(found.root)}
  size: {choice.size}                      # pixels; at twice the size training takes four times as long
  # skip_bad: true               # leave out files that cannot be read, instead of stopping
  # allow_duplicates: true       # the same image in training and test is no error

recipe:                          # what is not named has its default (make lab, or the book's page "The functions")
  grid: {choice.grid}                        # cells a side: {sides}
{recipe}

triples:
{comment}  - name: own
    teacher: {keys(choice.teacher)}
    student: {keys(choice.student)}
"""


def _scalar(value: object) -> str:
    """A value as YAML: texts in double quotes, where everything that JSON can say means the same."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else f"{value:g}"


def study_file(name: str, folder: Path) -> Path:
    """Where the study file of that name is or will be.

    Raises:
        UserError: The name is none for a study.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"NAME is {shown(name)}; expected small letters, digits, _ and -, at most 60, such as NAME=mine."
        )
    return folder / f"{name}.yaml"


def write_study(path: Path, found: Found, choice: Choice) -> None:
    """Write the study file; the caller has seen that there is none."""
    write_atomic(path, study_text(path.stem, found, choice))


def keep_from_git(folder: Path) -> None:
    """Let git ignore a folder of private results, whatever it is called."""
    if not (folder / ".gitignore").is_file():
        write_atomic(folder / ".gitignore", "# private results: not for git\n*\n")
