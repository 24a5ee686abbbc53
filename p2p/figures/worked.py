"""The metrics, and the loss PPC, on an example small enough to count by hand: made-up answers of two networks."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from p2p import losses, metrics
from p2p.figures import style as look
from p2p.figures.style import ROLES, SHARED, WIDTH, styled
from p2p.networks import Output
from p2p.responses import ResponseTable

GRID = 5
FOLLOWS = (0.9, 0.9, 0.8, 0.7, 0.5, 0.4, 0.2, 0.1)  # share of images in which a student prototype sits where it should
# Of numbers on cells, whose ground is light in the dark, too: colours that book/build.py does not turn light there.
ON_CELL, FAINT = "#101010", "#757575"
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}
SWAPPED = (0, 1, 3, 2, 4, 5, 6, 7)  # two prototypes have changed their numbers


class Example(NamedTuple):
    """Made-up answers of a teacher and a student with eight prototypes."""

    teacher: ResponseTable
    student: ResponseTable


def example(images: int = 10, seed: int = 222) -> Example:
    """Cells at random, the student's those of the teacher in a share `FOLLOWS` of the images; distances in [0, 1).

    With this seed the best matching at α = 0.1 is not that at α = 1, and one of its pairs never agrees.
    """
    generator = torch.Generator().manual_seed(seed)
    size = (images, len(FOLLOWS))
    cells = torch.randint(GRID**2, size, generator=generator)
    other = torch.randint(GRID**2, size, generator=generator)
    follows = torch.rand(size, generator=generator) < torch.tensor(FOLLOWS)
    student = torch.where(follows, cells[:, list(SWAPPED)], other)
    near = [torch.rand(size, generator=generator) for _ in range(2)]
    teacher_table, student_table = (
        ResponseTable(table.to(torch.int16), distances, (GRID, GRID))
        for table, distances in zip((cells, student), near, strict=True)
    )
    return Example(teacher_table, student_table)


@styled
def active_cells(image: Tensor, example: Example, n: int = 0, tau: float = float("inf")) -> Figure:
    """One image three times: the teacher's active patches, the student's, and both with what they share.

    Args:
        image: (3, S, S) uint8.
        example: The answers.
        n: Which of its images.
        tau: The threshold.
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    size = image.shape[-1] / GRID
    chosen = [
        {int(cell) for cell, d in zip(table.cells[n], table.distances[n], strict=True) if d <= tau} for table in example
    ]
    for ax, role in zip(figure.subplots(1, 3), ("teacher", "student", "both"), strict=True):
        _under_grid(ax, image)
        if role == "both":
            for cell in chosen[0] | chosen[1]:
                shared = cell in chosen[0] and cell in chosen[1]
                colour = SHARED if shared else ROLES["teacher" if cell in chosen[0] else "student"]
                _cell(ax, cell, size, colour, 0.75 if shared else 0.35)
            both, either = len(chosen[0] & chosen[1]), len(chosen[0] | chosen[1])
            ax.set_title(f"{both} of {either} cells are shared: {both / max(either, 1):.2f}")
            continue
        table, active = (example.teacher, chosen[0]) if role == "teacher" else (example.student, chosen[1])
        for cell in active:
            _cell(ax, cell, size, ROLES[role], 0.35)
            inside = [
                str(j)
                for j in range(len(FOLLOWS))
                if int(table.cells[n, j]) == cell and float(table.distances[n, j]) <= tau
            ]
            ax.text((cell % GRID + 0.5) * size, (cell // GRID + 0.5) * size, " ".join(inside), color=ON_CELL, **CENTRED)
        ax.set_title(f"{role}: {len(active)} active patches")
    return figure


def maps(example: Example, n: int = 0, seed: int = 0) -> tuple[Output, Output]:
    """The answers of student and teacher to one image as `p2p.losses` reads them, with made-up features of depth 1.

    The squared distance of the two features is a whole number, 0 to 9, in every cell.

    Args:
        example: The answers.
        n: Which of its images.
        seed: Of the distances.
    """
    errors = torch.randint(10, (1, 1, GRID, GRID), generator=torch.Generator().manual_seed(seed)).float()

    def output(table: ResponseTable, z: Tensor) -> Output:
        none = torch.empty(0)
        return Output(none, table.distances[n : n + 1], table.cells[n : n + 1].long(), z, none, none)

    return output(example.student, errors.sqrt()), output(example.teacher, torch.zeros_like(errors))


@styled
def pulled_cells(image: Tensor, example: Example, n: int = 0) -> Figure:
    """What PPC compares: the teacher's active patches, and how far the student's features are from the teacher's there.

    Args:
        image: (3, S, S) uint8.
        example: The answers.
        n: Which of its images.
    """
    student, teacher = maps(example, n)
    active = losses.active_mask(student, teacher)[0].tolist()
    errors = (student.z - teacher.z).square().sum(1).flatten().round().int().tolist()
    figure = Figure(figsize=(2 * WIDTH / 3, 3.1), layout="constrained")
    size = image.shape[-1] / GRID
    for ax, role in zip(figure.subplots(1, 2), ("teacher", "student"), strict=True):
        _under_grid(ax, image)
        for cell, counts in enumerate(active):
            if counts:
                _cell(ax, cell, size, ROLES[role], 0.35)
            inside = [str(j) for j, own in enumerate(example.teacher.cells[n].tolist()) if own == cell]
            words = " ".join(inside) if role == "teacher" else str(errors[cell])
            how: dict[str, Any] = {"color": ON_CELL, "weight": "bold"} if counts else {"color": FAINT}
            ax.text((cell % GRID + 0.5) * size, (cell // GRID + 0.5) * size, words, **CENTRED, **how)
        told = f"{sum(active)} active patches" if role == "teacher" else "pulled there, free elsewhere"
        ax.set_title(f"{role}: {told}")
    return figure


def _under_grid(ax: Axes, image: Tensor) -> None:
    size = image.shape[-1] / GRID
    ax.set_facecolor("white")
    ax.imshow(look.array(image), alpha=0.45)
    for edge in range(1, GRID):
        ax.axvline(edge * size - 0.5, color="white", linewidth=1)
        ax.axhline(edge * size - 0.5, color="white", linewidth=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _cell(ax: Axes, cell: int, size: float, colour: str, opaque: float) -> None:
    corner = (cell % GRID * size - 0.5, cell // GRID * size - 0.5)
    ax.add_patch(Rectangle(corner, size, size, facecolor=colour, alpha=opaque, edgecolor=colour, linewidth=1.5))


@styled
def count_matrix(example: Example) -> Figure:
    """In how many images teacher prototype i and student prototype j share a cell; framed: the best matching at α = 1,
    dashed: where that at the smallest α differs."""
    counts = metrics.coincidences(*example).numpy()
    first, *_, last = metrics.pms(*example).matching.tolist()
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=counts.max() * 1.3, interpolation="nearest")
    for i in range(len(counts)):
        for j in range(len(counts)):
            ax.text(j, i, f"{counts[i, j]:.0f}", **CENTRED, color=ON_CELL if counts[i, j] else FAINT)
        ax.add_patch(Rectangle((last[i] - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=SHARED, linewidth=2.2))
        if first[i] != last[i]:
            how: dict[str, Any] = {"linestyle": "--", "edgecolor": ON_CELL, "linewidth": 1.6}
            ax.add_patch(Rectangle((first[i] - 0.46, i - 0.46), 0.92, 0.92, fill=False, **how))
    ax.set_xticks(range(len(counts)))
    ax.set_yticks(range(len(counts)))
    ax.set(xlabel="prototype of the student", ylabel="prototype of the teacher")
    ax.tick_params(length=0)
    return figure
