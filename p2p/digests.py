"""Knowing files again by their contents: copied, moved or touched they are the same, overwritten they are not."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from p2p.errors import UserError
from p2p.files import cache_folder, find_weights, write_atomic

SETTLED = 2e9  # nanoseconds: what was written since may be written again within one tick of the disk's clock
MANY = 2 * 2**30  # bytes that take long enough to say so


def sha256(path: Path | str) -> str:
    """Of a file's contents, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path, names: Sequence[str]) -> list[str]:
    """SHA-256 of files; one that has the size and the times of an earlier call is not read again.

    What is known lies in the cache (`p2p.files.cache_folder`) and may be deleted: times only tell whether to read, the
    digest is one of contents.

    Args:
        folder: That `names` are relative to.
        names: Paths with forward slashes.

    Raises:
        OSError: A file is missing or cannot be read.
    """
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:20]
    memo = cache_folder() / "contents" / f"{place}.json"
    try:
        known = {name: tuple(row) for name, row in json.loads(memo.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):  # absent or damaged
        known = {}
    stats = {name: os.stat(folder / name) for name in names}
    marks = {name: (s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats.items()}
    unread = [name for name, mark in marks.items() if known.get(name, ())[:3] != mark]
    if sum(stats[name].st_size for name in unread) > MANY:
        print(f"Reading {len(unread):,} files in {folder}, to know them again next time …", file=sys.stderr)
    now = time.time_ns()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = dict(zip(unread, pool.map(lambda name: sha256(folder / name), unread), strict=True))
    settled = {name: (*marks[name], read[name]) for name in unread if now - max(marks[name][1:]) > SETTLED}
    if settled:
        with suppress(UserError):  # a full disk: they are read again next time
            write_atomic(memo, json.dumps(known | settled))
    return [read[name] if name in read else str(known[name][3]) for name in names]


def weights_digest(weights: str, network: str) -> str:
    """Twelve hex digits of the contents of a weights file; nothing for `none`, and for `imagenet`, which names them.

    Raises:
        UserError: No such file.
    """
    if weights in ("none", "imagenet"):
        return ""
    path = find_weights(weights, network)
    return digests(path.parent, [path.name])[0][:12]
