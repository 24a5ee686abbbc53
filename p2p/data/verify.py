"""Is a data set the official release, complete and readable? The answers are sentences.

A *problem* is something to mend: a file that is missing, damaged or not what was released. A *remark* is worth
knowing and stops nothing: above all that the set differs from the official release in a way known to be sound.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from p2p.data.decode import survey
from p2p.data.listing import Listing, image_files
from p2p.data.readers import CARS_FILES, CARS_META, find_root, load_mat, read_cars, read_cub
from p2p.errors import UserError

CUB_COUNTS = {"classes": 200, "training images": 5994, "test images": 5794}
# MD5 of the released lists. That of images.txt is taken with every file name ending in .jpg, as released. The MD5 of
# bounding_boxes.txt and parts/part_locs.txt are not known to us: their lines are counted and held against the images.
CUB_LISTS = {
    "images.txt": "619b5c21b05008767b6d09160bdfba38",
    "image_class_labels.txt": "3d8c4b071f61d8491ca681918115d7f1",
    "train_test_split.txt": "f4e2dc5d3ef7e13b510f88d55c9d9807",
    "classes.txt": "5030a19bb88899c92f2c00787283c2ab",
    "parts/parts.txt": "5eff610d9d95bfd36f1d555dc641e238",
}
CARS_COUNTS = {"train": 8144, "test": 8041}
CARS_CLASSES = 196
# MD5 of the class names, a line each, and of `number class` of the training images in their order; MATLAB files have
# a date in them, so the MD5 of the files themselves says nothing.
CARS_LISTS = {"classes": "b00c64f5b344b2bd3c68a108dff407d5", "training labels": "08320c6639f2ed201394845938f140bc"}
NAMED = 10  # unreadable images named one by one
STRAY_PARTS = 0.01  # share of visible parts outside their boxes that an annotator's slips may explain


@dataclass
class Findings:
    """What a check found, in sentences; without problems the set is complete."""

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    listing: Listing | None = None


def _md5(content: bytes | str) -> str:
    return hashlib.md5(content.encode() if isinstance(content, str) else content, usedforsecurity=False).hexdigest()


def _read(check: Callable[[Path, Findings], None], root: Path | None, reader: str) -> Findings:
    """Run one check; what a reader raises is a problem like any other."""
    found = Findings()
    try:
        check(find_root(root, reader), found)
    except UserError as error:
        found.problems.append(str(error))
    return found


def check_cub(root: Path | None) -> Findings:
    """Everything that can be said about CUB-200-2011 below `root` (None: P2P_DATA); reads every image."""
    return _read(_check_cub, root, "cub")


def check_cars(root: Path | None) -> Findings:
    """Everything that can be said about Stanford Cars below `root` (None: P2P_DATA); reads every image."""
    return _read(_check_cars, root, "cars")


def _check_cub(base: Path, found: Findings) -> None:
    listing = found.listing = read_cub(base)
    tests = int(listing.test.sum())
    counts = (len(listing.classes), len(listing.names) - tests, tests)
    found.problems += [
        f"The lists in {base} hold {count} {what}, the official release {official}."
        for count, (what, official) in zip(counts, CUB_COUNTS.items(), strict=True)
        if count != official
    ]
    for name, official in CUB_LISTS.items():
        if not (base / name).is_file():
            found.problems.append(f"List file {base / name} is missing; restore it from CUB_200_2011.tgz.")
            continue
        content = (base / name).read_bytes()
        if name == "images.txt":
            content = re.sub(rb"\.\w+$", b".jpg", content, flags=re.MULTILINE)
        if _md5(content) != official:
            found.problems.append(
                f"List file {base / name} is not the official one (MD5 {_md5(content)}, expected {official}); "
                "restore it from CUB_200_2011.tgz."
            )
    images, parts = len(listing.names), len(listing.part_names)
    for name, keys, expected in (("bounding_boxes.txt", 1, images), ("parts/part_locs.txt", 2, images * parts)):
        if not (base / name).is_file():
            found.problems.append(f"List file {base / name} is missing; restore it from CUB_200_2011.tgz.")
            continue
        rows = np.loadtxt(base / name, usecols=range(keys), dtype=int, ndmin=2)
        if len(rows) != expected or len(np.unique(rows, axis=0)) != expected:
            found.problems.append(
                f"List file {base / name} has {len(rows)} lines, some twice or for no image; expected one for each "
                f"of {images} images{f' and {parts} parts' if keys == 2 else ''}, {expected} in all."
            )
    _remark_suffixes(listing, found)
    assert listing.boxes is not None
    if images and (listing.boxes[:, :2] == 0).all():
        found.remarks.append(
            "Not the official release: every bounding box starts in the corner of its image, so the images were cut "
            "to their boxes before."
        )
    _check_images(listing, found)


def _check_cars(base: Path, found: Findings) -> None:
    rows = {}
    for name, key in [(CARS_META, "class_names"), *((name, "annotations") for name in CARS_FILES.values())]:
        try:
            rows[name] = load_mat(base / name, key)
        except UserError as error:
            found.problems.append(str(error))
    for name in CARS_FILES.values():
        if name in rows and "class" not in (rows[name].dtype.names or ()):
            found.problems.append(f"File {base / name} has no field `class`; take the file with the labels.")
    for split in CARS_COUNTS:
        folder = base / f"cars_{split}"
        if not folder.is_dir():
            found.problems.append(f"Folder {folder} is missing.")
        elif not image_files(folder) and (folder / folder.name).is_dir():
            found.problems.append(f"Folder {folder} holds another {folder.name}/; move its images up one folder.")
    if found.problems:
        return
    listing = found.listing = read_cars(base)
    counts = {split: int((listing.test == (split == "test")).sum()) for split in CARS_COUNTS}
    halved = len(listing.names) == CARS_COUNTS["train"] and counts["test"] > 0
    if halved:
        found.remarks.append(
            f"Not the official release: the {CARS_COUNTS['train']} training images are divided into {counts['train']} "
            f"to train and {counts['test']} to test, so call results on it the training half, never the Cars test."
        )
    elif counts != CARS_COUNTS:
        found.problems += [
            f"File {base / CARS_FILES[split]} has {counts[split]} annotations, the official one {official}."
            for split, official in CARS_COUNTS.items()
            if counts[split] != official
        ]
    if len(listing.classes) != CARS_CLASSES:
        found.problems.append(f"File {base / CARS_META} has {len(listing.classes)} classes, expected {CARS_CLASSES}.")
    elif _md5("".join(f"{name}\n" for name in listing.classes)) != CARS_LISTS["classes"]:
        found.problems.append(f"File {base / CARS_META} has other class names than the official one; copy it again.")
    if not found.problems:
        _check_cars_lists(base, listing, halved, found)
    _remark_suffixes(listing, found)
    _check_images(listing, found)


def _check_cars_lists(base: Path, listing: Listing, halved: bool, found: Findings) -> None:
    """Numbers and labels of the images; those of the test images can only be held against the classes."""
    numbers = [Path(name).stem for name in listing.names]
    training = np.ones(len(numbers), dtype=bool) if halved else ~listing.test
    lines = sorted(f"{numbers[i]} {listing.labels[i] + 1}\n" for i in np.flatnonzero(training))
    if _md5("".join(lines)) != CARS_LISTS["training labels"]:
        found.problems.append(
            f"File {base / CARS_FILES['train']} gives the training images other numbers or classes than the official "
            "one; copy it again."
        )
    tests = sorted(numbers[i] for i in np.flatnonzero(~training))
    if tests != [f"{i:05d}" for i in range(1, len(tests) + 1)]:
        found.problems.append(
            f"File {base / CARS_FILES['test']} names other images than 00001 to {CARS_COUNTS['test']:05d}; copy it "
            "again."
        )
    absent = set(range(len(listing.classes))) - set(listing.labels[listing.test].tolist())
    if absent:
        found.problems.append(
            f"File {base / CARS_FILES['test']} has no image of {listing.classes[min(absent)]}; copy it again."
        )


def _remark_suffixes(listing: Listing, found: Findings) -> None:
    others = sorted({Path(name).suffix for name in listing.names} - {".jpg"})
    if others:
        found.remarks.append(
            f"Not the official release: images end in {' and '.join(others)} instead of .jpg, so pixels may differ."
        )


def _check_images(listing: Listing, found: Findings) -> None:
    """Decode every image and hold boxes and parts against it."""
    here = np.array([(listing.folder / name).is_file() for name in listing.names], dtype=bool)
    if not here.all():
        absent = [listing.names[i] for i in np.flatnonzero(~here)]
        found.problems.append(
            f"{len(absent)} of {len(here)} listed images are missing in {listing.folder}, the first is {absent[0]}."
        )
    boxes = None if listing.boxes is None else listing.boxes[here]
    present = replace(listing, names=tuple(np.array(listing.names)[here].tolist()), boxes=boxes, crop=True)
    windows, bad = survey(present)
    found.problems += bad[:NAMED]
    if len(bad) > NAMED:
        found.problems.append(
            f"{len(bad)} of {len(here)} images in {listing.folder} cannot be used; the first {NAMED} are named above."
        )
    if boxes is None or not len(windows):
        return
    excess = np.abs(np.round(boxes) - windows).max(axis=1)  # nan where the image cannot be used
    if (excess > 0).any():
        found.remarks.append(
            f"Bounding boxes that stick out of their images: {int((excess > 0).sum())}, by at most "
            f"{np.nanmax(excess):.0f} pixels; they are cut at the edge."
        )
    if listing.parts is not None:
        _check_parts(listing.parts[here], windows, listing, found)


def _check_parts(parts: np.ndarray, windows: np.ndarray, listing: Listing, found: Findings) -> None:
    """Parts (n, Q, 3) marked visible should lie in the windows (n, 4) of their images, in source pixels."""
    places, visible = parts[:, :, :2], parts[:, :, 2] > 0
    outside = ((places < windows[:, None, :2]) | (places > windows[:, None, 2:])).any(axis=2) & visible
    count, total = int(outside.sum()), int(visible.sum())
    if count > STRAY_PARTS * total:
        found.problems.append(
            f"{count} of {total} visible parts in {listing.folder.parent / 'parts' / 'part_locs.txt'} lie outside the "
            "boxes of their images; take images, boxes and parts from one release."
        )
    elif count:
        found.remarks.append(f"{count} of {total} visible parts lie outside their boxes; they count as not visible.")
