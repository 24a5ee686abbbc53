"""Decoding photographs in threads, with a cache of the decoded images on disk.

Images are resized to a square with Pillow's BILINEAR filter (antialiased; what torchvision's `Resize`, and so
the published preparation, applies). Cutting comes first, so nothing outside the box bleeds into the frame.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from torch import Tensor

from p2p.data.listing import Listing, contents
from p2p.errors import UserError
from p2p.files import atomic_path, cache_folder

CROP_VERSION = 1  # raise it when cropping or resizing changes, so that old caches are not read
CHUNK = 256  # images decoded between two writes


def decode(listing: Listing, size: int, reader: str) -> tuple[Tensor, np.ndarray]:
    """Decode a listing in threads, or read it from the cache.

    The cache is one .npy file per listing and size, named after a hash of everything the pixels depend on:
    names, the files' contents, boxes, reader, frame size and crop version; behind the pixels it holds the windows.

    Returns:
        pixels (N, 3, size, size) uint8, mapped from the cache copy-on-write; windows (N, 4) float64 x0, y0,
        x1, y1: the part of each source image that fills its frame, in source pixels.

    Raises:
        UserError: An image is missing, damaged or does not fit its box, or the cache cannot be written.
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
    return torch.from_numpy(cached[0]), cached[1]


def _read_cache(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """Pixels and windows of a complete cache file, or None where it is absent or damaged."""
    try:
        pixels = np.load(path, mmap_mode="c")
        with path.open("rb") as file:
            file.seek(pixels.offset + pixels.nbytes)
            windows = np.load(file)
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    return (pixels, windows) if pixels.shape == shape and windows.shape == (shape[0], 4) else None


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
    boxes = [None] * shape[0] if listing.boxes is None else listing.boxes.tolist()
    jobs = list(zip((listing.folder / name for name in listing.names), boxes, strict=True))
    windows = np.zeros((shape[0], 4))
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with lock:  # several runs of a study may start at once: one decodes, the others wait
        if _read_cache(path, shape) is not None:
            return
        _decode_into(path, header, jobs, windows, listing.crop)


def _decode_into(path: Path, header: dict[str, Any], jobs: list[Any], windows: np.ndarray, crop: bool) -> None:
    shape, threads = header["shape"], ThreadPoolExecutor(os.cpu_count())
    with atomic_path(path) as temporary, temporary.open("wb") as file, threads as pool:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], CHUNK):
            chunk = jobs[start : start + CHUNK]
            frames = pool.map(lambda job: _frame(job[0], job[1], crop, shape[-1]), chunk)
            for i, (pixels, window) in enumerate(frames, start):
                file.write(pixels.tobytes())
                windows[i] = window
        np.save(file, windows)


def survey(listing: Listing) -> tuple[np.ndarray, list[str]]:
    """Read every image as `decode` does, and keep nothing but what went wrong.

    Returns:
        windows (N, 4) float64 as from `decode`, nan where an image cannot be used; a sentence for each of those.
    """

    def look(job: tuple[str, list[float] | None]) -> tuple[tuple[float, ...], str]:
        try:
            return _frame(listing.folder / job[0], job[1], listing.crop, 1)[1], ""
        except UserError as error:
            return (np.nan,) * 4, str(error)

    boxes = [None] * len(listing.names) if listing.boxes is None else listing.boxes.tolist()
    jobs = list(zip(listing.names, boxes, strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # in chunks, so that Ctrl-C need not wait for all
        seen = [row for i in range(0, len(jobs), CHUNK) for row in pool.map(look, jobs[i : i + CHUNK])]
    return np.array([window for window, _ in seen]).reshape(-1, 4), [text for _, text in seen if text]


def _frame(path: Path, box: list[float] | None, crop: bool, size: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """One image as (3, size, size) uint8, and the window (x0, y0, x1, y1) of the source that it shows."""
    try:
        with Image.open(path) as file:
            # boxes count stored pixels, so only images without boxes may be turned upright
            image = (ImageOps.exif_transpose(file) if box is None else file).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"Image {path} cannot be decoded ({error}); replace it by an intact copy.") from error
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
    frame = image.crop(window).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(frame).transpose(2, 0, 1), window
