"""What a run needs of memory at the least, from its parameters alone: told before anything is drawn, built or read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from p2p.data.streaming import SHARE, free_memory
from p2p.decision import DECISIONS
from p2p.errors import UserError, pick
from p2p.study.params import TrainParams


class Need(NamedTuple):
    """One of the things that take memory."""

    what: str
    size: int  # bytes
    keys: tuple[str, ...]  # that it grows with


def needs(params: TrainParams, classes: int, train: int, test: int, device: torch.device) -> list[Need]:
    """The least that a run holds at one time; what a trunk needs besides is not known before it runs.

    Args:
        params: Of the run.
        classes: K.
        train: Training images, validation included.
        test: Test images.
        device: Of the run.

    Returns:
        Images (those drawn in code lie in memory with their masks; photographs are read from a file), network (float32:
        values, gradients, two moments), and batch, with the distances and their gradients, in bytes.
    """
    s2, n = params.size**2, train + test
    birds = params.reader == "birds"
    streamed = params.streaming == "on" or (params.streaming == "auto" and 3 * s2 * n > SHARE * free_memory(device))
    copied = 0 if streamed else 3 * s2 * train  # the training images, taken out of all
    drawn = s2 * (4 * n + train) + copied if birds else copied
    batch = min(params.batch_size, train)
    found = [
        Need(
            f"{n:,} images of {params.size} px",
            drawn,
            ("bird_train_per_class", "bird_test_per_class", "class_count", "size") if birds else ("size",),
        ),
        Need(f"batches of {batch:,} images", 8 * 3 * s2 * batch, ("batch_size", "size")),
    ]
    if params.model == "linear":
        return found
    kind = pick(DECISIONS, params.decision, "decision")
    p, d, cells = kind.count(classes, getattr(params, kind.size)), params.prototype_depth, params.grid**2
    return [
        *found,
        Need("the add-on layers", 16 * d * d, ("prototype_depth",)),
        Need(f"{p:,} prototypes", 16 * p * d + 5 * p * classes, (kind.size, "prototype_depth")),
        Need("their distances to a batch", 8 * batch * p * cells, (kind.size, "batch_size", "grid")),
        Need("their distances to all images", 4 * max(train, test) * p, (kind.size,)),
        Need("the add-on maps of a batch", 12 * batch * d * cells, ("prototype_depth", "batch_size", "grid")),
    ]


def refuse_beyond_memory(params: TrainParams, found: Iterable[Need], device: torch.device) -> None:
    """Stop a run that cannot fit.

    Raises:
        UserError: It needs more than is free; with both numbers, the largest part and the keys to lower.
    """
    found = list(found)
    total, free = sum(need.size for need in found), free_memory(device)
    if total > free:
        most = max(found, key=lambda need: need.size)
        keys = " or ".join(f"'{key}' (now {getattr(params, key)})" for key in most.keys)
        raise UserError(
            f"run '{params.run}' needs at least {size_text(total)} of memory, {size_text(most.size)} of it for "
            f"{most.what}, and {device} has {size_text(free)} free: lower {keys}."
        )


def size_text(size: int) -> str:
    """Bytes in the largest unit that they fill, with two digits behind the point: 1.50 GB is 1.5·10⁹."""
    for unit, of in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9)):
        if size >= of:
            return f"{size / of:,.2f} {unit}"
    return f"{size / 10**6:,.2f} MB"
