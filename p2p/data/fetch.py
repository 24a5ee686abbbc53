"""Downloading a file that may take hours, and unpacking an archive that nobody has vouched for."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import socket
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from urllib.parse import urlsplit

from p2p.errors import UserError

BLOCK = 1 << 20  # bytes read at once


def _digest(path: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)  # of the photographs the publisher gives an MD5
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _expected(response: http.client.HTTPResponse, start: int) -> int | None:
    """Size of the whole file as a response tells it, or None."""
    total = (response.headers.get("Content-Range") or "").rpartition("/")[2]
    if total.isdigit():
        return int(total)
    length = response.headers.get("Content-Length")
    return start + int(length) if length and length.isdigit() else None


def _receive(url: str, part: Path, timeout: float) -> bool:
    """Append what a server still has to send to `part`; True when it holds all of it."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "proto2proto", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if (error.headers.get("Content-Range") or "") == f"bytes */{start}":
            return True  # nothing is left to send
        part.unlink()  # longer than the file on the server: begin again
        return False
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server sends the file from its beginning
        total = _expected(response, start)
        have, told = start, time.monotonic()
        with part.open("ab" if start else "wb") as file:
            while block := response.read(BLOCK):
                try:
                    file.write(block)
                except OSError as error:
                    raise UserError(
                        f"Cannot write {part} ({error.strerror}); free space, then repeat to resume."
                    ) from error
                have += len(block)
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    share = f" ({have / total:.0%})" if total else ""
                    print(f"{part.name}: {have / 1e6:.0f} MB{share}", file=sys.stderr)
    return total is None or have >= total


def fetch(
    url: str,
    path: Path,
    digest: str,
    attempts: int = 5,
    pause: float = 2.0,
    timeout: float = 60.0,
    kind: str = "md5",
) -> Path:
    """Download a file, resuming `path`.part where an earlier or a cut connection left it.

    Args:
        url: http or https address.
        path: Where the file goes once its checksum is right; an existing file is only checked.
        digest: Its checksum in hexadecimal.
        attempts: Failures in a row without a new byte before it gives up.
        pause: Seconds before another attempt, doubled after each.
        timeout: Seconds to wait for the server's next bytes.
        kind: Of checksum, as hashlib calls it.

    Returns:
        `path`.

    Raises:
        UserError: The server cannot be reached or refuses, the disk is full, or the checksum is wrong (the
            damaged download is then removed).
    """
    name = kind.upper()
    if path.exists():
        if _digest(path, kind) != digest:
            raise UserError(f"File {path} does not have the {name} {digest}; remove it and repeat the command.")
        return path
    host = urlsplit(url).hostname
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise UserError(f"Address {url!r} cannot be downloaded; give one that starts with https:// or http://.")
    part = path.with_name(path.name + ".part")
    failures, complete = 0, False
    while not complete:
        before = part.stat().st_size if part.exists() else 0
        reason, offline = "the connection was cut", False
        try:
            complete = _receive(url, part, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code != 429:
                raise UserError(
                    f"Server {host} answered {error.code} {error.reason} for {url}; try another by --url."
                ) from error
            reason = f"HTTP {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error) or type(error).__name__)
            offline = isinstance(getattr(error, "reason", None), socket.gaierror)
        grown = part.exists() and part.stat().st_size > before
        failures = 0 if grown else failures + 1
        if offline and not part.exists():
            failures = attempts  # no network, most likely: say so at once
        if not complete and failures >= attempts:
            raise UserError(
                f"Cannot download {url} ({reason}); repeat the command when {host} can be reached, "
                f"which resumes it, or put the file at {path} yourself."
            )
        if not complete:
            wait = pause * 2 ** max(failures - 1, 0)
            print(f"{part.name}: {reason}; trying {host} again in {wait:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait)
    found = _digest(part, kind)
    if found != digest:
        part.unlink()
        raise UserError(f"{url} gave a file of {name} {found}, expected {digest}; it was removed, repeat the command.")
    os.replace(part, path)
    return path


def extract(archive: Path, root: Path, folder: str) -> Path:
    """Unpack the folder `folder` of a .tgz archive to `root / folder`, all or nothing.

    Raises:
        UserError: The archive is damaged, lacks the folder or has a path outside its target, or the disk is
            full.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as temporary:
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
                file.extractall(temporary, filter="data")
                while stream.read(BLOCK):  # to its end, where the checksum is
                    pass
        except tarfile.FilterError as error:
            raise UserError(f"Archive {archive} holds an unsafe path ({error}); nothing was unpacked.") from error
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"Archive {archive} is truncated or damaged ({error}); remove it and repeat.") from error
        except OSError as error:
            raise UserError(
                f"Cannot unpack {archive} to {root} ({error.strerror or error}); check disk and archive."
            ) from error
        if not (Path(temporary) / folder).is_dir():
            raise UserError(f"Archive {archive} holds no folder {folder}; download the official one.")
        os.replace(Path(temporary) / folder, root / folder)
    return root / folder
