"""Readers of image folders: what the lists of a data set say, before any image is decoded.

Three layouts are known: CUB-200-2011 as released, Stanford Cars as torchvision lays it out, and any tree of
class folders (p2p/data/folders.py). Each reader returns a `p2p.data.listing.Listing`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import loadmat

from p2p.data.folders import read_folder
from p2p.data.listing import Listing, image_files
from p2p.errors import UserError, pick

CARS_FILES = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
CARS_META = "devkit/cars_meta.mat"


def _rows(path: Path, layout: str, *kinds: Callable[[str], Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of every line of a list file; the last field takes the rest of its line."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(
            f"List file {path} cannot be read ({error.strerror}); restore it from the official release."
        ) from error
    for number, line in enumerate(lines, 1):
        words = line.strip().split(maxsplit=len(kinds) - 1)
        if not words:
            continue
        try:
            row = tuple(kind(word) for kind, word in zip(kinds, words, strict=True))
        except ValueError as error:
            raise UserError(f"Line {number} of {path} reads {line[:80]!r}; expected `{layout}`.") from error
        yield row


def _column(path: Path, layout: str, ids: dict[int, int], *kinds: Callable[[str], Any]) -> list[Any]:
    """Values of a list keyed by image id, in the order of images.txt."""
    found = {row[0]: row[1:] for row in _rows(path, layout, int, *kinds)}
    missing = ids.keys() - found.keys()
    if missing:
        raise UserError(
            f"{path} has no line for image {min(missing)}, which images.txt lists; restore the complete file."
        )
    return [found[i] for i in ids]


def _cub_parts(root: Path, ids: dict[int, int]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Part locations (N, Q, 3) and the Q part names; (None, ()) where the release has no parts folder."""
    path = root / "parts" / "part_locs.txt"
    if not path.is_file():
        return None, ()
    rows = list(_rows(path, "image_id part_id x y visible", int, int, float, float, int))
    count = max((row[1] for row in rows), default=0)
    names = {i: f"part {i}" for i in range(1, count + 1)}
    if (root / "parts" / "parts.txt").is_file():
        names = dict(_rows(root / "parts" / "parts.txt", "part_id part_name", int, str))
    columns = {part: column for column, part in enumerate(sorted(names))}
    parts = np.zeros((len(ids), len(names), 3))
    for image, part, x, y, visible in rows:
        if part not in columns:
            raise UserError(f"{path} names part {part}, which parts.txt does not list; restore both from one release.")
        if image in ids:
            parts[ids[image], columns[part]] = (x, y, visible != 0)
    return parts, tuple(names[part] for part in columns)


def read_cub(root: Path) -> Listing:
    """CUB-200-2011 in its official layout, official split, images cut to their bounding boxes.

    Raises:
        UserError: A list file is missing, a line cannot be read, or the lists contradict each other.
    """
    rows = list(_rows(root / "images.txt", "image_id image_name", int, str))
    ids = {row[0]: position for position, row in enumerate(rows)}  # image id -> row
    if len(ids) < len(rows):
        raise UserError(f"{root / 'images.txt'} lists the same image id twice; restore it from the official release.")
    names = tuple(row[1] for row in rows)
    class_rows = dict(_rows(root / "classes.txt", "class_id class_name", int, str))
    position = {identity: label for label, identity in enumerate(sorted(class_rows))}
    path = root / "image_class_labels.txt"
    identities = [row[0] for row in _column(path, "image_id class_id", ids, int)]
    for name, identity in zip(names, identities, strict=True):
        if identity not in position:
            raise UserError(f"{path} gives {name} the class {identity}, which classes.txt does not list.")
    training = [row[0] for row in _column(root / "train_test_split.txt", "image_id is_training", ids, int)]
    path = root / "bounding_boxes.txt"
    boxes = np.array(_column(path, "image_id x y width height", ids, float, float, float, float)).reshape(-1, 4)
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if wrong.any():
        raise UserError(
            f"{path} gives {names[int(wrong.argmax())]} an empty bounding box; expected `image_id x y width height`."
        )
    boxes[:, 2:] += boxes[:, :2]
    parts, part_names = _cub_parts(root, ids)
    return Listing(
        folder=root / "images",
        names=names,
        labels=np.array([position[i] for i in identities], dtype=np.int64),
        test=np.array(training) == 0,
        classes=tuple(class_rows[i] for i in sorted(class_rows)),
        boxes=boxes,
        parts=parts,
        part_names=part_names,
        crop=True,
    )


