"""AAP, AJS and PMS by Python sets, from their definitions; a cell is an integer, a response (image, cell) another.

The cost is linear in images (AAP, AJS) and in pairs of prototypes (PMS), so a part is timed and multiplied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Cells = NDArray[np.int64]  # (N, P)
Distances = NDArray[np.float32]  # (N, P)
Responses = list[set[int]]  # for each prototype, n · cells + cell of every image n


def active(cells: list[int], distances: list[float], tau: float) -> set[int]:
    """The cells of one image that are some prototype's nearest, at a distance of at most τ."""
    return {cell for cell, distance in zip(cells, distances, strict=True) if distance <= tau}


def aap(cells: Cells, distances: Distances, taus: Sequence[float]) -> list[float]:
    """Mean number of active cells, for each τ."""
    totals = [0] * len(taus)
    for row, near in zip(cells.tolist(), distances.tolist(), strict=True):
        for t, tau in enumerate(taus):
            totals[t] += len(active(row, near, tau))
    return [total / len(cells) for total in totals]


def ajs(teacher: tuple[Cells, Distances], student: tuple[Cells, Distances], taus: Sequence[float]) -> list[float]:
    """Mean Jaccard similarity of active cells, for each τ; two empty sets count 0."""
    totals = [0.0] * len(taus)
    rows = zip(*(part.tolist() for part in (*teacher, *student)), strict=True)
    for cells_t, near_t, cells_s, near_s in rows:
        for t, tau in enumerate(taus):
            a, b = active(cells_t, near_t, tau), active(cells_s, near_s, tau)
            totals[t] += len(a & b) / len(a | b) if a | b else 0.0
    return [total / len(teacher[0]) for total in totals]


def responses(cells: Cells, grid: int) -> Responses:
    """For each prototype the set of its responses."""
    return [set((np.arange(len(cells)) * grid + column).tolist()) for column in cells.T]


def pair_similarities(
    teacher: Responses, student: Responses, pairs: Iterable[tuple[int, int]], images: int, alphas: Sequence[float]
) -> list[list[float]]:
    """Modified Jaccard similarity |A ∩ B| / min(|A ∪ B|, αN), at most 1, of each pair and α."""
    values = []
    for i, j in pairs:
        shared, union = len(teacher[i] & student[j]), len(teacher[i] | student[j])
        values.append([min(1.0, shared / min(union, alpha * images)) for alpha in alphas])
    return values


def match(similarities: NDArray[np.float64]) -> float:
    """PMS from the similarities (A, P, P): for each α the best matching, then the mean."""
    means = []
    for similarity in similarities:
        rows, columns = linear_sum_assignment(1 - similarity)
        means.append(similarity[rows, columns].mean())
    return float(np.mean(means))
