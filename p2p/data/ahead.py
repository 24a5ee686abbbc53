"""A look at a stranger's folder before it is read: what would be refused in words that help less, or left out unsaid.

A mistake that the reader (p2p/data/folders.py) names well is left to it.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from p2p.data.folders import LEFT_BEHIND, Tree
from p2p.data.listing import some, suffixes
from p2p.errors import UserError
from p2p.study.remedy import allow

# Photographs and drawings that Pillow does not open by itself, by their endings; the first are what telephones write.
HEIC = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})
RAW = frozenset({".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".jxl", ".xcf"})
DRAWN = frozenset({".svg", ".pdf", ".eps", ".ps", ".ai", ".wmf", ".emf"})
BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
OTHERS = HEIC | RAW | DRAWN
TRAIN = ("train", "training")  # what others call the two, best first
TEST = ("test", "testing", "val", "valid", "validation", "dev")
CONVERT = "convert {} to JPEG, as telephones and picture viewers do on export"


def unread(path: Path) -> str:
    """The name of a picture's format where it is one that is not read, "HEIC" or "CR2"; empty where it may be read.

    Args:
        path: Of a file. That it is HEIC its first bytes say, too: telephones' files are often called .jpg.
    """
    ending = path.suffix.lower()
    if ending in OTHERS - suffixes():
        return "HEIC" if ending in HEIC else ending[1:].upper()
    if suffixes() >= HEIC or not path.is_file():  # a pipe would wait for who writes into it
        return ""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return ""
    return "HEIC" if start[4:8] == b"ftyp" and start[8:] in BRANDS else ""


def endings(names: list[str]) -> str:
    """How many files there are of each ending, the most frequent first: "12 .heic, 1 .txt"."""
    counts = Counter(Path(name).suffix.lower() or "without ending" for name in names).most_common()
    return some([f"{count} {ending}" for ending, count in counts], 5)


def look_ahead(root: Path) -> None:
    """Refuse a folder of images for what only a look at all of it explains.

    Args:
        root: The folder, with a folder for each class, or with train/ and test/.

    Raises:
        UserError: The system forbids to read some of it, a split has other names than train and test, or no image lies
            where it would be read.
    """
    _refuse_closed(root)
    tree = Tree(root)
    top = tree.look("").folders
    _refuse_split(tree, top)
    split = {"train", "test"} <= set(top) and tree.look("train/").folders
    prefixes = ["train/", "test/"] if split else [""]
    if split:
        _refuse_case(tree)
    _refuse_unread(tree, [f"{prefix}{name}/" for prefix in prefixes for name in tree.look(prefix).folders])


def _refuse_closed(root: Path) -> None:
    """Files and folders of mode 000, or of somebody else."""
    closed = list[Path]()
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"{root} is a folder that you may not read; {allow('R', root)}.")
    for place, folders, files in os.walk(root):  # what it cannot enter it passes over
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in LEFT_BEHIND)
        closed += [Path(place, name) for name in folders if not os.access(Path(place, name), os.R_OK | os.X_OK)]
        for name in sorted(name for name in files if Path(name).suffix.lower() in suffixes() and name[0] != "."):
            path = Path(place, name)
            closed += [path] if path.is_file() and not os.access(path, os.R_OK) else []
    if closed:
        what = "is a file or folder that" if len(closed) == 1 else f"are {len(closed)} files or folders that"
        raise UserError(
            f"In {root} {what} you may not read ({some([str(path.relative_to(root)) for path in closed])}); "
            f"{allow('R', root)}, or take {'it' if len(closed) == 1 else 'them'} out."
        )


def _refuse_split(tree: Tree, top: list[str]) -> None:
    """A split under other names: it would be read as classes, or as half of a split."""
    if {"train", "test"} <= set(top):
        return
    looks = {name: tree.look(f"{name}/") for name in top if name.casefold() in TRAIN + TEST}
    holds = {name.casefold(): name for name, found in looks.items() if found.folders and not found.images}
    train, test = (next((holds[name] for name in names if name in holds), "") for names in (TRAIN, TEST))
    if train and test:
        renamed = [f"{old} to {new}" for old, new in ((train, "train"), (test, "test")) if old != new]
        raise UserError(
            f"{tree.root} has {train}/ beside {test}/, and a split is read from folders called train and test, in "
            f"small letters; rename {' and '.join(renamed)}."
        )


def _refuse_case(tree: Tree) -> None:
    """Classes that train/ and test/ call alike but for capital letters."""
    train, test = (set(tree.look(prefix).folders) for prefix in ("train/", "test/"))
    others = {name.casefold(): name for name in test - train}
    pairs = [(name, others[name.casefold()]) for name in sorted(train - test) if name.casefold() in others]
    if pairs:
        more = f", and so with {len(pairs) - 1} more" if pairs[1:] else ""
        raise UserError(
            f"Class {pairs[0][0]} of train/ in {tree.root} is called {pairs[0][1]} in test/{more}; give both the same "
            "name, capital letters included."
        )


def _refuse_unread(tree: Tree, classes: list[str]) -> None:
    """Classes without an image that is read, where their pictures are of another format or lie deeper."""
    root = tree.root
    images, foreign = dict[Path, int](), dict[Path, list[str]]()
    for walked, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in LEFT_BEHIND)
        here = [name for name in files if name[0] != "."]
        if count := sum(Path(name).suffix.lower() in suffixes() for name in here):
            images[Path(walked)] = count
        elif names := [name for name in here if Path(name).suffix.lower() in OTHERS - suffixes()]:
            foreign[Path(walked)] = names
    unread_classes = {root / place: foreign[root / place] for place in classes if root / place in foreign}
    inside = any(tree.look(place).images for place in classes)
    if foreign and (unread_classes if inside else not images):
        shown = unread_classes or foreign
        place, names = next(iter(shown.items()))
        more = f", and so it is with {len(shown) - 1} more" if len(shown) > 1 else ""
        kinds = {Path(name).suffix.lower() for name in names}
        raise UserError(
            f"Folder {place} has no image that is read but {endings(names)}{more}: "
            f"{'these formats are' if len(kinds) > 1 else 'this format is'} not read; "
            f"{CONVERT.format('the photographs')}{'' if classes else ', into a folder for each class'}."
        )
    deeper = {place: count for place, count in images.items() if place != root}
    if deeper and not inside and "train" not in tree.look("").folders:
        where = _meant(deeper)
        cure = f"name {where}" if where else "move them up, or name a folder whose folders are the classes"
        place, count = next(iter(deeper.items()))
        raise UserError(
            f"None of the folders in {root} has images right in it, as class folders have; {sum(deeper.values())} "
            f"images lie deeper, such as {count} in {place}: {cure}."
        )


def _meant(images: dict[Path, int]) -> Path | None:
    """The one folder that holds all folders of images, or the split whose two halves do; None: there are several."""
    parents = {place.parent for place in images}
    if len(parents) == 1 and len(images) > 1:
        return next(iter(parents))
    split = {place.parent for place in parents}
    return next(iter(split)) if {place.name for place in parents} == {"train", "test"} and len(split) == 1 else None
