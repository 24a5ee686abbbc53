"""The reader of a user's own images: a folder for each class.

It passes over what is no image and what the system left behind, and says so; what would mislead in silence it refuses.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from p2p.data.listing import Listing, seeded_cut, some, suffixes
from p2p.errors import UserError

TEST_FRACTION = 0.25  # of each class, where a folder tree has no test folder of its own
# Folders and files that systems leave between images: macOS, Synology, QNAP, Windows, Linux, Python.
LEFT_BEHIND = frozenset({"__MACOSX", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information"})
LEFT_BEHIND |= {"lost+found", "__pycache__", "Thumbs.db", "desktop.ini"}
# What other people call train/ and test/: a hint, for a class may have such a name.
SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})
TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})  # they reorder the text around


class Entries(NamedTuple):
    """The names in one folder, sorted."""

    folders: list[str]
    images: list[str]
    others: list[str]  # files that are no images
    ignored: list[str]  # folders


class Tree:
    """Folders below `root`, read when asked for and kept; a place is "" or a path that ends in a slash."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: dict[str, Entries] = {}

    def look(self, place: str) -> Entries:
        """What is in a folder.

        Raises:
            UserError: It cannot be read, or a name in it cannot be used.
        """
        if place not in self.seen:
            self.seen[place] = self._read(place)
        return self.seen[place]

    def _read(self, place: str) -> Entries:
        try:
            entries = sorted(os.scandir(self.root / place), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(
                f"Folder {self.root / place} cannot be read ({error.strerror}); make it readable."
            ) from error
        found = Entries([], [], [], [])
        for entry in entries:
            name, folder = entry.name, _true(entry.is_dir)
            if name[0] == "." or name in LEFT_BEHIND:
                if folder:
                    found.ignored.append(name)
            elif folder:
                found.folders.append(name)
            elif Path(name).suffix.lower() in suffixes() and (_true(entry.is_file) or _leads_nowhere(entry)):
                found.images.append(name)
            else:
                found.others.append(name)
        _refuse_names([*found.folders, *found.images], f" in folder {self.root / place}")
        return found

    def nested(self, place: str) -> dict[str, int]:
        """Sub-folders of a place that have images in or below them, and how many; links are not followed."""
        counts = {}
        for name in self.look(place).folders:
            below = os.walk(self.root / place / name)
            counts[f"{place}{name}"] = sum(Path(f).suffix.lower() in suffixes() for *_, files in below for f in files)
        return {name: count for name, count in counts.items() if count}

    def remarks(self, read: list[str]) -> tuple[str, ...]:
        """A sentence for each kind of thing passed over; `read` are the places whose images are taken."""
        outside = [place for place in self.seen if place not in set(read)]
        inside = {*read, *self.seen}
        others = [f"{place}{name}" for place, found in self.seen.items() for name in found.others]
        kinds = Counter(Path(name).suffix.lower() or "no ending" for name in others).most_common()
        said = {
            f"Files left out, as no images of a known format ({some([f'{n} {kind}' for kind, n in kinds], 5)})": others,
            "Images left out, as they lie outside the class folders": [
                f"{place}{name}" for place in outside for name in self.seen[place].images
            ],
            "Sub-folders of class folders with images that are left out": [
                f"{name} ({count})" for place in read for name, count in self.nested(place).items()
            ],
            "Folders that are not read, beside train/ and test/": [
                f"{place}{name}"
                for place in outside
                for name in self.seen[place].folders
                if f"{place}{name}/" not in inside
            ],
            "Folders ignored, as hidden or left behind by a system": [
                f"{place}{name}" for place, found in self.seen.items() for name in found.ignored
            ],
        }
        return tuple(f"{text}: {len(names)}; {some(names)}." for text, names in said.items() if names)


def _refuse_names(names: list[str], where: str) -> None:
    """Names go into hashes, tables and messages of one line; Python shows what is not UTF-8 as surrogates (Cs)."""
    bad = [name for name in names if any(map(_breaks, name))]
    if bad:
        foreign = any(unicodedata.category(c) == "Cs" for c in bad[0])
        what = "is not UTF-8" if foreign else "has a line break or another control character in it"
        others = f", and so with {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(f"Name {bad[0]!r}{where} {what}{others}; rename it.")


def _breaks(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cs", "Cc", "Zl", "Zp") or unicodedata.bidirectional(letter) in TURNING


def _true(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except OSError:  # a link in a circle
        return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """A broken link is a missing image; a link to a pipe or a device is none."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def read_folder(root: Path, seed: int = 0, leave_out: frozenset[str] = frozenset()) -> Listing:
    """Any tree root/{train,test}/<class>/<image>, or root/<class>/<image> with a seeded quarter as test.

    Args:
        root: The folder.
        seed: Of the cut.
        leave_out: Images that are passed over, as paths in it.

    Raises:
        UserError: There are no two class folders, or train/ and test/ have different ones, or one has no image or too
            few; or a folder or name cannot be read.
    """
    tree = Tree(root)
    _refuse_names([str(root)], "")
    classes, prefixes = _classes(tree)
    names: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for prefix in prefixes:
        for label, name in enumerate(classes):
            files = [f for f in tree.look(f"{prefix}{name}/").images if f"{prefix}{name}/{f}" not in leave_out]
            names += [f"{prefix}{name}/{file}" for file in files]
            labels += [label] * len(files)
            empty += [] if files else [f"{prefix}{name}/"]
    if empty:
        raise UserError(_no_image(tree, empty))
    array = np.array(labels, dtype=np.int64)
    if len(prefixes) == 2:
        test = np.array([name.startswith("test/") for name in names])
    else:
        _refuse_small(root, classes, array)
        test = seeded_cut(names, array, classes, TEST_FRACTION, seed, "test")
    remarks = tree.remarks([f"{prefix}{name}/" for prefix in prefixes for name in classes])
    remarks += tuple(
        f"Class folders whose names differ only in capital letters, blanks or underscores: {', '.join(same)}; look "
        "whether they are one class."
        for same in _alike(classes, lambda name: " ".join(name.replace("_", " ").casefold().split()))
    )
    return Listing(root, tuple(names), array, test, tuple(classes), remarks=remarks)


def _classes(tree: Tree) -> tuple[list[str], list[str]]:
    """The class folders, and the places they lie in: train/ and test/, or the root."""
    root, top = tree.root, tree.look("").folders
    inner = tree.look("train/").folders if "train" in top else []  # none: train/ is a class of that name
    if inner and "test" not in top:
        raise UserError(
            f"{root} has train/ but no test/; add test/ with the same class folders, or name {root / 'train'} as the "
            "data folder, of which a quarter then is for the test."
        )
    if "train" in top and "test" in top and not inner:
        raise UserError(
            f"{root / 'train'} has no class folders, and train/ beside test/ means the split; put a folder for each "
            "class into both, or rename the two if they are classes."
        )
    classes, prefixes = (inner, ["train/", "test/"]) if inner else (top, [""])
    if inner and (other := sorted(set(classes) ^ set(tree.look("test/").folders))):
        where = "train/" if other[0] in classes else "test/"
        written = "; some names differ only in how their letters are written (Unicode NFC and NFD), so rename one"
        raise UserError(
            f"Class folders that are in only one of train/ and test/ in {root}: {len(other)}, the first is {other[0]} "
            f"in {where}; both need the same, so add its images or remove it{written if _alike(other, _nfc) else ''}."
        )
    if same := _alike(classes, _nfc):
        both = " and ".join(map(ascii, same[0]))
        raise UserError(
            f"Class folders {both} in {root / prefixes[0]} have the same name, {_nfc(same[0][0])}, in letters that "
            "are written differently (Unicode NFC and NFD); put their images into one folder."
        )
    if not classes:
        here = tree.look("")
        instead = [f"{len(here.images)} images right in it"] if here.images else []
        instead += [f"hidden ones ({some(here.ignored)}), which are not read"] if here.ignored else []
        but = f" but {' and '.join(instead)}" if instead else ""
        raise UserError(
            f"{root} has no class folders{but}; expected train/<class>/ and test/<class>/ in it, or <class>/."
        )
    if len(classes) == 1:
        raise UserError(
            f"{root / prefixes[0]} has one class folder, {classes[0]}, but there is nothing to tell apart without a "
            "second; add one, or name the folder that holds the class folders."
        )
    return classes, prefixes


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _alike(names: list[str], form: Callable[[str], str]) -> list[list[str]]:
    """Groups of names that are the same in a form."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(form(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _no_image(tree: Tree, empty: list[str]) -> str:
    """What to say of class folders without images, with what is in the first instead."""
    nested, others = tree.nested(empty[0]), tree.look(empty[0]).others
    top = tree.look("").folders
    if nested and (meant := [name for name in top if name.lower() in SPLIT_NAMES]) and "train" not in top:
        return (
            f"{tree.root} has the folders {', '.join(meant)}, which are read as classes; a split is read from folders "
            "called train and test, in small letters, so rename them."
        )
    if nested:
        inside = f"{sum(nested.values())} images lie in its sub-folders, where they are not looked for"
    else:
        inside = f"it holds {some(others)}" if others else "it is empty"
    more = f", nor {'has one other' if len(empty) == 2 else f'have {len(empty) - 1} others'}" if len(empty) > 1 else ""
    return (
        f"Class folder {tree.root / empty[0]} has no image that can be read{more}; {inside}, so put images right into "
        "it, as .jpg or .png for instance, or remove it."
    )


def _refuse_small(root: Path, classes: list[str], labels: np.ndarray) -> None:
    """Three images, and the test, the training and the validation have one each."""
    small = [(name, size) for name, size in zip(classes, np.bincount(labels).tolist(), strict=True) if size < 3]
    if small:
        rest = "one other class has" if len(small) == 2 else f"{len(small) - 1} other classes have"
        more = f", and {rest} too few" if len(small) > 1 else ""
        raise UserError(
            f"Class {small[0][0]} in {root} has {small[0][1]} image{'s' * (small[0][1] > 1)}{more}; give each at least "
            "three, one to train, one to validate and one to test, or remove it."
        )
