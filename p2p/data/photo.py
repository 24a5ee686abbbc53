"""One image from anywhere, as a network gets it: upright, in colour, resized to the square it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from p2p.data.ahead import CONVERT, endings, unread
from p2p.data.decode import read_frame, to_rgb
from p2p.data.listing import image_files, some
from p2p.errors import UserError, reason
from p2p.study.remedy import fitting


def read_photo(image: Path | str | Image.Image, size: int) -> Tensor:
    """Decode and resize one image as `p2p.data.decode` does a data set's; nothing is cut off, so its sides may change.

    Args:
        image: A file, or an image that Pillow has opened or made.
        size: Side S of the square, pixels.

    Returns:
        (3, S, S) uint8.

    Raises:
        UserError: There is no such file, or it is no image that can be read.
    """
    if isinstance(image, Image.Image):
        try:
            colour, _ = to_rgb(ImageOps.exif_transpose(image), False)
        except Exception as error:  # Pillow reads a file's pixels now, and its readers raise a dozen kinds
            raise UserError(f"The image cannot be read ({reason(error)}); give an intact one.") from error
        frame = np.asarray(colour.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        return torch.from_numpy(frame.copy())
    path = Path(image)
    _refuse_name(path)
    if not path.is_file():
        what = f"{path} is a pipe, a socket or a device" if path.exists() else f"There is no image {path}"
        raise UserError(f"{what}; give the path of a photograph, or of a folder of them.")
    try:
        return torch.from_numpy(read_frame(path, None, False, size)[0].copy())
    except UserError as error:
        if kind := unread(path):
            raise UserError(f"Image {path} is {kind}, a format that is not read; {CONVERT.format('it')}.") from error
        raise fitting(error) from error


def read_photos(paths: list[Path], size: int) -> list[Tensor]:
    """As `read_photo`, several.

    Raises:
        UserError: Some cannot be read; their number and the first of them.
    """
    frames, bad = [], []
    for path in paths:
        try:
            frames.append(read_photo(path, size))
        except UserError as error:
            bad.append((path.name, str(error)))
    if len(bad) == 1:
        raise UserError(bad[0][1])
    if bad:
        why = bad[0][1]
        raise UserError(
            f"{len(bad)} of {len(paths)} images cannot be used, {_printed([name for name, _ in bad], 5)}; "
            f"{why[0].lower()}{why[1:]}"
        )
    return frames


def find_photos(place: Path | str) -> tuple[list[Path], str]:
    """The image files of a folder (not of the folders in it), sorted; of a file itself alone.

    Returns:
        The files, and a sentence on the other files that lie there; empty where there are none.

    Raises:
        UserError: There is no such file or folder, it cannot be read, or no image is in it.
    """
    place = Path(place)
    if not place.is_dir():
        return [place], ""
    try:
        names = [n for n in image_files(place) if not _special(place / n) and not (place / n).is_dir()]
        others = sorted({path.name for path in place.iterdir() if path.name[0] != "."} - set(names))
    except OSError as error:
        told = UserError(f"Folder {place} cannot be read ({error.strerror}); make it readable.")
        told.__cause__ = error
        raise fitting(told) from error
    left = [name for name in others if not (place / name).is_dir()]
    below = [name for name in others if (place / name).is_dir()]
    said = _left_out(place, left, below)
    if not names:
        found = f"; {said[0].lower()}{said[1:].rstrip('.')}" if said else ""
        raise UserError(
            f"Folder {place} holds no image that is read{found}; give a folder with photographs directly in it, or one "
            "file."
        )
    return [place / name for name in names], said


def _special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device, which would wait for ever or never end."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _left_out(place: Path, files: list[str], folders: list[str]) -> str:
    """What is passed over in a folder of photographs, in one sentence."""
    special = [name for name in files if _special(place / name)]
    plain = [name for name in files if name not in special]
    parts = [f"{endings(plain)} ({_printed(plain)})"] if plain else []
    what = "pipe, socket or device" if len(special) == 1 else "pipes, sockets or devices"
    parts += [f"{len(special)} {what} ({_printed(special)})"] if special else []
    parts += [f"{len(folders)} folder{'s' * (len(folders) > 1)} in it ({_printed(folders)})"] if folders else []
    cure = f"; {CONVERT.format('photographs of other formats')}" if any(unread(place / name) for name in plain) else ""
    return f"Left out, as not read: {', '.join(parts)}{cure}." if parts else ""


def _printed(names: list[str], most: int = 3) -> str:
    return some([ascii(name)[1:-1] if not name.isprintable() else name for name in names], most)


def _refuse_name(path: Path) -> None:
    """Names stand in pages; what is not UTF-8 Python shows as surrogates, which cannot be written."""
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise UserError(f"Name {path.name!r} in folder {str(path.parent)!r} is not UTF-8; rename it.")
