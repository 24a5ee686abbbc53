"""Answers kept with the results: what every metric and table is computed from, without weights, images or training.

A file holds the response table of one final network, cells as bytes and distances in half precision, the labels, and
the decision layer. Half precision moves a distance by at most one in 2,000: ranks and thresholds hardly notice.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from p2p.errors import UserError
from p2p.evaluation.measure import Answer
from p2p.files import atomic_path
from p2p.responses import ResponseTable

LIMIT = 1_900_000  # bytes of a table before compression; of a larger one every so-many-th image is kept


@dataclass(frozen=True)
class Kept:
    """One network's answers to the test images."""

    table: ResponseTable
    labels: Tensor  # (N,)
    decision: Tensor  # (K, P) float32; of a tree (K, L), its leaves' values
    every: int  # every so-many-th test image is in the table


def keep_answers(folder: Path, answers: Iterable[Answer], labels: Tensor) -> list[str]:
    """Write `<run>.npz` of the teacher, the baseline and the students among these networks.

    Args:
        folder: For the files.
        answers: Of a triple's networks.
        labels: (N,) of the test images.

    Returns:
        `<folder>/<run>.npz` of each, from the folder above.
    """
    names = []
    for answer in answers:
        if answer.role in ("teacher", "baseline", "student") and "tuned" in answer.tables:
            run = answer.trained
            keep(folder / f"{run.params.run}.npz", answer.tables["tuned"], labels, run.network.decision.weight)
            names.append(f"{folder.name}/{run.params.run}.npz")
    return names


def keep(path: Path | str, table: ResponseTable, labels: Tensor, decision: Tensor) -> None:
    """Write a network's answers; of a table too large for the repository, those to every so-many-th image.

    Args:
        path: Of the `.npz` file.
        table: Of the final network; grids of up to 256 cells.
        labels: (N,).
        decision: (K, P).

    Raises:
        UserError: The grid has more cells than a byte can tell apart, or the file cannot be written.
    """
    images, prototypes = table.cells.shape
    if table.grid[0] * table.grid[1] > 256:
        raise UserError(f"Cannot keep the answers of a grid {table.grid} in bytes; it may have 256 cells at most.")
    every = -(-3 * images * prototypes // LIMIT)
    arrays: dict[str, Any] = {
        "cells": table.cells[::every].numpy().astype(np.uint8),
        "distances": table.distances[::every].numpy().astype(np.float16),
        "labels": labels[::every].cpu().numpy().astype(np.int16),
        "decision": decision.detach().cpu().numpy().astype(np.float16),
        "grid": np.array(table.grid, np.int16),
        "every": np.array(every, np.int16),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_kept(path: Path | str) -> Kept:
    """Read what `keep` wrote.

    Raises:
        UserError: There is no such file, or it is damaged.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # NumPy leaves it open
            found = {name: torch.from_numpy(file[name]) for name in file.files}
        height, width = (int(side) for side in found["grid"])
        table = ResponseTable(found["cells"].to(torch.int16), found["distances"].float(), (height, width))
        return Kept(table, found["labels"].long(), found["decision"].float(), int(found["every"]))
    except FileNotFoundError as error:
        raise UserError(f"No kept answers at {path}; run the evaluation that writes them (make study).") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} holds no network's answers; restore it, or delete it and evaluate again.") from error
