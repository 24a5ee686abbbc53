"""Response tables: which cell each prototype is nearest to in each image, and how near; in memory or in a file.

A table of N images and P prototypes has 6 N P bytes. A file is written batch by batch and read where it is touched, so
neither needs memory for the whole of it; whoever works on a table takes it in `spans` of images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from p2p.errors import UserError
from p2p.files import atomic_path

SPAN_CELLS = 2**22  # entries of a table that are worked on at a time


@dataclass(frozen=True)
class ResponseTable:
    """Where each prototype looks in each image; raises UserError where the three fields do not fit."""

    cells: Tensor  # (N, P) int16, index h*W + w of each prototype's nearest cell
    distances: Tensor  # (N, P) float32 squared L2 at that cell
    grid: tuple[int, int]  # (H, W)

    def __post_init__(self) -> None:
        shape, count = tuple(self.cells.shape), self.grid[0] * self.grid[1]
        if len(shape) != 2 or 0 in shape or tuple(self.distances.shape) != shape:
            shapes = f"cells {shape} and distances {tuple(self.distances.shape)}"
            raise UserError(f"Response table has {shapes}; both must be (N, P) with N and P above zero.")
        if self.cells.dtype != torch.int16 or not self.distances.is_floating_point():
            dtypes = f"cells of {self.cells.dtype} and distances of {self.distances.dtype}"
            raise UserError(f"Response table has {dtypes}; convert them to int16 and float32.")
        for span in spans(*shape):
            cells = self.cells[span]
            if int(cells.min()) < 0 or int(cells.max()) >= count:
                raise UserError(f"Response table has cells outside 0..{count - 1}; check its grid {self.grid}.")
            if not bool(torch.isfinite(self.distances[span]).all()):
                raise UserError("Response table has distances that are not finite; train the network anew.")

    def save(self, path: Path | str) -> None:
        """Write the table as safetensors in one step; the grid goes into the metadata."""
        images, prototypes = self.cells.shape
        with table_writer(path, images, prototypes, self.grid) as add:
            for span in spans(images, prototypes):
                add(self.cells[span], self.distances[span])

    @classmethod
    def load(cls, path: Path | str) -> ResponseTable:
        """Map a table that `save` or `table_writer` wrote: its pages are read where they are touched.

        Raises:
            UserError: The file is missing or is not a response table.
        """
        try:
            with safe_open(path, framework="pt") as file:
                height, width = (int(side) for side in file.metadata()["grid"].split(","))
                return cls(file.get_tensor("cells"), file.get_tensor("distances"), (height, width))
        except FileNotFoundError as error:
            raise UserError(
                f"No response table at {path}; finish the run in {Path(path).parent} again (make study)."
            ) from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is not a response table; finish the run in {Path(path).parent} again (make study), which "
                f"writes it from the finished network."
            ) from error


@contextmanager
def table_writer(
    path: Path | str, images: int, prototypes: int, grid: tuple[int, int]
) -> Iterator[Callable[[Tensor, Tensor], None]]:
    """Write a table batch by batch; the file appears at `path` when all its rows are in.

    The layout is that of safetensors: the header's length, the header, distances, cells. Both places are known
    beforehand, so a batch is written to each and forgotten.

    Args:
        path: Of the finished file.
        images: N, the rows that will be added in all.
        prototypes: P.
        grid: (H, W).

    Yields:
        A function that adds cells (B, P) int16 and distances (B, P).

    Raises:
        UserError: A batch is no part of a table, as `ResponseTable` says, or the disk is full.
    """
    cut = 4 * images * prototypes  # where the distances end and the cells begin
    layout = {
        "__metadata__": {"grid": f"{grid[0]},{grid[1]}"},
        "distances": {"dtype": "F32", "shape": [images, prototypes], "data_offsets": [0, cut]},
        "cells": {"dtype": "I16", "shape": [images, prototypes], "data_offsets": [cut, cut + cut // 2]},
    }
    header = json.dumps(layout, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    start, done = 8 + len(header), 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)

        def add(cells: Tensor, distances: Tensor) -> None:
            nonlocal done
            ResponseTable(cells, distances, grid)  # refuses what does not fit
            assert cells.shape[1] == prototypes and done + len(cells) <= images, "not the shape that was announced"
            file.seek(start + 4 * done * prototypes)
            file.write(distances.float().cpu().contiguous().numpy().data)
            file.seek(start + cut + 2 * done * prototypes)
            file.write(cells.cpu().contiguous().numpy().data)
            done += len(cells)

        yield add
        assert done == images, f"{done} of {images} rows were added"
        file.close()  # so that a full disk is met before the file gets its name


def spans(images: int, prototypes: int, multiple: int = 1) -> Iterator[slice]:
    """Cut N images into runs of about `SPAN_CELLS` entries of a table (N, P), each a multiple of `multiple` long."""
    length = max(1, SPAN_CELLS // (prototypes * multiple)) * multiple
    for start in range(0, images, length):
        yield slice(start, min(start + length, images))


def check_pair(table_t: ResponseTable, table_s: ResponseTable, prototypes: bool = False) -> None:
    """Refuse to compare tables of different images, grids or (where asked) numbers of prototypes.

    Raises:
        UserError: They differ.
    """
    (n_t, p_t), (n_s, p_s) = table_t.cells.shape, table_s.cells.shape
    for what, of_t, of_s in (("images", n_t, n_s), ("grid", table_t.grid, table_s.grid)):
        if of_t != of_s:
            raise UserError(f"Response tables differ in {what}: {of_t} and {of_s}; make both from the same test set.")
    if prototypes and p_t != p_s:
        raise UserError(f"Response tables have {p_t} and {p_s} prototypes; this metric needs equal numbers.")


def cell_minima(table: ResponseTable) -> Tensor:
    """Smallest distance of any prototype whose nearest cell this is, for every image and cell.

    A cell is active at tau where its minimum is finite and at most tau, so one table serves every tau.

    Returns:
        (N, H*W) float32; infinite where no prototype has its nearest cell.
    """
    return torch.cat([minima_of(table, span) for span in spans(*table.cells.shape)])


def minima_of(table: ResponseTable, span: slice) -> Tensor:
    """`cell_minima` of some images."""
    cells, distances = table.cells[span].long(), table.distances[span].float()
    minima = torch.full((len(cells), table.grid[0] * table.grid[1]), math.inf, device=cells.device)
    return minima.scatter_reduce_(1, cells, distances, "amin")


def quarter_tau(table: ResponseTable) -> float:
    """The threshold at which a quarter of all cells of all images are active: where AJS is judged, with the teacher's.

    Infinite where fewer cells than that are the nearest of any prototype.
    """
    minima = cell_minima(table).flatten()
    return float(minima.sort().values[max(0, math.ceil(0.25 * len(minima)) - 1)])
