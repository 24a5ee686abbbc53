"""Agreement and disagreement about parts in pictures, chosen by rule."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from p2p.figures import style as look
from p2p.figures.style import ROLES, styled
from p2p.parts import centres, nearest_images
from p2p.responses import ResponseTable

FEW = 6  # images: a share of fewer says little


def on_a_part(at: Tensor, distances: Tensor, share: float = 0.1) -> list[list[int]]:
    """For each prototype the images that its part transfer counts, nearest first: of the nearest those where it lies on
    a part.

    Args:
        at: (N, P) the part at each place of the teacher, −1 for none.
        distances: (N, P) of the teacher.
        share: Of the images that count as nearest, as in `p2p.parts.part_transfer`.
    """
    chosen = nearest_images(distances, ceil(share * len(at) - 1e-9))
    return [[i for i in chosen[:, j].tolist() if at[i, j] >= 0] for j in range(at.shape[1])]


def agreeing(each: Tensor, counted: Sequence[Sequence[int]]) -> list[int]:
    """The prototype that transfers best, the one in the middle and the worst; none where all lie on no part.

    Args:
        each: (P,) part transfer of each prototype, nan where the teacher's lies on no part.
        counted: Of each the images that it counts; those with fewer than `FEW` are left out where others have more.
    """
    known = [j for j in each.argsort(descending=True, stable=True).tolist() if each[j] == each[j]]
    order = [j for j in known if len(counted[j]) >= FEW] or known
    return list(dict.fromkeys([order[0], order[(len(order) - 1) // 2], order[-1]])) if order else []


@styled
def agreements(
    pixels: Tensor,
    tables: Sequence[ResponseTable],
    at: Sequence[Tensor],
    names: Sequence[str],
    each: Tensor,
    window: float,
    n: int = 6,
) -> Figure:
    """The teacher's prototype that transfers best, the one in the middle and the worst, a row each.

    A row has test images nearest to the prototype, of those where it lies on a part, with the teacher's place and the
    student's.

    Args:
        pixels: (N, 3, S, S) test images.
        tables: Of teacher and student, N images.
        at: Of both (N, P) the part at each place, −1 for none.
        names: Of the parts.
        each: (P,) part transfer of each prototype, nan where the teacher's lies on no part.
        window: Width of the place as a share of the image.
        n: Images a row.
    """
    counted = on_a_part(at[0], tables[0].distances)
    rows = agreeing(each, counted)
    figure, axes = look.sheet(len(rows) * n, n, 1, lines=2, left=1.0, foot=0.3)
    size = pixels.shape[-1]
    middle = centres(tables[0].grid, size)
    half = torch.tensor([-1.0, -1.0, 1.0, 1.0]) * window * size / 2
    for start, j in enumerate(rows):
        for rank, i in enumerate(counted[j][:n]):
            ax = axes[start * n + rank]
            parts = [names[int(of[i, j])] if of[i, j] >= 0 else "no part" for of in at]
            look.strip(ax, [look.array(pixels[i])], "")
            ax.set_title(" | ".join(parts), fontsize=8, pad=3)
            for table, role in zip(tables, ("teacher", "student"), strict=True):
                box = (middle[int(table.cells[i, j])].repeat(2) + half).clamp(0, size)
                box = (
                    box if role == "teacher" else box - half.sign() * 0.03 * size
                )  # so that one does not hide the other
                look.box(ax, box, ROLES[role])
        share = f"no. {j}\n{100 * float(each[j]):.0f} %\nof {len(counted[j])}"
        axes[start * n].set_ylabel(share, rotation=0, ha="right", va="center")
    look.legend(figure, [Patch(fc="none", ec=ROLES[role], lw=2, label=role) for role in ("teacher", "student")])
    return figure
