"""Decoding photographs in threads, with a cache of the decoded images on disk.

Images are resized to a square with Pillow's BILINEAR filter (antialiased; what torchvision's `Resize`, and so
the published preparation, applies). Cutting comes first, so nothing outside the box bleeds into the frame.
What eight bits a colour cannot carry is scaled or laid on white, and noted; every image that fails is named at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from torch import Tensor

from p2p.data.listing import Listing, contents, formats, some
from p2p.errors import UserError, reason
from p2p.files import atomic_path, cache_folder

# Pillow warns of what it reads all the same, such as images of 89 to 179 megapixels and damaged EXIF data.
warnings.filterwarnings("ignore", module=r"PIL\.")

CROP_VERSION = 2  # raise it when cropping, resizing or colours change, so that old caches are not read
CHUNK = 256  # images decoded between two writes
NOTES = {  # bits of an image's note, and what they say
    1: "Images of more than 8 bits, each scaled from its own darkest to its own brightest value",
    2: "Images of several frames or pages, of which the first is taken",
    4: "Images of one single colour",
}


class Decoded(NamedTuple):
    """Images as the networks get them, and what was noticed; the pixels are mapped from the cache copy-on-write.

    Attributes:
        pixels: (N, 3, size, size) uint8.
        windows: (N, 4) float64 x0, y0, x1, y1: the part of each source image that fills its frame, in source pixels.
        notes: (N,) uint8, bits of `NOTES`.
        prints: (N,) uint64 fingerprints of the pixels: the same for the same image.
    """

    pixels: Tensor
    windows: np.ndarray
    notes: np.ndarray
    prints: np.ndarray

    def remarks(self, names: Sequence[str]) -> list[str]:
        """A sentence for each kind of note."""
        noted = {text: [names[i] for i in np.flatnonzero(self.notes & bit).tolist()] for bit, text in NOTES.items()}
        return [f"{text}: {len(found)}; {some(found)}." for text, found in noted.items() if found]


def decode(listing: Listing, size: int, reader: str) -> Decoded:
    """Decode a listing in threads, or read it from the cache.

    The cache is one .npy file per listing and size, named after a hash of everything the pixels depend on:
    names, the files' contents, boxes, reader, frame size and crop version; behind the pixels it holds what
    else a `Decoded` has.

    Raises:
        UserError: Images are missing, damaged or do not fit their boxes, or the cache cannot be written.
    """
    files = list(zip(listing.names, contents(listing), strict=True))
    boxes = None if listing.boxes is None else listing.boxes.tolist()
    source = json.dumps([files, boxes, listing.crop, reader, size, CROP_VERSION])
    path = cache_folder() / f"{reader}-{size}-{hashlib.sha256(source.encode()).hexdigest()[:20]}.npy"
    shape = (len(files), 3, size, size)
    cached = _read_cache(path, shape)
    if cached is None:
        _write_cache(path, shape, listing)
        cached = _read_cache(path, shape)
    if cached is None:
        raise UserError(f"Cache file {path} was written but cannot be read back; delete it and check the disk.")
    return cached


def _stats(listing: Listing) -> list[tuple[str, int, int]]:
    """Name, bytes and time of every image."""
    files, missing = [], []
    for name in listing.names:
        try:
            found = os.stat(listing.folder / name)
            files.append((name, found.st_size, found.st_mtime_ns))
        except OSError as error:
            missing.append((name, error))
    if missing:
        name, cause = missing[0]
        count = f", as are {len(missing) - 1} more of {len(listing.names)}" if len(missing) > 1 else ""
        why = "" if isinstance(cause, FileNotFoundError) else f" ({cause.strerror})"
        # only a release has boxes; a user's own image is missing where its link leads nowhere
        cure = "restore it, or remove its link" if listing.boxes is None else "restore it from the release"
        raise UserError(f"Image {listing.folder / name} is listed but missing{why}{count}; {cure}.") from cause
    return files


def _read_cache(path: Path, shape: tuple[int, ...]) -> Decoded | None:
    """What a complete cache file holds, or None where it is absent or damaged."""
    try:
        pixels = np.load(path, mmap_mode="c")
        with path.open("rb") as file:
            file.seek(pixels.offset + pixels.nbytes)
            windows, notes, prints = (np.load(file) for _ in range(3))
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    whole = pixels.shape == shape and windows.shape == (shape[0], 4) and notes.shape == prints.shape == shape[:1]
    return Decoded(torch.from_numpy(pixels), windows, notes, prints) if whole else None


def _write_cache(path: Path, shape: tuple[int, ...], listing: Listing) -> None:
    """Decode into the cache chunk by chunk, which keeps memory small, where there is room for all of it."""
    need = int(np.prod(shape))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        lock = FileLock(Path(tempfile.gettempdir(), f"p2p-{path.stem}.lock"))
    except OSError as error:
        raise UserError(
            f"Cache folder {path.parent} cannot be used ({error.strerror}); set P2P_CACHE to another folder."
        ) from error
    if free < need:
        raise UserError(
            f"Cache folder {path.parent} has {free / 1e6:.0f} MB free but the decoded images need "
            f"{need / 1e6:.0f} MB; free space, or set P2P_CACHE to a folder on another disk."
        )
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with lock:  # several runs of a study may start at once: one decodes, the others wait
        if _read_cache(path, shape) is not None:
            return
        _decode_into(path, header, listing)


def _decode_into(path: Path, header: dict[str, Any], listing: Listing) -> None:
    """Decode into a file; where images fail the others are still read, so that all are named at once."""
    shape, bad = header["shape"], []
    windows, notes, prints = np.zeros((shape[0], 4)), np.zeros(shape[0], np.uint8), np.zeros(shape[0], np.uint64)
    boxes = [None] * shape[0] if listing.boxes is None else listing.boxes.tolist()
    jobs = list(zip(listing.names, boxes, strict=True))

    def look(job: tuple[str, list[float] | None]) -> tuple[bytes, tuple[int, ...], int, bytes] | UserError:
        try:
            pixels, window, note = read_frame(listing.folder / job[0], job[1], listing.crop, shape[-1])
        except UserError as error:
            return error
        content = pixels.tobytes()
        return content, window, note, hashlib.blake2b(content, digest_size=8).digest()

    with atomic_path(path) as temporary, temporary.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], CHUNK):
            for i, found in enumerate(pool.map(look, jobs[start : start + CHUNK]), start):
                if isinstance(found, UserError):
                    bad.append((listing.names[i], found))
                elif not bad:
                    file.write(found[0])
                    windows[i], notes[i], prints[i] = found[1], found[2], int.from_bytes(found[3])
        if bad:
            raise _all_of(bad, listing)
        for array in (windows, notes, prints):
            np.save(file, array)


def _all_of(bad: list[tuple[str, UserError]], listing: Listing) -> UserError:
    """One sentence for all images that cannot be used: their number, the first names, and what is wrong with one."""
    first = str(bad[0][1])
    if len(bad) == 1:
        return UserError(first)
    names = some([name for name, _ in bad], 5)
    count = f"{len(bad)} of {len(listing.names)} images in {listing.folder} cannot be used"
    return UserError(f"{count}, {names}; {first[0].lower()}{first[1:]}")


def survey(listing: Listing) -> tuple[np.ndarray, list[str]]:
    """Read every image as `decode` does, and keep nothing but what went wrong.

    Returns:
        windows (N, 4) float64 as from `decode`, nan where an image cannot be used; a sentence for each of those.
    """

    def look(job: tuple[str, list[float] | None]) -> tuple[tuple[float, ...], str]:
        try:
            return read_frame(listing.folder / job[0], job[1], listing.crop, 1)[1], ""
        except UserError as error:
            return (np.nan,) * 4, str(error)

    boxes = [None] * len(listing.names) if listing.boxes is None else listing.boxes.tolist()
    jobs = list(zip(listing.names, boxes, strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # in chunks, so that Ctrl-C need not wait for all
        seen = [row for i in range(0, len(jobs), CHUNK) for row in pool.map(look, jobs[i : i + CHUNK])]
    return np.array([window for window, _ in seen]).reshape(-1, 4), [text for _, text in seen if text]


def read_frame(path: Path, box: list[float] | None, crop: bool, size: int) -> tuple[np.ndarray, tuple[int, ...], int]:
    """One image as (3, size, size) uint8, the window (x0, y0, x1, y1) of the source that it shows, and its note."""
    try:
        with Image.open(path, formats=formats()) as file:
            # boxes count stored pixels, so only images without boxes may be turned upright
            deep = any(re.search(";16[BLN]", str(tile[3])) for tile in getattr(file, "tile", ()))
            image, note = to_rgb(ImageOps.exif_transpose(file) if box is None else file, deep)
            if file.format not in ("MPO", "PSD") and getattr(file, "is_animated", False):  # previews, layers
                note |= 2
    except Image.DecompressionBombError as error:
        raise UserError(
            f"Image {path} has more pixels than Pillow reads ({reason(error)}); make it smaller."
        ) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds on damaged files
        why = getattr(error, "strerror", None) or _why(path, error)
        raise UserError(f"Image {path} cannot be decoded ({why}); replace it by an intact copy.") from error
    window = (0, 0, *image.size)
    if crop and box is not None:
        x0, y0, x1, y1 = (round(edge) for edge in box)
        window = (max(x0, 0), max(y0, 0), min(x1, image.width), min(y1, image.height))
        seen = max(window[2] - window[0], 0) * max(window[3] - window[1], 0)
        # an annotator's box may stick out by a few pixels, one of another release by most of its area
        if seen <= 0 or seen < 0.5 * (x1 - x0) * (y1 - y0):
            raise UserError(
                f"Bounding box ({x0}, {y0}, {x1}, {y1}) does not fit image {path} of {image.width} x "
                f"{image.height} pixels; take images and bounding_boxes.txt from one release."
            )
    frame = np.asarray(image.crop(window).resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    if (frame == frame[:, :1, :1]).all():
        note |= 4
    return frame, window, note


def _why(path: Path, error: Exception) -> str:
    """What Pillow says of a damaged file, or what it is where Pillow says it in words of its own making."""
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    if isinstance(first, struct.error | IndexError | EOFError | SyntaxError):
        return "the file is cut off or damaged"
    try:
        with path.open("rb") as file:
            start = file.read(40)
    except OSError:
        start = b""
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "the file is a pointer of Git LFS, run `git lfs pull`"
    return reason(error).replace(f" '{path}'", "")


def to_rgb(image: Image.Image, deep: bool) -> tuple[Image.Image, int]:
    """An image in eight bits a colour, and its note: deep grey scaled by its range, what is transparent on white.

    Raises:
        ValueError: Values are no numbers, or leave no contrast: 16-bit colours (`deep`) may all be nearly black.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):  # convert("RGB") would cut all above 255
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("some of its values are no finite numbers")
        low, high = values.min(), values.max()
        grey = ((values - low) * (255 / ((high - low) or 1))).round().astype(np.uint8)
        if isinstance(hidden := image.info.get("transparency"), int):
            grey[values == hidden] = 255
        some_values, some_greys = (found.reshape(-1)[:: 1 + found.size // 100_000] for found in (values, grey))
        levels = len(np.unique(some_greys))
        if levels < 16 and len(np.unique(some_values)) > 4 * levels:
            raise ValueError("a few values far from all others leave it nearly without contrast; cut them off")
        return Image.fromarray(grey).convert("RGB"), 1
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if deep and int(np.asarray(image).max()) < 16:  # Pillow keeps the upper eight bits
        raise ValueError("its 16-bit colours use less than a sixteenth of their range; scale them up")
    return image, 0
