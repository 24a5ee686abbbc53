"""A look at every file of a user's own images before anything is trained: what is odd, and what is done about it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from p2p.data.decode import read_frame
from p2p.data.folders import Tree, read_folder
from p2p.data.listing import Listing, contents, formats, some
from p2p.data.readers import find_root
from p2p.errors import UserError
from p2p.files import cache_folder, read_json, write_atomic
from p2p.study.params import DataParams

STOPS = "stops the run"
OUT = "left out, as skip_bad says"
# Kinds in the order of the table, and what is done about each; the first two cannot be used at all.
BAD = {"broken": STOPS, "no image, in spite of its name": STOPS}
KINDS = {
    "no image by its name": "left out",
    "greyscale": "used, in three equal colours",
    "with transparency": "laid on white",
    "CMYK": "turned into RGB, its profile not looked at",
    "more than 8 bits": "grey scaled from its darkest to its brightest value; of colours the upper 8 bits",
    "rotated by EXIF": "turned upright",
    "several frames": "the first is taken",
    "one single colour": "used; look whether that is meant",
    "tiny": "used, enlarged: a shorter side below half of the study's size",
}
TWICE = "twice in training"
LEAKED = "in training and test"
CLASHES = "in two classes"
MOST_NAMED = 20  # files in one message
UNEQUAL = 10  # times the smallest class: said


class Row(NamedTuple):
    """A row of the table."""

    what: str
    files: int
    done: str
    names: str  # the first of them


class Look(NamedTuple):
    """One file: what is odd about it, the fingerprint of its pixels at the study's size, why it cannot be used."""

    kinds: tuple[str, ...]
    print: int
    why: str


@dataclass(frozen=True)
class Checkup:
    """What a look at all files found.

    Attributes:
        files: How many were looked at.
        rows: Of the table; kinds of which there is none are left out.
        bad: name: why, of files that cannot be used.
        leaked: Pairs (training image, test image) that are the same.
        remarks: What the reader passed over.
    """

    files: int
    rows: tuple[Row, ...]
    bad: dict[str, str]
    leaked: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def look_at(path: Path, size: int) -> Look:
    """Everything that the table says of one file.

    Args:
        path: Of an image.
        size: Of the study, pixels.
    """
    try:
        frame, _, note = read_frame(path, None, False, size)
        with Image.open(path, formats=formats()) as image:
            found = {
                "with transparency": image.has_transparency_data,
                "CMYK": image.mode == "CMYK",
                "more than 8 bits": bool(note & 1) or any(re.search(";16[BLN]", str(tile[3])) for tile in image.tile),
                "rotated by EXIF": image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9),
                "tiny": min(image.size) < size / 2,
            }
    except UserError as error:
        why = str(error).removeprefix(f"Image {path} ").rsplit(";", 1)[0]
        kinds = tuple(BAD)
        none = any(words in why for words in ("cannot identify", "is empty", "Git LFS"))
        return Look((kinds[none],), 0, why)
    found["greyscale"] = bool((frame[0] == frame[1]).all() and (frame[1] == frame[2]).all()) and not note & 4
    found |= {"several frames": bool(note & 2), "one single colour": bool(note & 4)}
    mark = hashlib.blake2b(frame.tobytes(), digest_size=8).digest()
    return Look(tuple(kind for kind in KINDS if found.get(kind)), int.from_bytes(mark), "")


def _look_at_all(listing: Listing, size: int) -> list[Look]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda name: look_at(listing.folder / name, size), listing.names))


def check_up(params: DataParams) -> Checkup:
    """Look at every file of a study of reader `folder`.

    Args:
        params: root, size, data_seed, skip_bad, allow_duplicates.

    Raises:
        UserError: The folder is no tree of classes, see `read_folder`; or without its bad files it would be none.
    """
    root = find_root(params.root, "folder")
    listing = read_folder(root, params.data_seed)
    looks = dict(zip(listing.names, _look_at_all(listing, params.size), strict=True))
    bad = {name: look.why for name, look in looks.items() if look.why}
    if bad and params.skip_bad:
        listing = read_folder(root, params.data_seed, frozenset(bad))
    kinds: dict[str, list[str]] = {kind: [] for kind in (*BAD, *KINDS)}
    for name, look in looks.items():
        for kind in look.kinds:
            kinds[kind].append(name)
    tree = Tree(root)
    places = {name[: i + 1] for name in listing.names for i, letter in enumerate(name) if letter == "/"} | {""}
    for place in sorted(places):
        kinds["no image by its name"] += [f"{place}{name}" for name in tree.look(place).others]
    done = {**(dict.fromkeys(BAD, OUT) if params.skip_bad else BAD), **KINDS}
    rows = [Row(kind, len(names), done[kind], some(names, 2)) for kind, names in kinds.items() if names]
    twins, leaked = _twins([name for name in listing.names if name not in bad], listing, looks, params.allow_duplicates)
    others = tuple(remark for remark in listing.remarks if not remark.startswith("Files left out"))  # a row has them
    return Checkup(len(looks), (*rows, *twins), bad, leaked, (*others, *_unequal(listing)))


