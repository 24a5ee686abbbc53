"""The metrics judged: what each says of a perfect student that was damaged by a known amount, of fewer images, of fewer
prototypes and of a coarser grid.

Everything is computed from the answers that are kept with the results (`p2p.evaluation.kept`), without networks; rows
for `p2p.evaluation.judge`. Source: this study (the paper judges none of its metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf, nan
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from p2p import metrics
from p2p.evaluation.kept import Kept
from p2p.metrics import permute_images
from p2p.responses import ResponseTable, quarter_tau

COLUMNS = ("study", "triple", "seed", "what", "level", "network", "measure", "value", "chance")
PLACE = "audit"  # below the results

Table = ResponseTable
Damage = Callable[[Table, float, torch.Generator], Table]


class Value(NamedTuple):
    """A measure of two networks, and what it is for answers to other images."""

    own: float
    chance: float

    @property
    def corrected(self) -> float:
        """(v − chance) / (1 − chance): 0 at chance, 1 at a student that answers as its teacher."""
        return (self.own - self.chance) / (1 - self.chance) if self.chance < 1 else nan


def measured(teacher: Table, other: Table, tau: float, generator: torch.Generator) -> dict[str, Value]:
    """The measures that need answers alone, each with its chance level.

    Args:
        teacher: (N, P) answers.
        other: (N, P) answers to the same images.
        tau: The teacher's quarter threshold.
        generator: Permutes images for the chance levels.

    Returns:
        "PMS", "same number" (chance 1 / P), "same cell", "AJS, quarter" (at `tau`) and "AJS, τ = ∞".
    """
    shuffled = permute_images(other, generator)
    found, chance = metrics.pms(teacher, other), metrics.pms(teacher, shuffled)
    own_ajs, other_ajs = (metrics.ajs(teacher, table, (tau, inf)).tolist() for table in (other, shuffled))
    own_numbers = torch.arange(other.cells.shape[1])
    return {
        "PMS": Value(found.value, chance.value),
        "same number": Value(float((found.matching[-1] == own_numbers).double().mean()), 1 / len(own_numbers)),
        "same cell": Value(metrics.agreement(teacher, other), metrics.agreement(teacher, shuffled)),
        "AJS, quarter": Value(own_ajs[0], other_ajs[0]),
        "AJS, τ = ∞": Value(own_ajs[1], other_ajs[1]),
    }


def renumbered(table: Table, share: float, generator: torch.Generator) -> Table:
    """That share of the prototypes, drawn at random, exchange their numbers; the places stay as they are."""
    count = table.cells.shape[1]
    some = torch.randperm(count, generator=generator)[: round(share * count)]
    order = torch.arange(count)
    order[some] = some.roll(1)
    return Table(table.cells[:, order], table.distances[:, order], table.grid)


def misplaced(table: Table, share: float, generator: torch.Generator) -> Table:
    """That share of the answers, drawn at random, lies on a cell drawn at random; distances stay."""
    random = torch.randint(table.grid[0] * table.grid[1], table.cells.shape, generator=generator).to(torch.int16)
    wrong = torch.rand(table.cells.shape, generator=generator) < share
    return Table(torch.where(wrong, random, table.cells), table.distances, table.grid)


def moved(table: Table, cells: float, generator: torch.Generator) -> Table:
    """Every answer lies so many cells further right, at the border as far as there are any."""
    column = (table.cells % table.grid[1] + int(cells)).clamp(max=table.grid[1] - 1)
    return Table((table.cells // table.grid[1] * table.grid[1] + column).to(torch.int16), table.distances, table.grid)


def scaled(table: Table, factor: float, generator: torch.Generator) -> Table:
    """Every place stays, every distance is so many times as large, as of a map that is a shrunken copy."""
    return Table(table.cells, table.distances * factor, table.grid)


DAMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "renumbered": (renumbered, (0, 0.1, 0.25, 0.5, 0.75, 1)),
    "misplaced": (misplaced, (0, 0.1, 0.25, 0.5, 0.75, 1)),
    "moved": (moved, (0, 1, 2, 3)),
    "scaled": (scaled, (0.25, 0.5, 0.71, 1, 1.41, 2, 4)),
}
IMAGES = (25, 50, 100, 200, 400)
PROTOTYPES = (0.25, 0.5, 1.0, 2.0)
COARSER = (1, 2, 4)


def fewer_prototypes(table: Table, share: float) -> Table:
    """Evenly spaced prototypes, that share of all; of 2 each stands twice."""
    count = table.cells.shape[1]
    chosen = torch.linspace(0, count - 1, max(1, round(share * count))).round().long()
    return Table(table.cells[:, chosen], table.distances[:, chosen], table.grid)


def coarser(table: Table, factor: int) -> Table:
    """The answers on a grid of cells `factor` times as wide and high: a prototype's nearest cell is the coarse one that
    its own lies in, at the same distance."""
    height, width = (-(-side // factor) for side in table.grid)
    row, column = table.cells // table.grid[1] // factor, table.cells % table.grid[1] // factor
    return Table((row * width + column).to(torch.int16), table.distances, (height, width))


def some_images(table: Table, chosen: Tensor) -> Table:
    """The answers to some images."""
    return Table(table.cells[chosen], table.distances[chosen], table.grid)


def rows_of(teacher: Kept, others: dict[str, Kept], seed: int) -> Iterator[tuple[str, float, str, str, float, float]]:
    """what, level, network, measure, value, chance: of one teacher and seed.

    Args:
        teacher: Its answers.
        others: Of "student" and "baseline", to the same images.
        seed: Of damage, drawn images and permutations.
    """
    own, tau = teacher.table, quarter_tau(teacher.table)
    for what, (damage, levels) in DAMAGES.items():
        for level in levels:
            generator = torch.Generator().manual_seed(seed)
            found = measured(own, damage(own, level, generator), tau, generator)
            yield from ((what, level, "teacher", name, *value) for name, value in found.items())
    count = len(own.cells)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    thinned: dict[str, list[tuple[float, Callable[[Table], Table]]]] = {
        "images": [(n, partial(some_images, chosen=order[:n])) for n in (*IMAGES, count) if n <= count],
        "prototypes": [(share, partial(fewer_prototypes, share=share)) for share in PROTOTYPES],
        "coarser": [(factor, partial(coarser, factor=factor)) for factor in COARSER if 2 * factor <= min(own.grid)],
    }
    for what, cases in thinned.items():
        for level, of in cases:
            for network, kept in others.items():
                reference = of(own)
                generator = torch.Generator().manual_seed(seed)
                found = measured(reference, of(kept.table), quarter_tau(reference), generator)
                yield from ((what, float(level), network, name, *value) for name, value in found.items())


def seeds_needed(differences: Sequence[float] | np.ndarray, most: int = 99) -> int | None:
    """The number of seeds at which a 95 % interval of the mean difference would exclude 0, were mean and spread those
    of the seeds at hand; None beyond `most`, or where the mean is not above 0.

    Args:
        differences: (n,) one a seed, at least two.
    """
    mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    for n in range(2, most + 1):
        if mean > stats.t.ppf(0.975, n - 1) * spread / n**0.5:
            return n
    return None
