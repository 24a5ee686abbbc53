"""How a student answers to the weights of its losses."""

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
