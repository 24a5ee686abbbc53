"""How alike two networks explain: AAP, AJS and PMS as functions of response tables, with their chance levels.

A response table holds, for each test image and prototype, the nearest cell and its distance (see "Three metrics of
explanations" in the book). Every metric is a pure function of tables, so networks run once and metrics take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb, floor, inf
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom
from torch import Tensor

from p2p.errors import UserError
from p2p.files import atomic_path

TAUS: tuple[float, ...] = (0.01, 0.1, 0.2, 0.45, 1, 3, 5, inf)
ALPHAS: tuple[float, ...] = tuple(tenth / 10 for tenth in range(1, 11))

Empty = Literal["zero", "skip", "one"]


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
        if int(self.cells.min()) < 0 or int(self.cells.max()) >= count:
            raise UserError(f"Response table has cells outside 0..{count - 1}; check its grid {self.grid}.")
        if not bool(torch.isfinite(self.distances).all()):
            raise UserError("Response table has distances that are not finite; train the network anew.")

    def save(self, path: Path | str) -> None:
        """Write the table as safetensors in one step; the grid goes into the metadata."""
        tensors = {"cells": self.cells.cpu().contiguous(), "distances": self.distances.cpu().contiguous()}
        with atomic_path(path) as temporary:
            try:
                save_file(tensors, temporary, metadata={"grid": f"{self.grid[0]},{self.grid[1]}"})
            except SafetensorError as error:  # its word for a full disk
                raise OSError(str(error)) from error

    @classmethod
    def load(cls, path: Path | str) -> ResponseTable:
        """Read a table that `save` wrote.

        Raises:
            UserError: The file is missing or is not a response table.
        """
        try:
            with safe_open(path, framework="pt") as file:
                height, width = (int(side) for side in file.metadata()["grid"].split(","))
                return cls(file.get_tensor("cells"), file.get_tensor("distances"), (height, width))
        except FileNotFoundError as error:
            raise UserError(f"No response table at {path}; run the evaluation that writes it.") from error
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a response table; delete it and run the evaluation again.") from error


@dataclass(frozen=True)
class PMS:
    """Prototype matching score: the value, its parts per alpha, and who was matched with whom."""

    value: float
    alphas: tuple[float, ...]
    per_alpha: Tensor  # (A,) float64 mean similarity of matched pairs
    matching: Tensor  # (A, P) int64, the student prototype matched with each teacher prototype


def cell_minima(table: ResponseTable) -> Tensor:
    """Smallest distance of any prototype whose nearest cell this is, for every image and cell.

    A cell is active at tau where its minimum is finite and at most tau, so one table serves every tau.

    Returns:
        (N, H*W) float32; infinite where no prototype has its nearest cell.
    """
    height, width = table.grid
    minima = torch.full((len(table.cells), height * width), inf, device=table.cells.device)
    return minima.scatter_reduce_(1, table.cells.long(), table.distances.float(), "amin")


def aap(table: ResponseTable, taus: Sequence[float] = TAUS) -> Tensor:
    """Average number of active patches: AAP(tau) = mean over images of |A(tau)| (as in the released code's evaluation).

    Returns:
        (T,) float64 on the CPU, cells an image.
    """
    minima = cell_minima(table)
    return torch.stack([_active(minima, tau).sum(1).cpu().double().mean() for tau in taus])


def ajs(table_t: ResponseTable, table_s: ResponseTable, taus: Sequence[float] = TAUS, empty: Empty = "zero") -> Tensor:
    """Average Jaccard similarity of active patches: mean over images of |A_t & A_s| / |A_t | A_s|.

    Args:
        empty: What an image counts where neither network has an active patch (A11 of the audit).
            `zero` is the released code: a teacher with itself is below 1 at small tau. `one` calls two empty
            sets equal. `skip` leaves the image out, and gives nan where every image is left out.

    Returns:
        (T,) float64 on the CPU.

    Raises:
        UserError: The tables differ in images or grid, or `empty` is unknown.
    """
    if empty not in ("zero", "skip", "one"):
        raise UserError(f"AJS got empty={empty!r}; choose zero, skip or one.")
    _check_pair(table_t, table_s)
    minima_t, minima_s = cell_minima(table_t).cpu(), cell_minima(table_s).cpu()
    values = []
    for tau in taus:
        active_t, active_s = _active(minima_t, tau), _active(minima_s, tau)
        shared, union = (active_t & active_s).sum(1).double(), (active_t | active_s).sum(1).double()
        jaccard = torch.where(union > 0, shared / union.clamp(min=1), 1.0 if empty == "one" else 0.0)
        values.append((jaccard[union > 0] if empty == "skip" else jaccard).mean())
    return torch.stack(values)


def agreement(table_t: ResponseTable, table_s: ResponseTable) -> float:
    """Mean over prototypes j of the fraction of images in which teacher's j and student's j share their cell.

    Raises:
        UserError: The tables differ in images, grid or prototypes.
    """
    _check_pair(table_t, table_s, prototypes=True)
    return float((table_t.cells.cpu() == table_s.cells.cpu()).double().mean())


def coincidences(table_t: ResponseTable, table_s: ResponseTable) -> Tensor:
    """Count the images in which teacher prototype i and student prototype j sit on the same cell.

    Compares one image at a time for a block of rows that stays in the processor's cache, and adds up to 255
    images in uint8 before it widens. The time depends on the shapes only, never on how the cells cluster.

    Returns:
        (P_t, P_s) int32 counts k_ij on the CPU.

    Raises:
        UserError: The tables differ in images or grid.
    """
    _check_pair(table_t, table_s)
    narrow = np.uint8 if table_t.grid[0] * table_t.grid[1] <= 256 else np.int16
    cells_t, cells_s = (table.cells.cpu().numpy().astype(narrow) for table in (table_t, table_s))
    images, rows_total = cells_t.shape
    counts = np.zeros((rows_total, cells_s.shape[1]), np.int32)
    rows = max(1, 2**18 // cells_s.shape[1])  # a block of 256 KiB, so that two of them fit in a core's L2

    def count(start: int) -> None:
        block = np.ascontiguousarray(cells_t[:, start : start + rows])
        same = np.empty((block.shape[1], cells_s.shape[1]), bool)
        part = np.empty(same.shape, np.uint8)
        for first in range(0, images, 255):
            part[:] = 0
            for n in range(first, min(first + 255, images)):
                np.equal(block[n, :, None], cells_s[n], out=same)
                np.add(part, same.view(np.uint8), out=part)
            counts[start : start + rows] += part

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy releases the GIL in both calls
        list(pool.map(count, range(0, rows_total, rows)))
    return torch.from_numpy(counts)


def pms(table_t: ResponseTable, table_s: ResponseTable, alphas: Sequence[float] = ALPHAS) -> PMS:
    """Prototype matching score: mean over alpha of the mean min(1, k_ij / (alpha N)) over the best matching.

    The matching pairs every teacher prototype i with one student prototype j so that the sum is largest
    (Hungarian method). Equal to the coded "modified Jaccard" (as in the released code's evaluation).

    Raises:
        UserError: The tables differ in images, grid or prototypes, or an alpha is not in (0, 1].
    """
    if not alphas or not all(0 < alpha <= 1 for alpha in alphas):
        raise UserError(f"PMS got alphas {tuple(alphas)}; give at least one, each above 0 and at most 1.")
    _check_pair(table_t, table_s, prototypes=True)
    counts = coincidences(table_t, table_s).double()
    images, most = len(table_t.cells), float(counts.max())
    every = torch.arange(len(counts))
    per_alpha, matchings, unclipped = [], [], None
    for alpha in alphas:
        clip = alpha * images
        if clip >= most and unclipped is not None:
            match = unclipped  # no count is clipped: the same matching as for the first such alpha
        else:
            clipped = counts.clamp(max=clip)
            columns = linear_sum_assignment(_levelled(clipped, images).numpy(), maximize=True)[1]
            match = torch.from_numpy(columns).long()
            unclipped = match if clip >= most else None
        per_alpha.append((counts[every, match].clamp(max=clip) / clip).mean())
        matchings.append(match)
    values = torch.stack(per_alpha)
    return PMS(float(values.mean()), tuple(alphas), values, torch.stack(matchings))


def _levelled(values: Tensor, images: int) -> Tensor:
    """Add to each row and each column of (P, P) float64 a whole number that raises the best matching.

    Such numbers change every matching's sum alike, so the best stays the best. Near the optimum of the dual
    problem, found by entropy smoothing (Sinkhorn), they spare the Hungarian method most of its search where
    prototypes crowd on few cells (3 s, not 35 s). Whole numbers keep ties exact, without which it is slow.
    """
    smooth = values.float()
    row, column = -smooth.amax(1), torch.zeros(values.shape[1])
    for halving in range(10):
        width = 0.1 * images * 0.5**halving
        kernel = ((smooth + row[:, None] + column) / width).exp_()
        a, b = torch.ones_like(row), torch.ones_like(column)
        for _ in range(10):
            a = 1 / (kernel @ b).clamp_(min=1e-30)
            b = 1 / (a @ kernel).clamp_(min=1e-30)
        row, column = row + width * a.log(), column + width * b.log()
    return values + row.double().round()[:, None] + column.double().round()


def permute_images(table: ResponseTable, generator: torch.Generator) -> ResponseTable:
    """The table with its images in random order: paired with another table, it gives a metric's floor."""
    order = torch.randperm(len(table.cells), generator=generator).to(table.cells.device)
    return ResponseTable(table.cells[order], table.distances[order], table.grid)


def ajs_chance(aap_t: float, aap_s: float, cells: int) -> float:
    """Expected Jaccard similarity of two independent, uniformly random sets of cells.

    For whole sizes a and b the shared cells X are hypergeometric and the value is exact: E[X / (a + b - X)];
    two empty sets count 0, as in the released code. Between whole sizes it is interpolated on both axes. Real
    sets vary in size and favour some cells: with tables at hand, `permute_images` gives the better floor.

    Raises:
        UserError: A size is not in 0..cells.
    """
    if not (0 <= aap_t <= cells and 0 <= aap_s <= cells):
        raise UserError(f"AJS chance got set sizes {aap_t} and {aap_s}; they must lie in 0..{cells} cells.")

    def exact(a: int, b: int) -> float:
        shared = range(max(1, a + b - cells), min(a, b) + 1)
        return sum(comb(a, x) * comb(cells - a, b - x) / comb(cells, b) * x / (a + b - x) for x in shared)

    (a, p), (b, q) = ((floor(size), size - floor(size)) for size in (aap_t, aap_s))
    weighted = ((a + i, b + j, (p if i else 1 - p) * (q if j else 1 - q)) for i in (0, 1) for j in (0, 1))
    return sum(weight * exact(i, j) for i, j, weight in weighted if weight > 0)


def pms_chance(prototypes: int, images: int, cells: int, alphas: Sequence[float] = ALPHAS) -> float:
    """Approximate PMS of two networks whose prototypes sit on uniformly random cells.

    Each count is Binomial(images, 1 / cells) with distribution function F, and the largest of n has F^n. With
    n = P, every row getting its best column, this is an upper bound. But rows compete: n = (2 P + 1) / 3, an
    empirical figure, gives their mean within 5 % of simulations for P from 1 to 2000.
    """
    counts = np.arange(images + 1)
    distribution = binom.cdf(counts, images, 1 / cells) ** ((2 * prototypes + 1) / 3)
    mass = np.diff(distribution, prepend=0.0)
    return float(np.mean([mass @ np.minimum(1, counts / (alpha * images)) for alpha in alphas]))


def pms_from_agreement(rate: float, alphas: Sequence[float] = ALPHAS) -> float:
    """PMS if every matched pair coincides in a fraction `rate` of images: mean min(1, rate / alpha)."""
    return sum(min(1.0, rate / alpha) for alpha in alphas) / len(alphas)


def _active(minima: Tensor, tau: float) -> Tensor:
    """(N, H*W) bool: active cells at tau; the finite test keeps cells of no prototype out at infinity."""
    return (minima <= tau) & torch.isfinite(minima)


def _check_pair(table_t: ResponseTable, table_s: ResponseTable, prototypes: bool = False) -> None:
    """Refuse to compare tables of different images, grids or (where asked) numbers of prototypes."""
    (n_t, p_t), (n_s, p_s) = table_t.cells.shape, table_s.cells.shape
    for what, of_t, of_s in (("images", n_t, n_s), ("grid", table_t.grid, table_s.grid)):
        if of_t != of_s:
            raise UserError(f"Response tables differ in {what}: {of_t} and {of_s}; make both from the same test set.")
    if prototypes and p_t != p_s:
        raise UserError(f"Response tables have {p_t} and {p_s} prototypes; this metric needs equal numbers.")
