"""How alike two networks explain: AAP, AJS and PMS as functions of response tables, with their chance levels.

A response table holds, for each test image and prototype, the nearest cell and its distance (see "Three metrics of
explanations" in the book). Every metric is a pure function of tables, so networks run once and metrics take seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb, floor, inf
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import bdtr
from torch import Tensor

from p2p.errors import UserError
from p2p.matching import DENSE_LIMIT, match_dense, match_sparse
from p2p.responses import ResponseTable, check_pair, minima_of, spans

TAUS: tuple[float, ...] = (0.01, 0.1, 0.2, 0.45, 1, 3, 5, inf)
ALPHAS: tuple[float, ...] = tuple(tenth / 10 for tenth in range(1, 11))

Empty = Literal["zero", "skip", "one"]


@dataclass(frozen=True)
class PMS:
    """Prototype matching score: the value, its parts per alpha, who was matched with whom, and how sure it is."""

    value: float
    alphas: tuple[float, ...]
    per_alpha: Tensor  # (A,) float64 mean similarity of matched pairs
    matching: Tensor  # (A, P_t) int64, the student prototype matched with each teacher prototype; −1: none is left
    upper: float  # no matching has a higher value; equal to the value where the matchings are proven to be the best


def aap(table: ResponseTable, taus: Sequence[float] = TAUS) -> Tensor:
    """Average number of active patches: AAP(tau) = mean over images of |A(tau)| (as in the released code's evaluation).

    Returns:
        (T,) float64 on the CPU, cells an image.
    """
    totals = torch.zeros(len(taus), dtype=torch.float64)
    for span in spans(*table.cells.shape):
        minima = minima_of(table, span)
        totals += torch.stack([_active(minima, tau).sum() for tau in taus]).cpu()
    return totals / len(table.cells)


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
    check_pair(table_t, table_s)
    totals, images = torch.zeros(2, len(taus), dtype=torch.float64)
    for span in spans(len(table_t.cells), max(table_t.cells.shape[1], table_s.cells.shape[1])):
        minima_t, minima_s = minima_of(table_t, span).cpu(), minima_of(table_s, span).cpu()
        for t, tau in enumerate(taus):
            active_t, active_s = _active(minima_t, tau), _active(minima_s, tau)
            shared, union = (active_t & active_s).sum(1).double(), (active_t | active_s).sum(1).double()
            jaccard = torch.where(union > 0, shared / union.clamp(min=1), 1.0 if empty == "one" else 0.0)
            counted = union > 0 if empty == "skip" else union >= 0
            totals[t] += jaccard[counted].sum()
            images[t] += counted.sum()
    return totals / images


def agreement(table_t: ResponseTable, table_s: ResponseTable) -> float:
    """Mean over prototypes j of the fraction of images in which teacher's j and student's j share their cell.

    Raises:
        UserError: The tables differ in images, grid or prototypes.
    """
    check_pair(table_t, table_s, prototypes=True)
    same = (table_t.cells[span].cpu() == table_s.cells[span].cpu() for span in spans(*table_t.cells.shape))
    return sum(int(part.sum()) for part in same) / table_t.cells.numel()


def coincidences(table_t: ResponseTable, table_s: ResponseTable, rows: NDArray[np.int64] | None = None) -> Tensor:
    """Count the images in which teacher prototype i and student prototype j sit on the same cell.

    Compares one image at a time for a block of rows that stays in the processor's cache, and adds up to 255
    images in uint8 before it widens. The time depends on the shapes only, never on how the cells cluster.

    Args:
        rows: Teacher prototypes to count for; default: all.

    Returns:
        (P_t, P_s) int32 counts k_ij on the CPU, or its `rows`.

    Raises:
        UserError: The tables differ in images or grid.
    """
    check_pair(table_t, table_s)
    narrow = np.uint8 if table_t.grid[0] * table_t.grid[1] <= 256 else np.int16
    (images, columns), chosen = table_s.cells.shape, slice(None) if rows is None else rows
    counts = np.zeros((table_t.cells.shape[1] if rows is None else len(rows), columns), np.int32)
    height = max(1, 2**18 // columns)  # a block of 256 KiB, so that two of them fit in a core's L2

    def count(start: int, cells_t: NDArray[np.integer], cells_s: NDArray[np.integer]) -> None:
        block = np.ascontiguousarray(cells_t[:, start : start + height])
        same = np.empty((block.shape[1], columns), bool)
        part = np.empty(same.shape, np.uint8)
        for first in range(0, len(block), 255):
            part[:] = 0
            for n in range(first, min(first + 255, len(block))):
                np.equal(block[n, :, None], cells_s[n], out=same)
                np.add(part, same.view(np.uint8), out=part)
            counts[start : start + height] += part

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy releases the GIL in both calls
        for span in spans(images, columns, multiple=255):
            cells_t = table_t.cells[span].cpu().numpy()[:, chosen].astype(narrow)
            cells_s = table_s.cells[span].cpu().numpy().astype(narrow)
            blocks = range(0, len(counts), height)
            list(pool.map(count, blocks, [cells_t] * len(blocks), [cells_s] * len(blocks)))
    return torch.from_numpy(counts)


def pms(
    table_t: ResponseTable,
    table_s: ResponseTable,
    alphas: Sequence[float] = ALPHAS,
    dense_limit: int = DENSE_LIMIT,
) -> PMS:
    """Prototype matching score: mean over alpha of the mean min(1, k_ij / (alpha N)) over the best matching.

    The matching pairs every teacher prototype i with one student prototype j so that the sum is largest. Equal to
    the coded "modified Jaccard" (as in the released code's evaluation).

    Where the numbers of prototypes differ, every prototype of the smaller set is paired, and the mean is over these
    pairs: min(P_t, P_s) of them. So 1 is still reached, by any part of the teacher's own prototypes, and how many are
    left is told apart from whose they are; over the larger number PMS could not pass their ratio. A small set has many
    partners to choose from, which raises the value by chance alone: read it against `permute_images`, which has the
    same choice. The paper does not say what to do here.

    Args:
        dense_limit: Up to so many prototypes the Hungarian method on all P x P counts; above, a matching that never
            holds them (see `p2p.matching`). Both are exact; where the second gives up, `upper` says how far it may be.

    Raises:
        UserError: The tables differ in images or grid, or an alpha is not in (0, 1].
    """
    if not alphas or not all(0 < alpha <= 1 for alpha in alphas):
        raise UserError(f"PMS got alphas {tuple(alphas)}; give at least one, each above 0 and at most 1.")
    check_pair(table_t, table_s)
    images, p_t, p_s = len(table_t.cells), table_t.cells.shape[1], table_s.cells.shape[1]
    clips, size = [alpha * images for alpha in alphas], max(p_t, p_s)

    def square(rows: NDArray[np.int64]) -> Tensor:
        """Rows of the counts, filled up with prototypes that never coincide: the best matching stays the best."""
        counts = coincidences(table_t, table_s, rows[rows < p_t])
        return counts if p_t == p_s else torch.nn.functional.pad(counts, (0, size - p_s, 0, len(rows) - len(counts)))

    if size <= dense_limit:
        found = match_dense(square(np.arange(size)), clips, images)
    else:
        found = match_sparse(square, size, clips, images)
    pairs = list(zip(found, clips, strict=True))
    values = torch.stack([(match.counts.clamp(max=clip) / clip).sum() / min(p_t, p_s) for match, clip in pairs])
    value = float(values.mean())
    upper = sum(match.upper / clip for match, clip in pairs) / (min(p_t, p_s) * len(clips))
    columns = torch.stack([match.columns[:p_t] for match in found])
    columns = columns.masked_fill(columns >= p_s, -1)
    if not all(match.proven for match in found):
        warnings.warn(f"PMS is not proven to be the best matching: {value:.6f}, at most {upper:.6f}.", stacklevel=2)
        return PMS(value, tuple(alphas), values, columns, upper)
    return PMS(value, tuple(alphas), values, columns, value)


def same_index(table_t: ResponseTable, table_s: ResponseTable) -> float:
    """Share of the teacher's prototypes that the matching of PMS at α = 1 pairs with the prototype of their own number.

    From 0 to 1; two networks that know nothing of each other reach about 1 / P. Other images are no chance level here:
    prototypes that favour the same cells find each other on them, too. Source: this study.

    Raises:
        UserError: As `pms`, or the tables differ in prototypes.
    """
    check_pair(table_t, table_s, prototypes=True)
    partner = pms(table_t, table_s, alphas=(1.0,)).matching[0]
    return float((partner == torch.arange(len(partner))).double().mean())


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
    distribution = bdtr(counts, images, 1 / cells) ** ((2 * prototypes + 1) / 3)
    mass = np.diff(distribution, prepend=0.0)
    return float(np.mean([mass @ np.minimum(1, counts / (alpha * images)) for alpha in alphas]))


def pms_from_agreement(rate: float, alphas: Sequence[float] = ALPHAS) -> float:
    """PMS if every matched pair coincides in a fraction `rate` of images: mean min(1, rate / alpha)."""
    return sum(min(1.0, rate / alpha) for alpha in alphas) / len(alphas)


def _active(minima: Tensor, tau: float) -> Tensor:
    """(N, H*W) bool: active cells at tau; the finite test keeps cells of no prototype out at infinity."""
    return (minima <= tau) & torch.isfinite(minima)


class Metric(NamedTuple):
    """A metric as result files, tables and figures know it; its range, direction and source stand at its function."""

    name: str  # in `metrics.csv`; its values on permuted images and at chance levels are `<name>_permuted` …
    label: str  # of its column
    of: Callable[..., Tensor | float]  # of one table, or of the teacher's and another network's
    over_tau: bool = False  # whether it takes thresholds and gives (T,) values
    options: tuple[str, ...] = ()  # further keywords, set by the evaluation
    shown: bool = True  # has a column in the tables
    numbered: bool = False  # compares prototypes by their number, so both networks need as many
    digits: int = 3  # there


# Add a line here, and the metric has floors, permuted values, a column in every table and rows in every result file.
OF_ONE = (Metric("aap", "AAP", aap, over_tau=True, digits=1),)
OF_TWO = (
    Metric("ajs", "AJS", ajs, over_tau=True, options=("empty",)),
    Metric("pms", "PMS", lambda table_t, table_s: pms(table_t, table_s).value),
    Metric("same_index", "same number", same_index, shown=False, numbered=True),  # in a table of its own, beside R²
    Metric("agreement", "same cell", agreement, shown=False, numbered=True),
)
