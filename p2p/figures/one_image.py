"""The picture of the book's first page: one test image as teacher, baseline and student see it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from p2p.evaluation.explanation import Explanation
from p2p.figures import style as look
from p2p.figures.evidence import cell_box
from p2p.figures.style import PHONE, WIDTH, Pixels, styled

INK = "#7A7A7A"  # read on white and on black alike: the figure has no ground of its own
GAP = 0.16  # inches between patches


@styled
def one_image(explanations: Sequence[Explanation], compact: bool, label: int | None = None) -> Figure:
    """A row a network: the image with the heat of its deciding prototypes, their source patches, and each one's share
    of all that speaks for the class, as a number and as a bar (a share of the logit would mean nothing where that is
    near or below zero, as it often is: prototypes of other classes take away).

    The heat is the sum of their similarities, each times its weight in the decision layer. A source patch is the framed
    cell of a training image, amid the quarter of that image around it.

    Args:
        explanations: Of one image; usually of teacher, baseline and student.
        compact: For a phone (two prototypes, 390 px wide) instead of a page (three, 768 px).
        label: The image's class, to say whether the network is right; None: not said.
    """
    count = min(2 if compact else 3, *(len(one.evidence) for one in explanations))
    width, big, small = (PHONE, 1.45, 0.9) if compact else (WIDTH, 1.75, 1.25)
    left, head = (0.12, 0.45) if compact else (1.7, 0.06)
    high = head + big + 0.12
    figure = Figure(figsize=(width, high * len(explanations)))
    for row, one in enumerate(explanations):
        foot = high * (len(explanations) - 1 - row) + 0.06  # of this row, from the figure's lower edge

        def axes(x: float, y: float, side: float, foot: float = foot) -> Axes:
            ax = figure.add_axes((x / width, (foot + y) / _height(figure), side / width, side / _height(figure)))
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            return ax

        colour, size = look.role(one.role), one.image.shape[-1]
        top = (foot + big + (0.32 if compact else -0.1)) / _height(figure)
        bar = Rectangle((0, foot / _height(figure)), 0.05 / width, (high - 0.16) / _height(figure), color=colour, lw=0)
        bar.set_transform(figure.transFigure)
        figure.add_artist(bar)
        for n, (text, weight) in enumerate(_words(one, label, compact)):
            at = (0.12 / width, top - n * 0.2 / _height(figure))
            figure.text(*at, text, color=INK, weight=weight, fontsize=10 if weight == "bold" else 9.5, va="center")
        whole = axes(left, 0, big)
        look.strip(whole, [look.heat(look.array(one.image), _heat(one, count))])
        told = dict(enumerate(one.evidence[:count], 1))
        look.numbered(whole, {rank: cell_box(each.cell, one.grid, size) for rank, each in told.items()}, colour)
        for rank, each in told.items():
            patch = axes(left + big + 2 * GAP + (rank - 1) * (small + GAP), big - small, small)
            picture, box = around(each.source, each.source_cell, one.grid)
            look.strip(patch, [picture])
            look.box(patch, torch.from_numpy(box), colour)
            share = one.share(each.contribution)
            text = f"{rank}: {100 * share:.0f} %{'' if compact or rank > 1 else ' of evidence'}"
            patch.text(0, -0.16, text, color=INK, fontsize=9.5, transform=patch.transAxes, va="center")
            for part, ink in ((1.0, "#BBBBBB"), (share, colour)):
                bar = Rectangle((0, -0.32), part, 0.06, color=ink, lw=0, transform=patch.transAxes, clip_on=False)
                patch.add_patch(bar)
    return figure


def _height(figure: Figure) -> float:
    return float(figure.get_figheight())


def _words(one: Explanation, label: int | None, compact: bool) -> list[tuple[str, str]]:
    """Lines and their weight: who, what it takes the image for."""
    right = "" if label is None else " (right)" if one.predicted == label else " (wrong)"
    name, _, probability = one.best(1)[0]
    if compact:
        return [(one.role, "bold"), (f"{look.short(name, 26)}{right}, {100 * probability:.0f} %", "normal")]
    lines = look.short(name, 22, 2).split("\n")
    more = f"{100 * probability:.0f} % sure{right}"
    return [(one.role, "bold"), *((line, "normal") for line in lines), (more, "normal")]


def _heat(one: Explanation, count: int) -> torch.Tensor:
    """(H, W): what the first prototypes would add to the logit at every cell."""
    return torch.stack([each.weight * each.similarities for each in one.evidence[:count]]).sum(0)


def around(image: Tensor, cell: tuple[int, int], grid: tuple[int, int]) -> tuple[Pixels, np.ndarray]:
    """The quarter of an image (3, S, S) around a cell, and the cell's box (4,) in its pixels."""
    whole = look.array(image)
    size = whole.shape[0]
    box, half = cell_box(cell, grid, size).numpy(), size // 2
    middle = (box[:2] + box[2:]) / 2
    corner = np.clip((middle - half / 2).round(), 0, size - half).astype(int)  # x, y
    x, y = corner
    return whole[y : y + half, x : x + half], box - np.tile(corner, 2)
