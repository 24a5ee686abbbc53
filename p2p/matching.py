"""The best one-to-one matching of teacher and student prototypes: the mechanics behind PMS.

A matching is best if the sum of min(k_ij, clip) over its pairs is largest; k_ij counts the images in which teacher
prototype i and student prototype j coincide, one clip for each alpha.

`match_dense` holds all P x P counts and uses the Hungarian method. `match_sparse` never holds them. It needs a *price*
v_j for every student prototype. Whatever the prices, no matching is worth more than

    upper = sum_i max_j (min(k_ij, clip) - v_j) + sum_j v_j,

one pass over blocks of rows. A pass also collects, for every row and column, the few pairs that come nearest to these
maxima; the best matching among the pairs collected so far is found exactly, and its prices serve the next pass. When
the matching is worth as much as the bound, it is the best of all, though most pairs were never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

DENSE_LIMIT = (
    4000  # prototypes; above, the P x P counts and their copies fill memory and the Hungarian method takes long
)
CANDIDATES = 8  # pairs that a pass collects for each row and each column, and for each clip
SAMPLE = 512  # rows from which the first prices are estimated
ROUNDS = 40  # passes at most
BLOCK = 2**21  # entries of a block of rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CountRows = Callable[[Ints], Tensor]  # rows i -> (len(rows), P) int32 counts k_ij


@dataclass(frozen=True)
class Matching:
    """One matching and how good any could be."""

    columns: Tensor  # (P,) int64, the student prototype matched with each teacher prototype
    counts: Tensor  # (P,) float64, k_ij of these pairs
    upper: float  # no matching has a larger sum of min(k_ij, clip)
    proven: bool  # this one has the largest


def match_dense(counts: Tensor, clips: Sequence[float], images: int) -> list[Matching]:
    """The best matching for every clip, by the Hungarian method.

    Args:
        counts: (P, P) k_ij.
        clips: Counts above it are worth no more.
        images: N.
    """
    counts = counts.double()
    most, every = float(counts.max()), torch.arange(len(counts))
    found: dict[float, tuple[Tensor, Tensor]] = {}
    for clip in (min(clip, most) for clip in clips):
        if clip not in found:  # no count is clipped above the largest: one matching for all such clips
            levelled = level(counts.clamp(max=clip), images)
            columns = torch.from_numpy(linear_sum_assignment(levelled.numpy(), maximize=True)[1]).long()
            found[clip] = (columns, counts[every, columns])
    pairs = [(*found[min(clip, most)], clip) for clip in clips]
    return [Matching(columns, own, float(own.clamp(max=clip).sum()), True) for columns, own, clip in pairs]


def level(values: Tensor, images: int) -> Tensor:
    """Add to each row and each column of (P, P) float64 a whole number that raises the best matching.

    Such numbers change every matching's sum alike, so the best stays the best. Near the optimum of the dual
    problem, found by entropy smoothing, they spare the Hungarian method most of its search where prototypes crowd
    on few cells (3 s, not 35 s). Whole numbers keep ties exact, without which it is slow.
    """
    row, column = smooth_prices(values, images, 1.0)
    return values - row.double().round()[:, None] - column.double().round()


def smooth_prices(values: Tensor, images: int, share: float) -> tuple[Tensor, Tensor]:
    """Prices of rows (R,) and columns (P,) for values (R, P), near the optimum of the dual problem (Sinkhorn).

    Args:
        values: In counts.
        images: N, the scale of the smoothing.
        share: Columns a row may take, P / R: a sample of rows stands for all.
    """
    smooth = values.float()
    row, column = -smooth.amax(1), torch.zeros(smooth.shape[1])
    for halving in range(10):
        width = 0.1 * images * 0.5**halving
        kernel = ((smooth + row[:, None] + column) / width).exp_()
        a, b = torch.ones_like(row), torch.ones_like(column)
        for _ in range(10):
            a = share / (kernel @ b).clamp_(min=1e-30)
            b = 1 / (a @ kernel).clamp_(min=1e-30)
        row, column = row + width * a.log(), column + width * b.log()
    return -row, -column


# ------------------------------------------------------------------------------------------- without the P x P counts


@dataclass
class _Problem:
    """One clip: its prices, the best matching so far, and both bounds of the sum."""

    clip: float
    prices: Floats  # (P,) v_j
    sparse: Floats  # (P,) max over collected pairs j of min(k_ij, clip) - v_j
    columns: Ints  # (P,)
    rows: Floats = field(default_factory=lambda: np.zeros(0))  # (P,) the same maximum over all pairs
    lower: float = -inf
    upper: float = inf

    @property
    def proven(self) -> bool:
        """The bounds meet: they are nearer than two different sums of whole numbers and the clip can be."""
        share = Fraction(self.clip).limit_denominator(1000)
        step = 1 / share.denominator if abs(share - Fraction(self.clip)) < 1e-9 else 0.0
        return self.upper - self.lower < max(0.5 * step, 1e-9 * max(self.upper, 1.0))


@dataclass
class _Pairs:
    """Collected pairs, sorted by row: the edges of a sparse graph."""

    keys: Ints  # (E,) i * P + j, increasing
    counts: Ints  # (E,) k_ij
    size: int  # P

    def add(self, keys: list[Ints], counts: list[Ints]) -> None:
        self.keys, first = np.unique(np.concatenate([self.keys, *keys]), return_index=True)
        self.counts = np.concatenate([self.counts, *counts])[first]

    def of(self, columns: Ints) -> Ints:
        """(P,) counts of a matching."""
        return self.counts[np.searchsorted(self.keys, np.arange(self.size) * self.size + columns)]


def match_sparse(
    count_rows: CountRows,
    size: int,
    clips: Sequence[float],
    images: int,
    candidates: int = CANDIDATES,
    rounds: int = ROUNDS,
    block: int = BLOCK,
) -> list[Matching]:
    """The best matching for every clip, in memory O(P candidates + block): column generation with a certificate.

    Args:
        count_rows: Counts of some rows; it is asked for every row once a round.
        size: P.
        clips: Counts above it are worth no more. All share the passes and the collected pairs.
        images: N.
        candidates: Pairs collected a round for each row, each column and each clip.
        rounds: Passes at most. Where they do not suffice, `proven` is false and `upper` says what may be missing.
        block: Entries of a block of rows.
    """
    every, generator = np.arange(size), np.random.default_rng(0)
    problems: dict[float, _Problem] = {}
    drawn = min(size, SAMPLE, max(32, 8 * block // size))
    sample = count_rows(np.sort(generator.choice(size, drawn, replace=False)))
    most = float(sample.max())
    first: dict[float, Floats] = {}
    for clip in clips:
        if min(clip, most) not in first:
            _, prices = smooth_prices(sample.clamp(max=min(clip, most)), images, size / len(sample))
            first[min(clip, most)] = prices.double().round().numpy()
        problems[clip] = _Problem(clip, first[min(clip, most)], np.full(size, -inf), every)
    del sample
    pairs, most = _Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), size), float(images)
    for turn in range(rounds):
        asked = _open(problems, most)
        for problem in asked:
            problem.rows = np.empty(size)
        new_keys, new_counts, most = _pass(count_rows, asked, size, candidates, max(1, block // size), turn)
        for problem in asked:
            problem.upper = min(problem.upper, float(problem.rows.sum() + problem.prices.sum()))
        pairs.add(new_keys, new_counts)
        for problem in _open(problems, most):
            _solve(problem, pairs)
        if not _open(problems, most):
            break
    return [_result(problems, clip, most, pairs) for clip in clips]


def _open(problems: dict[float, _Problem], most: float) -> list[_Problem]:
    """Problems not proven yet; clips above the largest count are the same problem, of which one is enough."""
    clips = [clip for clip in problems if clip < most] + [clip for clip in problems if clip >= most][:1]
    return [problems[clip] for clip in clips if not problems[clip].proven]


def _result(problems: dict[float, _Problem], clip: float, most: float, pairs: _Pairs) -> Matching:
    problem = problems[clip if clip < most else next(other for other in problems if other >= most)]
    counts = torch.from_numpy(pairs.of(problem.columns)).double()
    own = float(counts.clamp(max=clip).sum())
    upper = own if problem.proven else problem.upper
    return Matching(torch.from_numpy(problem.columns), counts, upper, problem.proven)


def _pass(
    count_rows: CountRows, problems: list[_Problem], size: int, candidates: int, height: int, turn: int
) -> tuple[list[Ints], list[Ints], float]:
    """Ask for all rows once: fill `rows` of every problem, collect pairs, and find the largest count.

    Where many pairs are equally good, a random number below one chooses, so that rows do not all choose the same.
    In the first round the diagonal is collected too, so that there always is a matching.
    """
    generator = torch.Generator().manual_seed(turn)
    noise = torch.rand(2 * size, generator=generator, dtype=torch.float64) * 0.5
    keys, counts, largest, few = list[Ints](), list[Ints](), 0.0, min(candidates, size)
    shift = torch.randperm(size, generator=generator).numpy()
    buffers = torch.empty(2, min(height, size), size, dtype=torch.float64)  # fresh memory costs more than the sums
    best: dict[float, Tensor] = {}  # clip: (3, few, P) values, rows and counts of the best pairs of every column
    for start in range(0, size, height):
        part = np.arange(start, min(start + height, size))
        block, here = count_rows(part), torch.from_numpy(part)
        largest = max(largest, float(block.max()))
        gain, chance = buffers[0, : len(part)], buffers[1, : len(part)]  # (b, P)
        torch.stack([noise[at : at + size] for at in shift[part]], out=chance)

        def collect(i: Tensor, j: Tensor, k: Tensor) -> None:
            keys.append((i * size + j).flatten().numpy())
            counts.append(k.flatten().long().numpy())

        if turn == 0:
            collect(here, here, block.gather(1, here[:, None]))
        for problem in problems:
            gain.copy_(block).clamp_(max=problem.clip).sub_(torch.from_numpy(problem.prices))
            rows = gain.amax(1)
            problem.rows[part] = rows.numpy()
            gain -= rows[:, None]
            gain += chance
            wanting = torch.from_numpy(problem.rows[part] > problem.sparse[part] + 1e-6)  # a better pair is missing
            j = (gain if wanting.all() else gain[wanting]).topk(few, 1, sorted=False).indices
            i = wanting.nonzero().expand_as(j)
            collect(here[i], j, block[i, j])
            value, i = gain.max(0)
            new = torch.stack((value, here[i].double(), block.gather(0, i[None])[0].double()))[:, None]
            if problem.clip in best:
                new = torch.cat((best[problem.clip], new), 1)
                chosen = new[0].topk(min(few, new.shape[1]), 0, sorted=False).indices
                new = new.gather(1, chosen.expand(3, -1, -1))
            best[problem.clip] = new
    for _, i, k in best.values():
        collect(i.long(), torch.arange(size).expand_as(i), k)
    return keys, counts, largest


def _solve(problem: _Problem, pairs: _Pairs) -> None:
    """The best matching among the collected pairs and, if it is not proven to be the best of all, its prices."""
    row, column = np.divmod(pairs.keys, pairs.size)
    edges = np.concatenate([[0], np.bincount(row, minlength=pairs.size).cumsum()])
    values = np.minimum(pairs.counts, problem.clip).astype(np.float64)
    levelled = values - problem.prices.round()[column] - problem.rows.round()[row]
    cost = levelled.max() + 1 - levelled  # a cost of zero would be no edge
    graph = csr_array((cost, column.astype(np.int32), edges.astype(np.int32)), shape=(pairs.size, pairs.size))
    problem.columns = min_weight_full_bipartite_matching(graph)[1].astype(np.int64)
    own = np.minimum(pairs.of(problem.columns), problem.clip).astype(np.float64)
    problem.lower = float(own.sum())
    if problem.proven:
        return
    # Prices v are those of the matching where v_j >= v_m(i) + value_ij - own_i for every pair. Of all such prices the
    # mean of the least above and the largest below the old ones changes them little, so few rounds are needed.
    source, gap = problem.columns[row], values - own[row]
    above = _relax(problem.prices, source, column, gap)
    below = -_relax(-problem.prices, column, source, gap)
    problem.prices = (above + below) / 2
    problem.sparse = np.maximum.reduceat(values - problem.prices[column], edges[:-1])


def _relax(prices: Floats, source: Ints, target: Ints, gap: Floats, sweeps: int = 5000) -> Floats:
    """The least prices at or above `prices` with v_target >= v_source + gap on every edge (Bellman-Ford).

    `sweeps` ends it where rounding makes a circle of gaps positive; such prices are worse, never wrong.
    """
    order = np.argsort(target, kind="stable")
    source, target, gap = source[order], target[order], gap[order]
    starts = np.flatnonzero(np.diff(target, prepend=-1))
    nodes, prices = target[starts], prices.copy()
    for _ in range(sweeps):
        raised = np.maximum(prices[nodes], np.maximum.reduceat(prices[source] + gap, starts))
        if (raised - prices[nodes]).max() < 1e-7:
            break
        prices[nodes] = raised
    return prices
