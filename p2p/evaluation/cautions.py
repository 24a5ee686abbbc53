"""What a reader has to be told before any number is believed: one plain sentence each, empty where all is well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from scipy.stats import binomtest
from torch import Tensor

from p2p.study.pages import listed

SURE = 0.01  # a border as crowded as this would come about by chance less often
LITTLE = 0.1  # of R²: a student below it has taken over next to nothing


class Score(NamedTuple):
    """How often a network is right on test images."""

    right: int
    total: int

    @property
    def share(self) -> float:
        return self.right / self.total

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        found = binomtest(self.right, self.total).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)


def guessing(labels: Tensor, classes: int) -> float:
    """What naming one class for every image would reach: 1/K, or the share of the largest class; labels (N,)."""
    return max(1 / classes, labels.bincount(minlength=classes).max().item() / len(labels))


def at_chance(scores: Mapping[str, Score], chance: float) -> str:
    """Networks whose interval reaches down to what guessing gives.

    Args:
        scores: Of each network, by its role.
        chance: See `guessing`.
    """
    found = [role for role, score in scores.items() if score.interval()[0] <= chance]
    if not found:
        return ""
    told = listed([f"{role} ({scores[role].right} of {scores[role].total} right)" for role in found])
    are = "is" if len(found) == 1 else "are"
    return (
        f"The {told} {are} not shown to be better than guessing ({100 * chance:.0f} %), so what "
        f"{'it gives' if len(found) == 1 else 'they give'} as reasons may mean nothing."
    )


def at_border(cells: Mapping[str, Tensor], grid: tuple[int, int]) -> str:
    """Networks whose prototypes lie in the outermost cells more often than cells at random would.

    Args:
        cells: (P,) source cells of each network's prototypes, by its role.
        grid: (H, W). Up to 2 × 2 cells all are outermost, and nothing can be told.
    """
    (height, width), found = grid, []
    outer = 1 - max(0, height - 2) * max(0, width - 2) / (height * width)
    for role, each in cells.items():
        row, column = each // width, each % width
        at = int(((row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)).sum())
        if outer < 1 and binomtest(at, len(each), outer, alternative="greater").pvalue < SURE:
            found.append((role, f"{role} ({at} of {len(each)})"))
    if not found:
        return ""
    return (
        f"Prototypes of the {listed([told for _, told in found])} crowd at the border of the images, where "
        f"{100 * outer:.0f} % of the cells lie: they may show background instead of the object."
    )


def not_followed(r2: float | None) -> str:
    """Whether a student has taken over next to nothing of its teacher's add-on map; r2 None: not measured."""
    if r2 is None or r2 >= LITTLE:
        return ""
    told = "no more than a constant would" if r2 <= 0 else f"{100 * r2:.0f} % of what varies in them"
    value = "not above 0" if r2 <= 0 else f"{r2:.2f}"
    return (
        f"The student has hardly followed its teacher: of the teacher's features it reproduces {told} (R² {value}), so "
        "next to nothing was handed over."
    )
