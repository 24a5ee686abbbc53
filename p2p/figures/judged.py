"""Figures of the metrics judged: what known damage does to each, and what fewer images do."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from p2p.evaluation.judgement import KINDS, MAP_KINDS, ORDER
from p2p.figures import style as look
from p2p.figures.style import WIDTH, styled

COLOURS = dict(zip((*ORDER, "R²"), ("#0072B2", "#CC79A7", "#009E73", "#D55E00", "#E69F00", "#333333"), strict=True))
SHAPES = dict(zip(COLOURS, ("o", "D", "^", "s", "v", "P"), strict=True))
STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
SHARES = ("misplaced", "renumbered")  # of which the truth is known: what is left is what was not damaged


@styled
def damage(rows: pd.DataFrame) -> Figure:
    """What is left of each measure above chance, 1 for the undamaged network, against the damage; a panel a kind.

    Args:
        rows: As `p2p.evaluation.judgement.read_judged` gives them; a line style a setting, mean over seeds.
    """
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    titles = list(rows["title"].unique())
    for ax, (kind, label) in zip(figure.subplots(2, 2, sharey=True).flat, KINDS.items(), strict=True):
        if kind in SHARES:
            ax.plot([0, 1], [1, 0], color="#999999", linewidth=5, alpha=0.4, zorder=0)
        for i, title in enumerate(titles):
            part = rows[(rows["title"] == title) & (rows["what"] == kind)]
            means = part.groupby(["measure", "level"])["corrected"].mean()
            for measure in ORDER:
                line = means[measure]
                mark: dict[str, Any] = {"marker": SHAPES[measure], "ms": 4.5, "mew": 0}
                ax.plot(line.index, line, STYLES[i % len(STYLES)], color=COLOURS[measure], linewidth=1.4, **mark)
        ax.set(xlabel=label, ylim=(-0.08, 1.08))
        ax.axhline(0, color="#555555", linewidth=0.8, zorder=0)
        if kind in SHARES:
            ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        if kind == "moved":
            ax.set_xticks(sorted(rows.loc[rows["what"] == kind, "level"].unique()))
        if kind == "scaled":
            ax.set_xscale("log", base=2)
            ax.set_xticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "1", "2", "4"])
    figure.supylabel("left above chance (1: as its teacher, 0: chance)", fontsize="medium")
    handles = [Line2D([], [], color=COLOURS[m], marker=SHAPES[m], ms=5, mew=0, label=m) for m in ORDER]
    handles += [
        Line2D([], [], color="#555555", linestyle=STYLES[i % len(STYLES)], label=look.short(title, 30))
        for i, title in enumerate(titles)
    ]
    handles.append(Line2D([], [], color="#999999", linewidth=5, alpha=0.4, label="the truth"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


@styled
def maps(rows: pd.DataFrame) -> Figure:
    """What is left of each measure, and of R², of a network whose map is damaged; a panel a kind of damage.

    Args:
        rows: As `p2p.evaluation.judgement.read_judged` gives them, of one packed teacher.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    for ax, (kind, label) in zip(figure.subplots(1, 2, sharey=True), MAP_KINDS.items(), strict=True):
        means = rows[rows["what"] == kind].groupby(["measure", "level"])["corrected"].mean()
        for measure, colour in COLOURS.items():
            line = means[measure]
            ax.plot(line.index, line, marker=SHAPES[measure], ms=4.5, mew=0, color=colour, linewidth=1.4, label=measure)
        ax.set(xlabel=label, ylim=(-0.08, 1.08))  # R² of a map that is noise alone is −1
        ax.axhline(0, color="#555555", linewidth=0.8, zorder=0)
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    figure.supylabel("left above chance", fontsize="medium")
    figure.legend(handles=figure.axes[0].lines[:6], loc="outside lower center", ncols=3)
    return figure


@styled
def fewer(rows: pd.DataFrame) -> Figure:
    """Each measure of student (full) and baseline (hollow) against the number of test images; a row a setting.

    Left as it is, right corrected for chance.

    Args:
        rows: As `p2p.evaluation.judgement.read_judged` gives them; mean over seeds.
    """
    rows = rows[rows["what"] == "images"]
    titles = list(rows["title"].unique())
    figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * len(titles)), layout="constrained")
    for axes, title in zip(figure.subplots(len(titles), 2, sharey=True, squeeze=False), titles, strict=True):
        for ax, column, label in zip(axes, ("value", "corrected"), ("as it is", "corrected for chance"), strict=True):
            means = rows[rows["title"] == title].groupby(["network", "measure", "level"])[column].mean()
            for measure in ORDER:
                mark: dict[str, Any] = {
                    "color": COLOURS[measure],
                    "marker": SHAPES[measure],
                    "ms": 4.5,
                    "linewidth": 1.4,
                }
                ax.plot(means["student", measure].index, means["student", measure], mew=0, **mark)
                hollow: dict[str, Any] = {"markerfacecolor": "white", "linestyle": "--"}
                ax.plot(means["baseline", measure].index, means["baseline", measure], **mark, **hollow)
            levels = list(means["student", ORDER[0]].index)
            ax.set_xscale("log")
            ax.set_xticks(levels, [f"{level:.0f}" for level in levels], fontsize="small")
            ax.minorticks_off()
            ax.set(xlabel="test images", ylim=(-0.08, 1.03))
            ax.set_title(f"{look.short(title, 30)}: {label}", loc="left")
    handles = [Line2D([], [], color=COLOURS[m], marker=SHAPES[m], ms=5, mew=0, label=m) for m in ORDER]
    handles.append(Line2D([], [], color="#555555", marker="o", ms=5, mew=0, label="student"))
    handles.append(Line2D([], [], color="#555555", marker="o", ms=5, mfc="white", linestyle="--", label="baseline"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure
