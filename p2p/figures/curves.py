"""Figure of deletion and preservation: what a network still says, against the share of cells that is hidden or kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from p2p.evaluation.settings import Setting
from p2p.figures import style as look
from p2p.figures.style import MARKERS, ROLES, WIDTH, styled

GREY = "#7F7F7F"  # of the random order; to be seen on a light and on a dark page
PANELS = {  # curve: its title and axis; of accuracy "…_top1"
    "deletion": ("deletion", "cells hidden"),
    "preservation": ("preservation", "cells kept"),
    "deletion_top1": ("deletion", "cells hidden"),
    "preservation_top1": ("preservation", "cells kept"),
}


@styled
def hiding(settings: Sequence[Setting]) -> Figure:
    """Deletion and preservation of teacher, baseline and student, a row a setting: mean and band of all seeds.

    On the left the probability of the class that a network decided for, on the right its accuracy; dotted, student and
    baseline where the teacher's explanation ranks the cells; dashed, a random order, mean over the three.

    Args:
        settings: Evaluated with these curves.
    """
    figure = Figure(figsize=(WIDTH, 2.4 * len(settings) + 0.3), layout="constrained")
    axes = figure.subplots(len(settings), len(PANELS), sharex=True, sharey=True, squeeze=False)
    for row, setting in zip(axes, settings, strict=True):
        rows = {role: setting.frame[setting.frame["role"] == role] for role in MARKERS}
        rows = {
            role: of[of["variant"] == (setting.variant if role == "student" else "paper")] for role, of in rows.items()
        }
        for ax, (name, (title, parameter)) in zip(row, PANELS.items(), strict=True):
            kind = name.removeprefix(title)
            _draw(ax, pd.concat(rows.values()), f"random_order{kind}", title == "preservation", color=GREY, ls="--")
            for role, marker in MARKERS.items():
                _draw(ax, rows[role], name, color=ROLES[role], marker=marker, ms=3.5)
                if not kind:
                    _draw(ax, rows[role], f"{name}_teacher", color=ROLES[role], ls=":", lw=2, zorder=3)
            ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], xlabel=parameter)
            ax.set_title(f"{title},\n{'accuracy' if kind else 'probability'}", loc="left")
        row[0].set_ylabel(look.short(setting.title, 22, 2))
    handles = [Line2D([], [], color=ROLES[role], marker=mark, ms=4, label=role) for role, mark in MARKERS.items()]
    handles.append(Line2D([], [], color=GREY, ls=":", lw=2, label="cells by the teacher"))
    handles.append(Line2D([], [], color=GREY, ls="--", label="random order"))
    look.legend(figure, handles)
    return figure


def _draw(ax: Axes, frame: pd.DataFrame, name: str, turned: bool = False, **how: Any) -> None:
    """The curve `<name>_over_share`: mean over the rows of a share; with markers, a band from lowest to highest.

    Args:
        turned: From the other end: against the share that is kept, not that which is hidden.
        how: Of the line.
    """
    rows = frame[frame["metric"] == f"{name}_over_share"].astype({"tau": float})
    if rows.empty:  # the teacher has no teacher
        return
    spread = rows.groupby("tau")["value"].agg(["mean", "min", "max"])
    shares = 1 - spread.index if turned else spread.index
    ax.plot(shares, spread["mean"], **how)
    if "marker" in how:
        ax.fill_between(shares, spread["min"], spread["max"], color=how["color"], alpha=0.15, linewidth=0)
