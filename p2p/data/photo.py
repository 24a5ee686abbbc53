"""One image from anywhere, as a network gets it: upright, in colour, resized to the square it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from p2p.data.decode import read_frame, to_rgb
from p2p.data.listing import image_files, some
from p2p.errors import UserError, reason


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
        raise UserError(f"There is no image {path}; give the path of a photograph, or of a folder of them.")
    return torch.from_numpy(read_frame(path, None, False, size)[0].copy())


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
        names, why = some([ascii(name)[1:-1] if not name.isprintable() else name for name, _ in bad], 5), bad[0][1]
        raise UserError(f"{len(bad)} of {len(paths)} images cannot be used, {names}; {why[0].lower()}{why[1:]}")
    return frames


def find_photos(place: Path | str) -> list[Path]:
    """The image files of a folder (not of the folders in it), sorted; of a file itself alone.

    Raises:
        UserError: There is no such file or folder, or no image in it.
    """
    place = Path(place)
    if not place.is_dir():
        return [place]
    names = image_files(place)
    if not names:
        raise UserError(f"Folder {place} holds no image; give a folder with photographs directly in it, or one file.")
    return [place / name for name in names]


def _refuse_name(path: Path) -> None:
    """Names stand in pages; what is not UTF-8 Python shows as surrogates, which cannot be written."""
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise UserError(f"Name {path.name!r} in folder {str(path.parent)!r} is not UTF-8; rename it.")
