"""A packed network, as `p2p.evaluation.pack` leaves it in `networks/`: small, and complete without its data set.

Its folder holds `network.safetensors` (matrices in half precision), `run.json` (parameters, classes, what was measured,
checksums), `sources.webp` with `sources.csv` (the training patches that its prototypes are), and a card, `README.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from p2p.digests import sha256
from p2p.errors import UserError, reason
from p2p.files import atomic_path, read_json, write_table
from p2p.training.checkpoints import load_tensors

ADVICE = "restore the folder from the repository, or pack it again (make pack)"
RECORD, TENSORS, SHEET, TABLE = "run.json", "network.safetensors", "sources.webp", "sources.csv"
LOSSLESS = 200_000  # bytes up to which a sheet keeps every pixel; photographs above it lose what nobody sees


class SourcePatch(NamedTuple):
    """What a prototype is: a place of a training image.

    Attributes:
        prototype: Its number.
        label: Its class's name; of a prototype that has no class, that of the image.
        image: Name of the training image.
        cell: (row, column), from 0.
        box: x0, y0, x1, y1 in pixels of that image, x1 and y1 exclusive: where it is activated, as ProtoPNet draws it.
        corner: (x, y) of `pixels` in that image.
        pixels: (3, s, s) uint8, the cell and its neighbours.
    """

    prototype: int
    label: str
    image: str
    cell: tuple[int, int]
    box: tuple[int, int, int, int]
    corner: tuple[int, int]
    pixels: Tensor


@dataclass(frozen=True)
class Packed:
    """What a packed network has in place of its data set.

    Attributes:
        classes: K names.
        patches: P, of the prototypes.
        usual: Squared L2, see `p2p.evaluation.explainer.usual_distance`.
    """

    classes: tuple[str, ...]
    patches: tuple[SourcePatch, ...]
    usual: float


def is_packed(folder: Path) -> bool:
    """Whether a folder is that of a packed network, whole or not; those of runs have no table of sources."""
    return (folder / TABLE).is_file()


def read_packed(folder: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any], Packed]:
    """A packed network's tensors in float32, the metadata of a checkpoint, and what it has in place of a data set.

    Raises:
        UserError: A file is missing or not as it was packed.
    """
    record = read_record(folder)
    for name, written in record["files"].items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} of a packed network is missing; {ADVICE}.")
        if sha256(folder / name) != written:
            raise UserError(f"{folder / name} is damaged, its contents are not those that were packed; {ADVICE}.")
    tensors, _ = load_tensors(folder / TENSORS, device)
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    packed = Packed(tuple(record["classes"]), read_patches(folder), float(record["packed"]["usual_distance"]))
    return tensors, {"params": record["parameters"], **record["inputs"]}, packed


def read_record(folder: Path) -> dict[str, Any]:
    """`run.json` of a packed network.

    Raises:
        UserError: Missing, damaged, or without what a packed network needs.
    """
    record = read_json(folder / RECORD, ADVICE)
    needed = {"parameters", "inputs", "classes", "packed", "files"}
    if not isinstance(record, dict) or not needed <= record.keys() or "usual_distance" not in record["packed"]:
        raise UserError(f"{folder / RECORD} is damaged, it is no record of a packed network; {ADVICE}.")
    return record


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and maps in half precision; rows of numbers (biases, statistics of normalisation) stay as they are.

    Rounding moves a number by at most 2⁻¹¹ of it, or 2⁻²⁵ where it is below 2⁻¹⁴. What does not fit into half precision
    stays as it is, too.
    """

    def rounded(value: Tensor) -> Tensor:
        small = value.half() if value.is_floating_point() and value.ndim > 1 else value
        return small if bool(torch.isfinite(small).all()) else value

    return {key: rounded(value) for key, value in tensors.items()}


def write_patches(folder: Path, patches: tuple[SourcePatch, ...], per_class: int) -> None:
    """Write `sources.webp`, the patches as tiles in rows of whole classes, and `sources.csv`, a row a prototype.

    Args:
        folder: For both.
        patches: P, all of one size.
        per_class: Prototypes of a class.
    """
    count, side = len(patches), patches[0].pixels.shape[1]
    columns = per_class * int(np.ceil(np.sqrt(count) / per_class))  # about a square
    sheet = np.full((-(-count // columns) * side, columns * side, 3), 255, np.uint8)
    for patch in patches:
        y, x = (side * at for at in divmod(patch.prototype, columns))
        sheet[y : y + side, x : x + side] = patch.pixels.permute(1, 2, 0).numpy()
    picture = Image.fromarray(sheet)
    with atomic_path(folder / SHEET) as temporary:
        picture.save(temporary, "WEBP", lossless=True, quality=100)
        if temporary.stat().st_size > LOSSLESS:
            picture.save(temporary, "WEBP", quality=90, method=6)
    names = ["prototype", "class", "image", "row", "column", "x0", "y0", "x1", "y1", "patch_x", "patch_y", "tile"]
    rows = [(p.prototype, p.label, p.image, *p.cell, *p.box, *p.corner, side) for p in patches]
    write_table(pd.DataFrame(rows, columns=names), folder / TABLE)


def read_patches(folder: Path) -> tuple[SourcePatch, ...]:
    """What `write_patches` wrote.

    Raises:
        UserError: One of the files is missing or no such file.
    """
    try:
        frame = pd.read_csv(folder / TABLE, dtype={"class": str, "image": str}, keep_default_na=False)
        with Image.open(folder / SHEET) as opened:
            sheet = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        patches = []
        for row in frame.to_dict("records"):
            side = int(row["tile"])
            y, x = (side * at for at in divmod(int(row["prototype"]), sheet.shape[2] // side))
            place = [int(row[key]) for key in ("row", "column", "x0", "y0", "x1", "y1", "patch_x", "patch_y")]
            patches.append(
                SourcePatch(
                    prototype=int(row["prototype"]),
                    label=str(row["class"]),
                    image=str(row["image"]),
                    cell=(place[0], place[1]),
                    box=(place[2], place[3], place[4], place[5]),
                    corner=(place[6], place[7]),
                    pixels=sheet[:, y : y + side, x : x + side].clone(),
                )
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The source patches in {folder} cannot be read ({reason(error)}); {ADVICE}.") from error
    return tuple(patches)
