"""A data set before decoding: which files, classes, boxes and parts it has, and how to cut it down.

The readers (p2p/data/readers.py) return a `Listing`; `choose` keeps a few classes or images of it, so that small
studies decode only what they use.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from p2p.digests import digests
from p2p.errors import UserError

# What Pillow knows by its name only or on Windows, and what it hands to another program: EPS is run by Ghostscript.
UNREAD = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})


@dataclass(frozen=True, eq=False)
class Listing:
    """What a reader found; image i is the file `folder / names[i]`.

    Attributes:
        folder: Folder that `names` are relative to.
        names: N relative paths with forward slashes.
        labels: (N,) int64, 0..K-1.
        test: (N,) bool, True for the test images of the official (or seeded) split.
        classes: K class names.
        boxes: (N, 4) float64 x0, y0, x1, y1 in source pixels, or None.
        parts: (N, Q, 3) float64 x, y in source pixels, visible (0/1), or None.
        part_names: Q names, empty without parts.
        crop: Whether images are cut to their boxes.
        remarks: Sentences on what the reader passed over; they stop nothing.
    """

    folder: Path
    names: tuple[str, ...]
    labels: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]
    boxes: np.ndarray | None = None
    parts: np.ndarray | None = None
    part_names: tuple[str, ...] = ()
    crop: bool = False
    remarks: tuple[str, ...] = ()


def seeded_cut(
    names: Sequence[str], labels: np.ndarray, classes: Sequence[str], fraction: float, seed: int, purpose: str
) -> np.ndarray:
    """Choose a fraction of each class, at least one image and never all of it.

    Images are ranked by a hash of (purpose, seed, name without extension), so a choice depends on neither the
    other classes nor the library versions, and is the same for the .jpg and the .webp release of a data set.

    Args:
        names: N image names.
        labels: (N,) class indices.
        classes: K class names, for messages.
        fraction: In (0, 1).
        seed: Seed of the cut.
        purpose: Keeps two cuts with one seed independent.

    Returns:
        (N,) bool, True for the chosen images.

    Raises:
        UserError: A class has fewer than two images.
    """

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{purpose}\0{seed}\0{os.path.splitext(names[index])[0]}".encode()).digest()

    chosen = np.zeros(len(names), dtype=bool)
    present, sizes = np.unique(labels, return_counts=True)
    if single := present[sizes < 2].tolist():
        others = f", as have {len(single) - 1} other classes" if len(single) > 1 else ""
        raise UserError(
            f"Class {classes[single[0]]} has one image to cut a {purpose} split from{others}; give it at least two."
        )
    for label in present:
        members = np.flatnonzero(labels == label).tolist()
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[sorted(members, key=rank)[:count]] = True
    return chosen


def choose(
    listing: Listing,
    class_step: int = 1,
    class_count: int | None = None,
    images_per_class: int | None = None,
    class_first: int = 0,
) -> Listing:
    """Keep classes f, f + k, f + 2k, ... (at most `class_count`) and the first images of each class and split.

    Raises:
        UserError: Fewer than two classes are left, or one of them has no training or no test image.
    """
    kept = list(range(class_first, len(listing.classes), class_step))[:class_count]
    if len(kept) < 2:
        first = f" from 'class_first' {class_first} on" if class_first else ""
        raise UserError(
            f"{listing.folder} has {len(listing.classes)} classes, of which 'class_step' {class_step}{first} leaves "
            f"{len(kept)}; a study needs two or more: lower it, or add classes."
        )
    indices: list[int] = []
    for old in kept:
        for part, test in (("training", False), ("test", True)):
            members = np.flatnonzero((listing.labels == old) & (listing.test == test))[:images_per_class]
            if not len(members):
                raise UserError(
                    f"Class {listing.classes[old]} in {listing.folder} has no {part} image; "
                    "add some, or leave the class out."
                )
            indices.extend(members.tolist())
    index = np.array(sorted(indices), dtype=np.int64)
    labels = np.searchsorted(np.array(kept), listing.labels[index])
    return replace(
        listing,
        names=tuple(listing.names[i] for i in index),
        labels=labels.astype(np.int64),
        test=listing.test[index],
        classes=tuple(listing.classes[i] for i in kept),
        boxes=None if listing.boxes is None else listing.boxes[index],
        parts=None if listing.parts is None else listing.parts[index],
    )


def image_files(folder: Path) -> list[str]:
    """Sorted names of the image files directly in a folder (hidden files left out)."""
    if not folder.is_dir():
        return []
    return sorted(e.name for e in os.scandir(folder) if e.name[0] != "." and Path(e.name).suffix.lower() in suffixes())


@cache
def formats() -> tuple[str, ...]:
    """What is read: the formats of this Pillow that have file name endings, in the order in which it tries them."""
    Image.preinit()
    Image.init()
    named = set(Image.registered_extensions().values()) - UNREAD
    return tuple(name for name in Image.ID if name in named and name in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """The endings of their files, in small letters with a point."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names and how many more there are, for a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def contents(listing: Listing) -> list[str]:
    """SHA-256 of each image file, see `p2p.digests.digests`.

    Raises:
        UserError: A file is missing or cannot be read.
    """
    missing: list[OSError] = []
    for name in listing.names:
        try:
            os.stat(listing.folder / name)
        except OSError as error:
            missing.append(error)
    try:
        if not missing:
            return digests(listing.folder, listing.names)
        cause, what = missing[0], "is listed but missing"
    except OSError as error:
        cause, what = error, "cannot be read"
    why = "" if isinstance(cause, FileNotFoundError) else f" ({cause.strerror})"
    count = f", as are {len(missing) - 1} more of {len(listing.names)}" if len(missing) > 1 else ""
    # only a release has boxes; a user's own image is missing where its link leads nowhere
    cure = "restore it, or remove its link" if listing.boxes is None else "restore it from the release"
    raise UserError(f"Image {cause.filename} {what}{why}{count}; {cure}.") from cause


def listing_digest(listing: Listing) -> str:
    """Hex digits that change with any image's contents, name, class, split, box or part; not with folder or times."""
    found = hashlib.sha256(json.dumps([listing.names, contents(listing), listing.classes, listing.part_names]).encode())
    for array in (listing.labels, listing.test, listing.boxes, listing.parts, np.array(listing.crop)):
        found.update(b"-" if array is None else np.ascontiguousarray(array).tobytes() + b"+")
    return found.hexdigest()
