"""Which part of the bird a prototype means: measures of response tables against the truth about parts.

Truth comes as points (CUB, drawn birds: the middle of each part) or as masks to the pixel (drawn birds). A
prototype's place is the middle of its nearest cell; where a published measure takes the maximum of an upsampled map,
this is coarser by at most half a cell. All functions are pure and vectorised; what is random in an evaluation (noise,
order) is drawn outside, by seed. Letters: N images, P prototypes, Q parts, C = H·W cells, K classes; −1 stands for no
part.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, nan
from typing import NamedTuple

import torch
from torch import Tensor, nn

from p2p.errors import UserError

COVERED = 0.25  # of a cell's pixels: so many must be seen, for a place to show a part known to the pixel
NOISE = 0.2  # standard deviation, in units of a normalised image; no pixel moves by more than MOST_NOISE
MOST_NOISE = 0.25
DEVIATION = 0.226  # of ImageNet's pixels in [0, 1], mean of the three channels: the unit of a normalised image

# ------------------------------------------------------------------------------------------------- truth about parts


def merged_sides(names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Which parts are one part seen from two sides ("left wing", "right wing"), as PIP-Net's code merges them.

    Returns:
        (Q,) int64: the number of each part's group, in the order of their first part; and the names of the groups.
    """
    plain = [" ".join(word for word in name.split() if word not in ("left", "right")) for name in names]
    groups = list(dict.fromkeys(plain))
    return torch.tensor([groups.index(name) for name in plain], dtype=torch.int64), groups


def centres(grid: tuple[int, int], size: int) -> Tensor:
    """(C, 2) x, y of the middle of each cell, in pixels of a square image of that size."""
    rows, columns = (((torch.arange(cells) + 0.5) * (size / cells)) for cells in grid)
    return torch.stack([columns.repeat(grid[0]), rows.repeat_interleave(grid[1])], 1)


def inside(points: Tensor, grid: tuple[int, int], size: int, window: float) -> Tensor:
    """Which parts lie in a square window around the middle of each cell.

    Args:
        points: (N, Q, 3) x, y in pixels, visible.
        grid: (H, W).
        size: Of the images, pixels.
        window: Width of the window as a share of the image.

    Returns:
        (N, C, Q) bool; a part that is not visible lies in none.
    """
    middle, half = centres(grid, size).to(points.device), window * size / 2
    near = torch.ones(len(points), len(middle), points.shape[1], dtype=torch.bool, device=points.device)
    for axis in (0, 1):
        near &= (points[:, None, :, axis] - middle[None, :, None, axis]).abs() <= half + 1e-6
    return near & (points[:, None, :, 2] > 0)


def part_at(
    points: Tensor, grid: tuple[int, int], size: int, windows: Sequence[float], masks: Tensor | None = None
) -> list[Tensor]:
    """The part each cell shows: of those in a window around its middle that of most pixels, or the nearest point.

    Args:
        points, grid, size: As for `inside`.
        windows: Widths as shares of the image.
        masks: (N, S, S) uint8, q + 1 where part q is seen. Then the part with most pixels in the window counts, if
            parts have at least a quarter of a cell's pixels there (`COVERED`); else the nearest visible point.

    Returns:
        (N, C) int16 part for each window, −1 where there is none.
    """
    if masks is None:
        away = (points[:, None, :, :2] - centres(grid, size).to(points.device)[None, :, None]).square().sum(3)
        nearest = [away.masked_fill(~inside(points, grid, size, w), torch.inf).min(2) for w in windows]
        return [found.indices.masked_fill(found.values.isinf(), -1).to(torch.int16) for found in nearest]
    least, numbers = COVERED * size**2 / (grid[0] * grid[1]), range(1, points.shape[1] + 1)
    sums = [
        (masks == q).to(torch.int32).cumsum(1).cumsum(2) for q in numbers
    ]  # pixels above and left, so any window is
    whole = nn.functional.pad(torch.stack(sums, 1), (1, 0, 1, 0))  # four of them; (N, Q, S + 1, S + 1)
    found = []
    for window in windows:
        half = window * size / 2
        (top, bottom), (left, right) = (
            ((middle - half).round().clamp(min=0).long(), (middle + half).round().clamp(max=size).long())
            for middle in ((torch.arange(cells, device=masks.device) + 0.5) * (size / cells) for cells in grid)
        )
        rows = whole[:, :, bottom] - whole[:, :, top]  # (N, Q, H, S + 1)
        pixels = (rows[..., right] - rows[..., left]).flatten(2)  # (N, Q, C)
        found.append(pixels.argmax(1).masked_fill(pixels.sum(1) < least - 1e-6, -1).to(torch.int16))
    return found


