"""An explanation drawn: the image, the prototypes that count most with their source patches, bars that add up."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor, tensor

from p2p.evaluation.explanation import Explanation, number
from p2p.figures import style as look
from p2p.figures.style import WIDTH, styled


@styled
def evidence(explanations: list[Explanation]) -> Figure:
    """A block a network: the image with numbered cells; each prototype's source image above the image with its heat;
    below, what it adds to the logit.

    Args:
        explanations: Of one image by one or several networks, each with k prototypes.
    """
    k = max(len(one.evidence) for one in explanations)
    side, bars = WIDTH / (k + 2.1), 0.55 + 0.21 * (k + 3)
    head = 0.85 + 0.17 * max(len(one.on_one_cell()) for one in explanations)
    figure = Figure(figsize=(WIDTH, len(explanations) * (2 * side + head + 0.15 + bars)), layout="constrained")
    parts = figure.subfigures(len(explanations), 1, squeeze=False)[:, 0]
    for part, one in zip(parts, explanations, strict=True):
        above, below = part.subfigures(2, 1, height_ratios=[2 * side + head, bars])
        _pictures(above, one, int(12.5 * side))
        _waterfall(below.subplots(), one)
    return figure


def _pictures(part: SubFigure, one: Explanation, letters: int) -> None:
    k, size, image, colour = len(one.evidence), one.image.shape[-1], look.array(one.image), look.role(one.role)
    grid = part.add_gridspec(2, k + 2, width_ratios=[1] * (k + 2))
    whole = part.add_subplot(grid[:, :2])
    look.strip(whole, [image])
    ((name, logit, probability), *_) = one.best(1)
    title = f"{one.role}\n{look.short(name, 2 * letters)}\nlogit {number(logit)}, {100 * probability:.0f} %"
    whole.set_title(title, color=colour, weight="bold", loc="left")
    told = dict(enumerate(one.evidence, 1))
    whole.set_xlabel("\n".join(["cells numbered by\ncontribution", *on_one_cell(one)]))
    look.numbered(whole, {rank: cell_box(each.cell, one.grid, size) for rank, each in told.items()}, colour)
    for rank, each in told.items():
        here = cell_box(each.cell, one.grid, size)
        above, below = part.add_subplot(grid[0, rank + 1]), part.add_subplot(grid[1, rank + 1])
        title = f"{rank}: no. {each.prototype}\n{look.short(one.owner(each, True), letters, 2)}"
        look.strip(above, [look.array(each.source)], title)
        look.box(above, cell_box(each.source_cell, one.grid, size), colour)
        look.strip(below, [look.heat(image, each.similarities)])
        look.box(below, here, colour)
        below.set_xlabel(f"{each.similarity:.2f} × {number(each.weight, digits=3)}\n= {number(each.contribution)}")


def _waterfall(ax: Axes, one: Explanation) -> None:
    """Each bar begins where the one above it ends; the last is the logit."""
    steps = [*one.steps(), ("logit", 0.0, one.logit)]
    for y, (label, start, end) in enumerate(steps):
        last = label == "logit"
        colour = "#767676" if last else look.role(one.role) if end >= start else look.SHARED
        ax.barh(y, end - start, left=start, color=colour, height=0.7)
        if y + 1 < len(steps):
            ax.plot([end, end], [y - 0.35, y + 1.35], color="#999999", linewidth=0.8)
        text = number(end - start, "" if last else "+")
        ax.annotate(text, (max(start, end), y), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(steps)), [label for label, *_ in steps])
    ax.set(ylim=(len(steps) - 0.5, -0.5), xlabel=f"adds up to the logit of {look.short(one.best(1)[0][0], 40)}")
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.1)


def on_one_cell(one: Explanation) -> list[str]:
    """A line for each cell that several of the numbers share, to stand below the image."""
    return [f"{', '.join(map(str, numbers))}: the same cell" for numbers in one.on_one_cell()]


def cell_box(cell: tuple[int, int], grid: tuple[int, int], size: int) -> Tensor:
    """(4,) x0, y0, x1, y1 in pixels of a cell (row, column) of an image of side `size`."""
    (row, column), (height, width) = cell, grid
    return tensor([column / width, row / height, (column + 1) / width, (row + 1) / height]) * size
