"""The look at every file of a user's own images, kept, and as it is shown: what is odd, in words that fit."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from p2p.data.ahead import CONVERT, unread
from p2p.data.checkup import CLASHES, KINDS, LEAKED, TWICE, Checkup, Row, check_up, unreadable
from p2p.data.folders import Tree, read_folder
from p2p.data.listing import contents, some
from p2p.data.readers import find_root
from p2p.errors import UserError
from p2p.files import cache_folder, read_json, write_atomic
from p2p.study.pages import escape
from p2p.study.params import DataParams

BY_NAME = "no image by its name"
UNREAD = "of a format that is not read"
SPECIAL = "pipe, socket or device"
# What is counted differs: of images that are there twice the further ones, of a clash all that have the same pixels.
COUNTED = {
    TWICE: "copy of another training image",
    LEAKED: "test image that is a training image, too",
    CLASHES: "same picture under several classes, each file counted",
}


def checked(params: DataParams) -> Checkup:
    """`check_up` with the rows as they are shown; what is known of the same files is kept in P2P_CACHE.

    Args:
        params: root, size, data_seed, skip_bad, allow_duplicates; reader `folder`.

    Raises:
        UserError: As `check_up`, or a file is missing, or the cache cannot be written.
    """
    root = find_root(params.root, "folder")
    listing = read_folder(root, params.data_seed)
    tree = Tree(root)
    places = sorted({name[: i + 1] for name in listing.names for i, letter in enumerate(name) if letter == "/"} | {""})
    others = [f"{place}{name}" for place in places for name in tree.look(place).others]
    words = [*KINDS.values(), *COUNTED.values(), CONVERT]  # in others the same rows are to be made anew
    keys = [params.size, params.data_seed, params.skip_bad, params.allow_duplicates, words]
    known = json.dumps([keys, str(root), listing.names, contents(listing), listing.remarks, others])
    path = cache_folder() / f"checkup-{hashlib.sha256(known.encode()).hexdigest()[:20]}.json"
    if path.is_file():
        kept = read_json(path, "delete it")
        rows = tuple(Row(*row) for row in kept.pop("rows"))
        leaked, remarks = tuple((a, b) for a, b in kept.pop("leaked")), tuple(kept.pop("remarks"))
        return Checkup(rows=rows, leaked=leaked, remarks=remarks, **kept)
    found = _reworded(check_up(params), root, others)
    write_atomic(path, json.dumps(asdict(found)))
    return found


def _reworded(found: Checkup, root: Path, others: list[str]) -> Checkup:
    """Files left out told apart, counts that say what they count, and of what cannot be used the remedy."""
    rows = []
    for row in found.rows:
        if row.what == BY_NAME:
            rows += _left_out(root, others)
        else:
            rows.append(row._replace(what=COUNTED.get(row.what, row.what)))
    foreign = {name: unread(root / name) for name in found.bad}
    bad = {
        name: f"is {foreign[name]} in spite of its name ({CONVERT.format('it')})" if foreign[name] else why
        for name, why in found.bad.items()
    }
    return replace(found, rows=tuple(rows), bad=bad)


def _left_out(root: Path, names: list[str]) -> list[Row]:
    """The rows of files that no reader looks at."""
    kinds: dict[str, list[str]] = {UNREAD: [], SPECIAL: [], BY_NAME: []}
    for name in names:
        special = (root / name).exists() and not (root / name).is_file()
        kinds[SPECIAL if special else UNREAD if unread(root / name) else BY_NAME].append(name)
    done = {UNREAD: f"left out; {CONVERT.format('them')}", SPECIAL: "left out", BY_NAME: "left out"}
    return [Row(kind, len(found), done[kind], some(found, 2)) for kind, found in kinds.items() if found]


def frame(found: Checkup) -> pd.DataFrame:
    """The rows for a page, as markdown: what, files, what is done, an example."""
    rows = [(row.what, f"{row.files:,}", escape(row.done), escape(row.names)) for row in found.rows]
    return pd.DataFrame(rows, columns=["what", "files", "what is done", "such as"])


@contextmanager
def skipping(params: DataParams) -> Iterator[None]:
    """Where a class is too small because `skip_bad` leaves files out, let the sentence say how many.

    Raises:
        UserError: What was raised inside.
    """
    try:
        yield
    except UserError as error:
        if not params.skip_bad or params.reader != "folder":
            raise
        try:
            listing = read_folder(find_root(params.root, "folder"), params.data_seed)
            bad = unreadable(listing)
        except UserError:  # the folder alone is refused already
            raise error from None
        if not bad or not str(error).startswith("Class "):
            raise
        label = dict(zip(listing.names, listing.labels.tolist(), strict=True))
        counts = Counter(listing.classes[label[name]] for name in bad)
        of = some([f"{count} of {name}" for name, count in counts.most_common()], 5)
        files = "one file that cannot be read" if len(bad) == 1 else f"{len(bad)} files that cannot be read"
        raise UserError(
            f"{str(error).split('; ', 1)[0].rstrip('.')}, as `skip_bad: true` leaves out {files} ({of}; such as "
            f"{next(iter(bad))}); put intact copies in their place, or remove the class."
        ) from error