def own_pairs(labels: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Every image with each prototype of its own class.

    Args:
        labels: (N,).
        own: (K, P) bool.

    Returns:
        images (M,) and prototypes (M,).
    """
    images, prototypes = own[labels].nonzero().T
    return images, prototypes


# ------------------------------------------------------------------------------------------------ published measures


def consistency(
    near: Tensor, visible: Tensor, cells: Tensor, pairs: tuple[Tensor, Tensor], thresholds: Sequence[float] = (0.8,)
) -> Tensor:
    """Share of prototypes that meet one part in at least `threshold` of the images of their class that show it.

    From 0 to 1, higher is better; it is the network's own, no teacher is asked. Chance: the same answers to other
    images of the test set. Source: Huang et al., ICCV 2023 ("Evaluation and Improvement of Interpretability for
    Self-Explainable Part-Prototype Networks"): window 72 of 224 pixels, threshold 0.8.

    Args:
        near: (N, C, Q) bool, see `inside`.
        visible: (N, Q) bool.
        cells: (N, P) of the network's response table.
        pairs: See `own_pairs`.
        thresholds: T of them.

    Returns:
        (T,) float64; prototypes of classes without an image are left out.
    """
    images, prototypes = pairs
    met = near[images, cells[images, prototypes].long()].double()  # (M, Q)
    count = torch.zeros(cells.shape[1], met.shape[1], dtype=torch.float64)
    often, shown = count.index_add(0, prototypes, met), count.index_add(0, prototypes, visible[images].double())
    best = (often / shown.clamp(min=1)).max(1).values[prototypes.unique()]
    return torch.stack([(best >= threshold - 1e-9).double().mean() for threshold in thresholds])


def stability(near: Tensor, cells: Tensor, noisy: Tensor, pairs: tuple[Tensor, Tensor]) -> float:
    """How often a prototype meets exactly the same parts of an image of its class after noise was added to the image.

    From 0 to 1, higher is better; the network's own. It cannot tell a prototype that holds on to a part from one that
    always sits on the background: read it beside consistency. Chance: noisy answers to other images. Source: Huang et
    al., ICCV 2023; σ = 0.2 of a normalised image, cut at 0.25 as in the released code.

    Args:
        near: (N, C, Q) bool, see `inside`.
        cells: (N, P).
        noisy: (N, P) cells of the same network and images, with noise.
        pairs: See `own_pairs`.
    """
    images, prototypes = pairs
    clean, moved = (near[images, found[images, prototypes].long()] for found in (cells, noisy))
    same = (clean == moved).all(1).double()
    return _mean_by(prototypes, same, cells.shape[1])


def purity(near: Tensor, visible: Tensor, cells: Tensor, distances: Tensor, top: int = 10) -> float:
    """Share of the images nearest to a prototype in which it meets one and the same part, its best.

    From 0 to 1, higher is better; the network's own. Images that do not show that part do not count, as in PIP-Net's
    code. Chance: the same answers to other images; it is far above 0, since the best of Q parts is taken. Source:
    Nauta et al., CVPR 2023 (PIP-Net) and "The Co-12 Recipe" (2023): windows of 32 of 224 pixels, the ten nearest
    images; there training images are searched, here test images.

    Args:
        near: (N, C, Q) bool, see `inside`.
        visible: (N, Q) bool.
        cells: (N, P).
        distances: (N, P).
        top: Nearest images that are looked at.
    """
    chosen = nearest_images(distances, top)  # (k, P)
    met = near[chosen, cells.gather(0, chosen).long()].double().sum(0)  # (P, Q)
    return float((met / visible[chosen].double().sum(0).clamp(min=1)).max(1).values.mean())


# --------------------------------------------------------------------------------------------- teacher and student


class Agreement(NamedTuple):
    """An agreement of prototypes: the mean, what prototypes exchanged at random reach, and that of each prototype."""

    value: float
    chance: float
    each: Tensor  # (P,) float64, nan where it has none


def part_transfer(
    at_t: Tensor, at_s: Tensor, distances_t: Tensor, share: float = 0.1, group: Tensor | None = None
) -> Agreement:
    """Where the teacher's prototype fires on a part: how often the student's fires on the same part of the same image.

    Looked at are the images to which the teacher's prototype is nearest, so many of all; of them those in which it
    lies on a part. Mean over prototypes, from 0 to 1; 1 is the teacher itself, if it ever lies on a part. `chance` is
    the exact mean over students whose prototypes are exchanged at random; where all prototypes love one part it is
    high, and rightly so. Permuted images are another level: what the two prototypes' habits give, without a look at
    the image. Source: this study.

    Args:
        at_t, at_s: (N, P) part at each prototype's nearest cell, −1 for none, of teacher and student; column j of one
            is compared with column j of the other.
        distances_t: (N, P) of the teacher.
        share: Of the images, above 0 and at most 1.
        group: (P,) such as the class of each column: prototypes are exchanged within it; default: all with all.

    Raises:
        UserError: A share outside that range, or unequal shapes.
    """
    if not 0 < share <= 1 or at_t.shape != at_s.shape:
        raise UserError(
            f"Part transfer got share {share} and tables {tuple(at_t.shape)} and {tuple(at_s.shape)}; the share must "
            "be above 0 and at most 1, the tables of one shape."
        )
    chosen = nearest_images(distances_t, ceil(share * len(at_t) - 1e-9))
    mine, theirs = at_t.gather(0, chosen), at_s.gather(0, chosen)
    on = mine >= 0
    count = on.sum(0).double()
    each = torch.where(count > 0, ((mine == theirs) & on).sum(0) / count.clamp(min=1), nan)
    # The mean over pairs of prototypes factorises into sums over images and parts, so no (P, P) table is needed.
    many = int(max(at_t.max(), at_s.max(), torch.zeros(()))) + 1
    weight, total, whole = torch.where(on, 1 / count.clamp(min=1), 0.0), 0.0, int((count > 0).sum())
    for members in _groups(group, at_t.shape[1]):
        wanted = torch.zeros(len(at_t), many, dtype=torch.float64)
        place = (chosen[:, members].flatten(), mine[:, members].clamp(min=0).long().flatten())
        wanted.index_put_(place, weight[:, members].flatten(), accumulate=True)
        offered = torch.stack([(at_s[:, members] == part).double().mean(1) for part in range(many)], 1)
        total += float((wanted * offered).sum())
    return Agreement(_mean(each), total / whole if whole else nan, each)


def same_images(distances_t: Tensor, distances_s: Tensor, share: float = 0.1, group: Tensor | None = None) -> Agreement:
    """Of the images nearest to the teacher's prototype: the share that are among the student's nearest, too.

    From 0 to 1; 1 is the teacher itself. `chance` is the exact mean over exchanged prototypes. Permuted images give
    `share`. Source: this study.

    Args:
        distances_t, distances_s: (N, P), column j compared with column j.
        share: Of the images, above 0 and at most 1.
        group: As for `part_transfer`.
    """
    count = ceil(share * len(distances_t) - 1e-9)
    member = [
        torch.zeros(distances.shape, dtype=torch.bool).scatter_(0, nearest_images(distances, count), True)
        for distances in (distances_t, distances_s)
    ]
    each = (member[0] & member[1]).sum(0).double() / count
    return Agreement(_mean(each), _exchanged(member[0] / count, member[1].double(), group), each)


def intervention_agreement(change_t: Tensor, change_s: Tensor, group: Tensor | None = None) -> Agreement:
    """Whether teacher and student change a prototype's similarity alike when parts are removed or exchanged.

    The Pearson correlation of both changes over images and interventions, mean over prototypes: from −1 to 1; 1 is
    the teacher itself, and any student whose changes are in proportion. `chance` is the exact mean over exchanged
    prototypes. Prototypes whose similarity no intervention changes are left out. Source: this study.

    Args:
        change_t, change_s: (M, P) similarity after less before, M images and interventions; column j compared with
            column j.
        group: As for `part_transfer`.
    """
    units, moving = [], []
    for change in (change_t.double(), change_s.double()):
        centred = change - change.mean(0)
        length = centred.norm(dim=0)
        moving.append(length > 1e-9)
        units.append(centred / length.clamp(min=1e-9))
    each = torch.where(moving[0] & moving[1], (units[0] * units[1]).sum(0), nan)
    return Agreement(_mean(each), _exchanged(units[0], units[1], group), each)


def decision_agreement(before_t: Tensor, after_t: Tensor, before_s: Tensor, after_s: Tensor) -> float:
    """Of the interventions that change either network's decision: the share after which both have changed to one class.

    From 0 to 1; 1 is the teacher itself; nan where no decision changes. Chance: the student asked about other images.
    Source: this study.

    Args:
        before_t, before_s: (N,) class that teacher and student decide for.
        after_t, after_s: (I, N) the same after each of I interventions.
    """
    change_t, change_s = after_t != before_t, after_s != before_s
    either = change_t | change_s
    return float((change_t & change_s & (after_t == after_s))[either].double().mean()) if either.any() else nan


def pointing(at: Tensor, falls: Tensor) -> float:
    """Of the prototypes that lie on a part: the share whose similarity falls most when that very part is removed.

    From 0 to 1, higher is better; the network's own: whether the place that a person is shown is what counted.
    Chance: the places of other images. Source: this study, after the pointing game (Zhang et al., ECCV 2016).

    Args:
        at: (N, P) part at each prototype's nearest cell, −1 for none.
        falls: (Q, N, P) similarity before less after removing each part.

    Returns:
        nan where no prototype lies on a part. Where no removal lowers the similarity, the place did not count.
    """
    most = falls.max(0)
    right = (most.indices == at) & (most.values > 0)
    on = at >= 0
    return float(right[on].double().mean()) if on.any() else nan


# ------------------------------------------------------------------------------------------------------------ helpers


def nearest_images(distances: Tensor, count: int) -> Tensor:
    """(k, P) int64 images nearest to each prototype, nearest first; of equal ones the first; k = min(count, N)."""
    return distances.sort(dim=0, stable=True).indices[: max(1, count)]


def _groups(group: Tensor | None, count: int) -> list[Tensor]:
    """The members of each group; of None, of one group of so many."""
    return [torch.arange(count)] if group is None else [(group == g).nonzero()[:, 0] for g in group.unique()]


def _exchanged(first: Tensor, second: Tensor, group: Tensor | None) -> float:
    """Mean over columns i of the mean over the columns j of its group of Σ_m first[m, i] second[m, j]."""
    total = sum(
        float(first[:, members].sum(1).double() @ second[:, members].sum(1).double()) / len(members)
        for members in _groups(group, first.shape[1])
    )
    return total / first.shape[1]


def _mean(each: Tensor) -> float:
    return float(each[~each.isnan()].mean()) if bool((~each.isnan()).any()) else nan


def _mean_by(group: Tensor, values: Tensor, groups: int) -> float:
    """Mean over groups of their mean."""
    sums = torch.zeros(groups, dtype=torch.float64).index_add(0, group, values)
    counts = torch.zeros(groups, dtype=torch.float64).index_add(0, group, torch.ones_like(values))
    return float((sums / counts)[counts > 0].mean())
