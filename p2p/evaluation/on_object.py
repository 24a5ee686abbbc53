"""Whether what a person is shown lies on the object: source patches and hits, beside what uniform cells give.

Where the object is, is known of CUB (places of parts) and of drawn birds (masks of their parts); other data sets have
no such rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from p2p.data.images import SPLITS, ImageSet
from p2p.evaluation.contributions import deciding
from p2p.evaluation.measure import ALWAYS, Answer, Row
from p2p.networks import ProtoNet

COVERED = 0.25  # of a cell's pixels, from which on it lies on a drawn bird
TOP = 5  # prototypes of an image that count most, whose hits are looked at
NAMES = ("source_on_object", "source_on_object_chance", "hits_on_object", "hits_on_object_chance")


def object_cells(images: ImageSet, grid: tuple[int, int]) -> Tensor | None:
    """Which cells lie on the object.

    With masks: a cell of whose pixels a quarter is mask (of drawn birds the six parts, not the coat between them);
    pixels that two cells share count in both. Without masks: a cell in which a visible part has its place.

    Args:
        images: N images.
        grid: (H, W).

    Returns:
        (N, H·W) bool; None where neither masks nor parts are known.
    """
    height, width = grid
    if images.masks is not None:
        pooled = [adaptive_avg_pool2d((part > 0).float()[:, None], grid) for part in images.masks.split(256)]
        return (torch.cat(pooled) >= COVERED - 1e-6).flatten(1).cpu()
    if images.parts is None:
        return None
    parts, size = images.parts.cpu(), images.pixels.shape[-1]
    column, row = (
        (parts[..., axis] * (cells / size)).long().clamp(0, cells - 1) for axis, cells in ((0, width), (1, height))
    )
    counts = torch.zeros(len(parts), height * width)
    return counts.scatter_add_(1, row * width + column, (parts[..., 2] > 0).float()) > 0


def part_of_cells(images: ImageSet, grid: tuple[int, int]) -> Tensor | None:
    """Which part of the object each cell shows.

    With masks: the part that covers most of the cell, if it covers an eighth of it. Without: the first visible part
    that has its place in the cell.

    Args:
        images: N images.
        grid: (H, W).

    Returns:
        (N, H·W) int64, the number of the part in `images.part_names`, −1 where there is none; None where neither masks
        nor parts are known.
    """
    height, width = grid
    if images.masks is not None:
        most = torch.full((len(images), height * width), COVERED / 2 - 1e-6)
        part = torch.full(most.shape, -1)
        for q in range(len(images.part_names)):
            pooled = [adaptive_avg_pool2d((m == q + 1).float()[:, None], grid) for m in images.masks.split(256)]
            share = torch.cat(pooled).flatten(1).cpu()
            part[share > most] = q
            most = most.maximum(share)
        return part
    if images.parts is None:
        return None
    parts, size = images.parts.cpu(), images.pixels.shape[-1]
    part = torch.full((len(parts), height * width), -1)
    for q in reversed(range(parts.shape[1])):  # the first is written last
        x, y, visible = parts[:, q].unbind(1)
        column, row = (x * (width / size)).long().clamp(0, width - 1), (y * (height / size)).long().clamp(0, height - 1)
        seen = (visible > 0).nonzero()[:, 0]
        part[seen, (row * width + column)[seen]] = q
    return part


def source_on_object(on: Tensor, images: Tensor, cells: Tensor) -> tuple[float, float]:
    """Share of prototypes whose source patch lies on the object, and that of a uniform cell of the same images.

    Args:
        on: (N, H·W) bool, see `object_cells`, of the images that the projection searched.
        images, cells: (P,) of the projection.
    """
    found = on[images.cpu()].double()  # (P, H·W)
    return found.gather(1, cells.cpu()[:, None]).mean().item(), found.mean().item()


def hits_on_object(on: Tensor, cells: Tensor) -> tuple[float, float]:
    """Share of the hits that lie on the object, and that of a uniform cell of the same images.

    Args:
        on: (N, H·W) bool of the test images.
        cells: (N, k) where each image's deciding prototypes are found.
    """
    return on.gather(1, cells).double().mean().item(), on.double().mean().item()


def object_rows(answer: Answer, images: ImageSet) -> Iterator[Row]:
    """The rows `NAMES` of a tuned network; none where it has no prototypes or nothing is known of the object.

    Args:
        answer: Of the network.
        images: All splits.
    """
    network, found = answer.trained.network, answer.trained.projection
    if not isinstance(network, ProtoNet) or found is None or "tuned" not in answer.tables:
        return
    table = answer.tables["tuned"]
    on = object_cells(images, table.grid)
    if on is None:
        return
    split = images.split.cpu()
    train, test = (on[split == SPLITS.index(name)] for name in ("train", "test"))
    k = min(TOP, table.cells.shape[1])
    chosen = deciding(table, network.decision, network.layer, k)
    values = (*source_on_object(train, found.images, found.cells), *hits_on_object(test, chosen.cells))
    for name, value in zip(NAMES, values, strict=True):
        yield answer.role, answer.variant, "tuned", name, ALWAYS, value
