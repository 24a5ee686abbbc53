"""Agreement and disagreement about parts in pictures, chosen by rule."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from p2p.figures import style as look
from p2p.figures.style import ROLES, styled
from p2p.parts import centres
from p2p.responses import ResponseTable


def agreeing(each: Tensor) -> list[int]:
    """The prototype that transfers best, the one in the middle and the worst; none where all lie on no part.

    Args:
        each: (P,) part transfer of each prototype, nan where the teacher's lies on no part.
    """
    order = [j for j in each.argsort(descending=True, stable=True).tolist() if each[j] == each[j]]
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

    A row has the test images nearest to the prototype, with the teacher's place and the student's.

    Args:
        pixels: (N, 3, S, S) test images.
        tables: Of teacher and student, N images.
        at: Of both (N, P) the part at each place, −1 for none.
        names: Of the parts.
        each: (P,) part transfer of each prototype, nan where the teacher's lies on no part.
        window: Width of the place as a share of the image.
        n: Images a row.
    """
    rows = agreeing(each)
    figure, axes = look.sheet(len(rows) * n, n, 1, lines=2, left=1.0, foot=0.3)
    size = pixels.shape[-1]
    middle = centres(tables[0].grid, size)
    half = torch.tensor([-1.0, -1.0, 1.0, 1.0]) * window * size / 2
    for start, j in enumerate(rows):
        for rank, i in enumerate(tables[0].distances[:, j].argsort(stable=True)[:n].tolist()):
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
        axes[start * n].set_ylabel(f"no. {j}\n{100 * float(each[j]):.0f} %", rotation=0, ha="right", va="center")
    look.legend(figure, [Patch(fc="none", ec=ROLES[role], lw=2, label=role) for role in ("teacher", "student")])
    return figure
