"""The idea in pictures: this looks like that, what the two losses pull, what PMS counts; of real answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import Tensor

from p2p.evaluation.explanation import Explanation, number
from p2p.evaluation.idea import Idea
from p2p.figures import style as look
from p2p.figures.evidence import cell_box
from p2p.figures.one_image import INK, around
from p2p.figures.style import SHARED, WIDTH, styled

SHOWN = 3  # prototypes, those that count most


@styled
def this_like_that(said: Explanation) -> Figure:
    """A test image, and for each deciding prototype the patch of the image above the training patch that it is."""
    figure = Figure(figsize=(WIDTH, 3.75))
    side, colour, image = 1.45, look.role(said.role), look.array(said.image)
    whole = _axes(figure, 0.05, 0.75, 2.5)
    look.strip(whole, [image])
    name, _, probability = said.best(1)[0]
    figure.text(0.05 / WIDTH, 3.45 / 3.75, f"Why {name}?", color=INK, weight="bold", va="center")
    figure.text(0.05 / WIDTH, 0.55 / 3.75, f"{100 * probability:.0f} % sure", color=INK, va="center")
    for rank, one in enumerate(said.evidence[:SHOWN], 1):
        look.box(whole, cell_box(one.cell, said.grid, image.shape[0]), colour, str(rank))
        left = 3.1 + (rank - 1) * (side + 0.2)
        for foot, source, cell in ((2.1, said.image, one.cell), (0.4, one.source, one.source_cell)):
            ax = _axes(figure, left, foot, side)
            picture, box = around(source, cell, said.grid)
            look.strip(ax, [picture])
            look.box(ax, torch.from_numpy(box), colour, str(rank) if foot > 1 else "")
        middle = (left + side / 2) / WIDTH
        told = f"{one.similarity:.2f} × {number(one.weight, digits=3)} = {number(one.contribution)}"
        figure.text(middle, 0.2 / 3.75, told, color=INK, ha="center", va="center")
        figure.text(middle, 3.65 / 3.75, f"rank {rank}: no. {one.prototype}", color=INK, ha="center", va="center")
        figure.text(middle, 1.97 / 3.75, "looks like", color=INK, ha="center", va="center")
    for foot, text in ((2.1 + side / 2, "this"), (0.4 + side / 2, "that, from\ntraining")):
        figure.text(2.65 / WIDTH, foot / 3.75, text, color=INK, rotation=90, ha="left", va="center", ma="center")
    return figure


@styled
def pulls(idea: Idea) -> Figure:
    """What the losses tie together: vectors on the teacher's active patches (PPC), and prototypes (Global)."""
    figure = Figure(figsize=(WIDTH, 3.1))
    teacher, student = (idea.told[role] for role in ("teacher", "student"))
    size, grid = teacher.image.shape[-1], teacher.grid
    active = idea.cells["teacher"][idea.chosen].unique().tolist()
    maps = []
    for left, said in ((0.05, student), (2.45, teacher)):
        ax = _axes(figure, left, 0.55, 2.0)
        ax.imshow(look.array(said.image), extent=(0, size, size, 0), alpha=0.55)
        for cell in active:
            _tint(ax, cell_box(divmod(cell, grid[1]), grid, size), look.role(said.role))
        _frame_of(ax, size)
        _title(figure, left, f"{said.role}'s map", look.role(said.role))
        maps.append(ax)
    lines = sorted({cell // grid[1] for cell in active})
    for line in lines[:: max(1, len(lines) // SHOWN)][:SHOWN]:  # an arrow a row, so that none hides another
        cell = divmod(next(cell for cell in active if cell // grid[1] == line), grid[1])
        x0, y0, x1, y1 = cell_box(cell, grid, size).tolist()
        _arrow(figure, maps, ((x0 + x1) / 2, (y0 + y1) / 2), ((x0 + x1) / 2, (y0 + y1) / 2))
    told = f"on the {len(active)} cells nearest to at least one teacher prototype"
    _below(figure, 2.25, f"PPC pulls the student's vectors to the teacher's,\n{told}")
    for row, one in enumerate(teacher.evidence[:SHOWN]):
        foot = 0.55 + (SHOWN - 1 - row) * 0.69
        own = next((each for each in student.evidence if each.prototype == one.prototype), None)
        pair = []
        for left, each in ((5.3, own), (6.95, one)):
            if each is None:
                continue
            ax = _axes(figure, left, foot, 0.62)
            picture, box = around(each.source, each.source_cell, grid)
            look.strip(ax, [picture])
            look.box(ax, torch.from_numpy(box), look.role("student" if left < 6 else "teacher"))
            pair.append(ax)
        side = size // 2
        if len(pair) > 1:
            _arrow(figure, pair, (1.08 * side, side / 2), (-0.08 * side, side / 2))
        figure.text(5.22 / WIDTH, (foot + 0.31) / 3.1, f"no. {one.prototype}", color=INK, ha="right", va="center")
    _title(figure, 5.3, "student's", look.role("student"))
    _title(figure, 6.95, "teacher's", look.role("teacher"))
    _below(figure, 6.4, "Global pulls each prototype to\nthe teacher's of its number")
    return figure


@styled
def same_places(idea: Idea, role: str, prototype: int, count: int = 8) -> Figure:
    """Where a prototype of the teacher, and another network's of the same number, sit in the first test birds."""
    columns = 4
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, rows * 2.1), layout="constrained")
    said = idea.told["teacher"]
    size, grid = said.image.shape[-1], said.grid
    for n, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        shared = bool(idea.shared(role)[n, prototype])
        look.strip(ax, [look.array(idea.birds[n])])
        for name in (role,) if shared else ("teacher", role):
            cell = divmod(int(idea.cells[name][n, prototype]), grid[1])
            look.box(ax, cell_box(cell, grid, size), SHARED if shared else look.role(name))
        ax.set_title("same cell" if shared else "different cells", color=SHARED if shared else INK, pad=3)
    return figure


def _axes(figure: Figure, left: float, foot: float, side: float) -> Axes:
    """Square axes by inches from the figure's lower left corner."""
    width, height = figure.get_size_inches()
    ax = figure.add_axes((left / width, foot / height, side / width, side / height))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _frame_of(ax: Axes, size: int) -> None:
    ax.set(xlim=(0, size), ylim=(size, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _tint(ax: Axes, box: Tensor, colour: str) -> None:
    x0, y0, x1, y1 = box.tolist()
    ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=colour, alpha=0.4, edgecolor="white", linewidth=0.8))


def _arrow(figure: Figure, pair: Sequence[Axes], start: tuple[float, float], end: tuple[float, float]) -> None:
    """From a point of one axes to a point of another."""
    how = ConnectionPatch(start, end, pair[0].transData, pair[1].transData, arrowstyle="-|>", mutation_scale=13)
    how.set(linewidth=1.8, color=SHARED)
    figure.add_artist(how)


def _title(figure: Figure, left: float, text: str, colour: str) -> None:
    height = figure.get_figheight()
    figure.text(left / WIDTH, (height - 0.3) / height, text, color=colour, weight="bold", va="center")


def _below(figure: Figure, middle: float, text: str) -> None:
    figure.text(middle / WIDTH, 0.25 / figure.get_figheight(), text, color=INK, ha="center", va="center")