def _twins(
    names: list[str], listing: Listing, looks: dict[str, Look], allowed: bool
) -> tuple[list[Row], tuple[tuple[str, str], ...]]:
    """Rows on images that are there twice, and the pairs of training and test image that are the same."""
    where = {name: i for i, name in enumerate(listing.names)}
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(looks[name].print, []).append(name)
    twice, leaked, clashes = [], [], []
    for group in (group for group in groups.values() if len(group) > 1):
        training = [name for name in group if not listing.test[where[name]]]
        twice += training[1:]
        leaked += [(training[0], name) for name in group if name not in training and training]
        clashes += group if len({int(listing.labels[where[name]]) for name in group}) > 1 else []
    rows = [
        (TWICE, twice, "used; validation may see a copy of a training image"),
        (LEAKED, [test for _, test in leaked], "allowed by allow_duplicates" if allowed else STOPS),
        (CLASHES, clashes, "used as they lie; look which class is right"),
    ]
    return [Row(what, len(found), done, some(found, 2)) for what, found, done in rows if found], tuple(leaked)


def table(found: Checkup) -> str:
    """The rows as plain text, columns aligned; a line where nothing is odd."""
    if not found.rows:
        return f"All {found.files:,} images can be read, and nothing about them is odd."
    head = Row("what", 0, "what is done", "such as")
    cells = [(row.what, str(row.files) if row.files else "files", row.done, row.names) for row in (head, *found.rows)]
    wide = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = [f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c:<{wide[2]}}  {d}".rstrip() for a, b, c, d in cells]
    return "\n".join([f"{found.files:,} images were looked at; this is odd about them:", *lines])


def refuse(found: Checkup, params: DataParams, file: str) -> None:
    """Stop where training would fail or mislead.

    Args:
        found: By `check_up`.
        params: The same.
        file: The study file, for the message.

    Raises:
        UserError: Files that cannot be used, all of them named; or the same image in training and test.
    """
    if found.bad and not params.skip_bad:
        named = _listed([f"{name} {why}" for name, why in found.bad.items()])
        one = len(found.bad) == 1
        raise UserError(
            f"{len(found.bad)} of {found.files} images in {params.root} cannot be used: {named}; replace "
            f"{'it' if one else 'them'}, or set `skip_bad: true` under `data` in {file} to leave "
            f"{'it' if one else 'them'} out."
        )
    if found.leaked and not params.allow_duplicates:
        named = _listed([f"{train} and {test}" for train, test in found.leaked])
        one = len(found.leaked) == 1
        raise UserError(
            f"{len(found.leaked)} test image{'' if one else 's'} in {params.root} "
            f"{'is a training image' if one else 'are training images'}, too: {named}; remove one of each two, or "
            f"set `allow_duplicates: true` under `data` in {file}."
        )


def _listed(parts: list[str]) -> str:
    """The parts of a message, of many the first; the table above it has their number."""
    return "; ".join(parts if len(parts) <= MOST_NAMED else [*parts[:MOST_NAMED], f"{len(parts) - MOST_NAMED} more"])


def _unequal(listing: Listing) -> list[str]:
    """A sentence where the smallest class is a fraction of the largest: accuracy then hardly counts it."""
    sizes = np.bincount(listing.labels, minlength=len(listing.classes))
    low, high = int(sizes.argmin()), int(sizes.argmax())
    if sizes[high] < UNEQUAL * sizes[low]:
        return []
    return [
        f"Classes of very different size: {listing.classes[low]} has {sizes[low]} images, {listing.classes[high]} has "
        f"{sizes[high]:,}; a network leans towards the large ones, and the share of right answers hardly shows it."
    ]


def unreadable(listing: Listing) -> dict[str, str]:
    """name: why, of the files that cannot be used; what is known of the same files is kept in P2P_CACHE.

    Raises:
        UserError: A file is missing, or the cache cannot be written.
    """
    known = json.dumps([listing.names, contents(listing)])
    path = cache_folder() / f"unreadable-{hashlib.sha256(known.encode()).hexdigest()[:20]}.json"
    if path.is_file():
        return dict(read_json(path, "delete it"))
    looks = zip(listing.names, _look_at_all(listing, 1), strict=True)
    bad = {name: look.why for name, look in looks if look.why}
    write_atomic(path, json.dumps(bad))
    return bad


def shorter_sides(root: Path, names: Iterable[str]) -> tuple[int, int, int]:
    """The smallest, the median and the largest shorter side of the images that can be opened, pixels; headers alone.

    Raises:
        UserError: None can be opened.
    """
    sides = []
    for name in names:
        try:
            with Image.open(root / name, formats=formats()) as image:
                sides.append(min(image.size))
        except Exception:  # Pillow's readers raise a dozen kinds; `check_up` names the file
            continue
    if not sides:
        raise UserError(f"None of the images in {root} can be opened; give a folder of photographs.")
    return min(sides), int(median_low(sides)), max(sides)
