"""The figure of merged prototypes: what is left of accuracy and of likeness to the teacher with fewer of them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from p2p.evaluation.sharing_table import by_seed, shares_of
from p2p.figures import style as look
from p2p.figures.style import MARKERS, ROLES, WIDTH, styled

PANELS = (("top-1 accuracy (test)", "top1"), ("PMS to the whole teacher,\ncorrected for chance", "pms_corrected"))


@styled
def sharing_curves(settings: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy and PMS against the share of prototypes left, fewer to the right: a dot a seed, lines through means.

    Args:
        settings: Of each setting, a row of panels, its title and the rows of one triple (`SHARING`).
    """
    figure = Figure(figsize=(WIDTH, 0.7 + 2.7 * len(settings)), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(len(settings), 2, squeeze=False), settings.items(), strict=True):
        shares = [100, *shares_of(rows)]
        for ax, (label, metric) in zip(axes, PANELS, strict=True):
            for k, role in enumerate(MARKERS):
                for stage, dash in (("tuned", "-"), ("merged", ":")):
                    if stage == "merged" and metric != "top1":
                        continue
                    values = [by_seed(rows, role, metric, share, stage) for share in shares]
                    ax.plot(shares, [found.mean() for found in values], dash, color=look.role(role))
                    if dash == "-":
                        at = [share + 1.2 * (k - 1) for share, found in zip(shares, values, strict=True) for _ in found]
                        dots = [value for found in values for value in found]
                        ax.plot(at, dots, MARKERS[role], ms=4.5, alpha=0.6, mew=0, color=look.role(role))
            ax.set(xlabel="prototypes left, %", ylabel=label)
            ax.set_xticks(shares, [str(share) for share in shares])
            ax.invert_xaxis()
        axes[0].set_title(look.short(title, 40), loc="left")
    handles = [Line2D([], [], color=ROLES[role], marker=MARKERS[role], ms=4.5, label=role) for role in MARKERS]
    handles.append(Line2D([], [], color="#555555", linestyle=":", label="before the decision layer is tuned (left)"))
    look.legend(figure, handles)
    return figure
