"""Images of a study: one uint8 tensor, its labels, split and annotations.

`load_images` is the only entrance. Photographs are listed by p2p/data/readers.py, decoded and cached by
p2p/data/decode.py; synthetic birds are drawn anew each time and need no cache.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from p2p.data import birds
from p2p.data.decode import decode
from p2p.data.listing import seeded_cut
from p2p.data.readers import READERS
from p2p.data.source import chosen_listing, source_digest
from p2p.data.species import PARTS, class_table, look_alikes
from p2p.data.streaming import Rows, Stream, place
from p2p.data.twins import check_twins
from p2p.errors import UserError

if TYPE_CHECKING:
    from p2p.study.params import DataParams

SPLITS = ("train", "validation", "test")
BIRD_CLASSES = 8  # where the parameters name no class_count
BIRD_TEST_INDEX = 10_000_000  # test birds are numbered from here, so that no training bird can be among them


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N square images and what is known of them; every tensor is on one device.

    Attributes:
        pixels: (N, 3, S, S) uint8, RGB; a `Stream` where they do not fit on the device.
        labels: (N,) int64, 0..K-1.
        split: (N,) uint8: 0 train, 1 validation, 2 test.
        classes: K class names.
        names: N names, one per image (relative path, or "bird 17").
        boxes: (N, 4) float32 x0, y0, x1, y1 of the object in frame pixels, or None.
        parts: (N, Q, 3) float32 x, y in frame pixels, visible (0/1; x = y = 0 where not visible), or None.
        part_names: Q names, empty without parts.
        masks: (N, S, S) uint8: 0 = none, q + 1 = visible pixel of part_names[q], or None.
        remarks: Sentences on what was passed over or changed in reading; nothing is wrong.
        source: Digest of what `load_images` made them from (`p2p.data.source`); a subset has that of the whole.
    """

    pixels: Rows
    labels: Tensor
    split: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...]
    boxes: Tensor | None = None
    parts: Tensor | None = None
    part_names: tuple[str, ...] = ()
    masks: Tensor | None = None
    remarks: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        for name, tensor in self._tensors().items():
            if len(tensor) != len(self.names):
                raise ValueError(f"ImageSet.{name} has {len(tensor)} rows for {len(self.names)} names.")

    def __len__(self) -> int:
        return len(self.names)

    def _tensors(self) -> dict[str, Rows]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor | Stream)}

    def subset(self, split: str) -> ImageSet:
        """The images of "train", "validation" or "test", in their order."""
        if split not in SPLITS:
            raise UserError(f"There is no split {split!r}; expected one of {', '.join(SPLITS)}.")
        return self.select((self.split == SPLITS.index(split)).nonzero().flatten())

    def select(self, index: Tensor) -> ImageSet:
        """The images at `index`: (n,) int64 positions, in that order."""
        index = index.to(self.labels.device)
        chosen: dict[str, Any] = {
            name: rows.select(index) if isinstance(rows, Stream) else rows[index]
            for name, rows in self._tensors().items()
        }
        return replace(self, names=tuple(self.names[i] for i in index.tolist()), **chosen)

    def to(self, device: str | torch.device) -> ImageSet:
        """The same images with every tensor on `device`."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self._tensors().items()}
        return replace(self, **moved)


def load_images(params: DataParams, device: str | torch.device = "cpu") -> ImageSet:
    """Images of a study, with a validation split cut from the training images of each class.

    Args:
        params: reader, root, size, class_step, class_first, class_count, images_per_class, validation_fraction,
            data_seed, streaming, allow_duplicates, and the numbers of birds.
        device: Where the tensors go.

    Returns:
        Training, validation and test images together. `images_per_class` counts the images of the reader's
        training (before the validation cut) and test split.

    Raises:
        UserError: The data set is missing, incomplete or damaged, the test images of a user's own are training images,
            or the cache cannot be written.
    """
    images = _draw_birds(params) if params.reader == "birds" else _load_files(params)
    train = (images.split == 0).nonzero().flatten()
    cut = seeded_cut(
        [images.names[i] for i in train.tolist()],
        images.labels[train].numpy(),
        images.classes,
        params.validation_fraction,
        params.data_seed,
        "validation",
    )
    images.split[train[torch.from_numpy(cut)]] = 1
    assert isinstance(images.pixels, Tensor)
    return replace(images, pixels=place(images.pixels, torch.device(device), params.streaming)).to(device)


def bird_indices(names: tuple[str, ...]) -> Tensor:
    """(N,) int64 index of each bird for `p2p.data.birds.draw`, from its name "bird 17"."""
    return torch.tensor([int(name.removeprefix("bird ")) for name in names], dtype=torch.int64)


def bird_counts(params: DataParams) -> tuple[int, int, int]:
    """Classes of the birds to draw, and of each class the training images, validation included, and the test images.

    Raises:
        UserError: More than can be told apart.
    """
    if params.class_step != 1 or params.class_first:
        key = "class_first" if params.class_first else "class_step"
        raise UserError(f"Parameter {key} chooses among classes on disk; for reader 'birds' set class_count only.")
    classes = params.class_count or BIRD_CLASSES
    train, test = (
        min(count, params.images_per_class or count)
        for count in (params.bird_train_per_class, params.bird_test_per_class)
    )
    if train * classes > BIRD_TEST_INDEX:
        raise UserError(
            f"'bird_train_per_class' times {classes} classes is {train * classes:,}, and the birds from number "
            f"{BIRD_TEST_INDEX:,} on are those of the test; lower it."
        )
    return classes, train, test


def bird_table(params: DataParams, classes: int) -> Tensor:
    """(K, Q) variants of the parts of each class; see `p2p.data.species`.

    Raises:
        UserError: So many classes cannot be told apart.
    """
    return (look_alikes if params.bird_hardness else class_table)(classes, params.data_seed)


def _draw_birds(params: DataParams) -> ImageSet:
    """Draw the birds; image j of class c has index j * K + c, so more images leave the first unchanged."""
    classes, train, test = bird_counts(params)
    position = torch.cat([torch.arange(train * classes), torch.arange(test * classes)])
    held_out = torch.arange(len(position)) >= train * classes
    labels, index = position % classes, position + BIRD_TEST_INDEX * held_out
    table = bird_table(params, classes)
    drawn = birds.draw(labels, index, table, params.size, params.data_seed, hardness=params.bird_hardness)
    return ImageSet(
        pixels=drawn.pixels,
        labels=labels,
        split=(2 * held_out).to(torch.uint8),
        classes=tuple(f"species {label + 1}" for label in range(classes)),
        names=tuple(f"bird {number}" for number in index.tolist()),
        boxes=drawn.boxes.float(),
        parts=drawn.parts.float(),
        part_names=PARTS,
        masks=drawn.masks,
        source=source_digest(params, None),
    )


def _load_files(params: DataParams) -> ImageSet:
    """Read the lists, keep what the parameters ask for, decode it, move boxes and parts into the frame."""
    listing = chosen_listing(params)
    decoded = decode(listing, params.size, params.reader)
    windows, remarks = decoded.windows, [*listing.remarks, *decoded.remarks(listing.names)]
    if READERS[params.reader].own:
        remarks += check_twins(listing, decoded.prints, params.allow_duplicates)
    boxes = parts = None
    scale = params.size / (windows[:, 2:] - windows[:, :2])  # (N, 2)
    if listing.boxes is not None:
        corners = (listing.boxes.reshape(-1, 2, 2) - windows[:, None, :2]) * scale[:, None]
        boxes = torch.from_numpy(corners.clip(0, params.size).reshape(-1, 4)).float()
    if listing.parts is not None:
        places = (listing.parts[:, :, :2] - windows[:, None, :2]) * scale[:, None]
        inside = ((places >= 0) & (places <= params.size)).all(axis=2)  # what was cut away is not visible
        visible = inside & (listing.parts[:, :, 2] > 0)
        parts = torch.from_numpy(np.dstack([places, np.ones_like(visible)]) * visible[:, :, None]).float()
    return ImageSet(
        pixels=decoded.pixels,
        labels=torch.from_numpy(listing.labels),
        split=torch.from_numpy(np.where(listing.test, 2, 0).astype(np.uint8)),
        classes=listing.classes,
        names=listing.names,
        boxes=boxes,
        parts=parts,
        part_names=listing.part_names,
        remarks=tuple(remarks),
        source=source_digest(params, listing),
    )