def load_mat(path: Path, key: str) -> np.ndarray:
    """Variable `key` of a MATLAB file, as a 1-d array.

    Raises:
        UserError: The file is missing, damaged, or has no such variable.
    """
    if not path.is_file():
        raise UserError(
            f"File {path} is missing; see how to assemble it with `python -m p2p.data.download cars --root DIR`."
        )
    try:
        content = loadmat(str(path), squeeze_me=True)
    except Exception as error:  # scipy raises a dozen kinds on damaged files
        raise UserError(
            f"File {path} is truncated or no MATLAB file ({type(error).__name__}); copy it again."
        ) from error
    if key not in content:
        raise UserError(f"File {path} has no variable `{key}`; copy the official file again.")
    return np.atleast_1d(content[key])


def read_cars(root: Path, crop: bool = False) -> Listing:
    """Stanford Cars in torchvision's layout; not cropped by default, as in the published preparation.

    Raises:
        UserError: A MATLAB file is missing or damaged, or does not match the images beside it.
    """
    classes = tuple(str(name) for name in load_mat(root / CARS_META, "class_names"))
    names: list[str] = []
    labels: list[int] = []
    boxes: list[list[float]] = []
    for split, file in CARS_FILES.items():
        rows = load_mat(root / file, "annotations")
        fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        absent = set(fields) - set(rows.dtype.names or ())
        if absent:
            raise UserError(
                f"File {root / file} has no field `{min(absent)}`; the file with the class labels is needed."
            )
        images = image_files(root / f"cars_{split}")
        if len(images) != len(rows):
            raise UserError(
                f"File {root / file} has {len(rows)} annotations but cars_{split}/ has {len(images)} images; "
                "copy the missing ones, or take both from one release."
            )
        for row in rows:
            x0, y0, x1, y1, label = (int(row[field]) for field in fields[:5])
            if not 1 <= label <= len(classes):
                raise UserError(f"{root / file} gives {row['fname']} the class {label}; expected 1 to {len(classes)}.")
            names.append(f"cars_{split}/{row['fname']}")
            labels.append(label - 1)
            boxes.append([x0 - 1, y0 - 1, x1, y1])  # MATLAB counts from 1 and includes both ends
    test = np.array([name.startswith("cars_test/") for name in names])
    return Listing(root, tuple(names), np.array(labels), test, classes, np.array(boxes, dtype=float), crop=crop)


class Reader(NamedTuple):
    """How a data set is read: a row of `READERS`."""

    read: Callable[[Path, int], Listing]  # of its folder and `data_seed`, for readers that cut a test split
    folder: str  # its name below P2P_DATA; empty: P2P_DATA itself
    advice: str  # what to do where the folder is not there

    @property
    def own(self) -> bool:
        """Whether the images are the user's own: no release, which has a name and is checked by `make data`."""
        return not self.folder


READERS = {
    "cub": Reader(
        lambda root, seed: read_cub(root),
        "CUB_200_2011",
        "download it with `python -m p2p.data.download cub --root DIR`",
    ),
    "cars": Reader(
        lambda root, seed: read_cars(root),
        "stanford_cars",
        "see how to assemble it with `python -m p2p.data.download cars --root DIR`",
    ),
    "folder": Reader(read_folder, "", "name a tree of class folders"),
}


def find_root(root: str | Path | None, reader: str) -> Path:
    """Folder of a data set: `root`, else P2P_DATA of the environment; for CUB and Cars their parent will do.

    Raises:
        UserError: Neither is set, the folder does not exist, or the reader is unknown.
    """
    known = pick({**READERS, "birds": None}, reader, "reader")
    if known is None:
        raise ValueError("drawn birds have no folder")
    given = root or os.environ.get("P2P_DATA")
    if not given:
        raise UserError(
            f"Reader '{reader}' has no data folder: set `root`, or P2P_DATA in the environment, or {known.advice}."
        )
    folder = Path(given).expanduser()
    if not os.path.isdir(folder):  # unlike Path's, no error where the name is too long for one
        source = "`root`" if root else "P2P_DATA"
        what = "is a file (unpack it, if it is an archive)" if os.path.isfile(folder) else "does not exist or is none"
        raise UserError(f"Data folder {folder} {what}: correct {source}, or {known.advice}.")
    return folder / known.folder if known.folder and (folder / known.folder).is_dir() else folder
