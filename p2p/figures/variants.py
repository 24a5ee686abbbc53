"""How a student answers to the weights of its losses, and what its PPC loss compares while it learns."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from p2p.evaluation.variants import HEADS, RESPONSES
from p2p.figures import style as look
from p2p.figures.style import LOSSES, WIDTH, styled

SHAPES = ("o", "s", "^", "D")
LABELS = {"r2": "R² of the add-on map", "pms": "PMS, corrected for chance", "top1": "top-1 accuracy (test)"}


@styled
def weight_curves(rows: Mapping[str, pd.DataFrame], alone: Mapping[str, Mapping[str, float]]) -> Figure:
    """R², PMS and top-1 against the weight λ of one loss: a dot a seed, a line through their means.

    λ is logarithmic; where a student lacks the loss, its dot stands left of the smallest weight, at 0.

    Args:
        rows: Of each setting, a row of panels, its title and what `p2p.evaluation.variants.responses` gives.
        alone: Of each setting what the network reaches that was trained alone, by metric; a grey line.
    """
    figure = Figure(figsize=(WIDTH, 0.7 + 2.6 * len(rows)), layout="constrained")
    losses: dict[str, Line2D] = {}
    for axes, (title, part) in zip(figure.subplots(len(rows), 3, squeeze=False), rows.items(), strict=True):
        weights = sorted(part["weight"].unique())
        positive = [weight for weight in weights if weight]
        zero = positive[0] / 10
        for ax, metric in zip(axes, RESPONSES, strict=True):
            of_one = part[part["metric"] == metric]
            for i, (loss, group) in enumerate(of_one.groupby("loss", sort=False)):
                label, colour = LOSSES.get(str(loss), (look.short(str(loss), 20), "#000000"))
                at = group["weight"].where(group["weight"] > 0, zero)
                means = group.groupby(at)["value"].mean()
                (line,) = ax.plot(means.index, means, color=colour)
                marker = SHAPES[i % len(SHAPES)]
                ax.plot(at, group["value"], marker, color=colour, ms=4.5, alpha=0.6, mew=0)
                losses[label] = Line2D([], [], color=line.get_color(), marker=marker, ms=4.5, label=f"λ of {label}")
            if metric in alone.get(title, {}):
                ax.axhline(alone[title][metric], color=look.role("floor"), linestyle="--", zorder=-1)
            ax.set(xscale="log", xlabel="λ, the others as in the paper", ylabel=LABELS.get(metric, HEADS[metric]))
            ax.set_xticks([w if w else zero for w in weights], [f"{w:g}" for w in weights])
            ax.xaxis.minorticks_off()
        axes[0].set_title(look.short(title, 40), loc="left")
    level = Line2D([], [], color=look.role("floor"), linestyle="--", label="trained alone")
    look.legend(figure, [*losses.values(), level])
    return figure


@styled
def mask_curves(rows: pd.DataFrame) -> Figure:
    """Share of cells that PPC compares against the pass: a line a student, mean and range over seeds.

    Args:
        rows: As `p2p.evaluation.audit_tables.mask_rows` gives them.
    """
    figure = Figure(figsize=(0.62 * WIDTH, 2.9), layout="constrained")
    ax = figure.subplots()
    colours = (look.role("student"), "#D55E00", "#0072B2", "#CC79A7")
    for i, (name, own) in enumerate(rows.groupby("student", sort=False)):
        by_pass = 100 * own.pivot_table(index="pass", columns="seed", values="share").dropna(axis="columns")
        at, colour = by_pass.index.to_numpy(), colours[i % len(colours)]
        ax.plot(at, by_pass.mean(axis=1), marker=SHAPES[i % len(SHAPES)], ms=4.5, color=colour, label=str(name))
        ax.fill_between(at, by_pass.min(axis=1), by_pass.max(axis=1), color=colour, alpha=0.2, lw=0)
    ticks = [tick for tick in (1, 10, 100, 1000) if tick <= rows["pass"].max()]
    ax.set(xscale="log", ylim=(0, None), xlabel="joint pass", ylabel="cells compared (%)")
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.xaxis.minorticks_off()
    ax.legend(frameon=False)
    return figure
