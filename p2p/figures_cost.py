"""Figures of what training costs: accuracy against image passes, and where the time of an epoch goes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from p2p._figure_style import MARKERS, ROLES, WIDTH, styled

OTHERS = ("#CC79A7", "#D55E00", "#56B4E9", "#000000", "#E69F00", "#009E73", "#999999")  # Okabe and Ito, for controls
PARTS = {
    "convolution": "#0072B2",
    "normalisation and activation": "#56B4E9",
    "add-on and prototypes": "#009E73",
    "losses": "#F0E442",
    "augmentation": "#E69F00",
    "teacher": "#CC79A7",
    "optimiser": "#D55E00",
    "validation": "#4D4D4D",
    "checkpoint": "#000000",
    "rest": "#999999",
}


@styled
def passes_curves(curves: pd.DataFrame) -> Figure:
    """Validation accuracy against image passes, mean over seeds; large points after each decision phase.

    Args:
        curves: A row an epoch: network, role, variant, seed, phase, passes, validation.
    """
    trunks = list(dict.fromkeys(curves["network"]))
    figure = Figure(figsize=(WIDTH, 3.9 * len(trunks)), layout="constrained")
    axes = figure.subplots(len(trunks), 1, squeeze=False, sharex=True)[:, 0]
    for ax, trunk in zip(axes, trunks, strict=True):
        other = iter(OTHERS * 3)
        for (role, variant), group in curves[curves["network"] == trunk].groupby(["role", "variant"], sort=False):
            name = variant if role == "control" else role if variant == "paper" else f"{role}: {variant}"
            colour = next(other) if role == "control" else ROLES[role]
            rows = group.assign(row=group.groupby("seed").cumcount()).groupby("row")
            mean, phase = rows[["passes", "validation"]].mean(), rows["phase"].first()
            ax.plot(mean["passes"], mean["validation"], color=colour, linewidth=1.1, alpha=0.75, zorder=2)
            done = mean[phase == "decision"] if (phase == "decision").any() else mean.tail(1)
            marker = MARKERS.get(role, "D")
            how = {"color": colour, "ms": 7, "mec": "white", "mew": 0.7, "zorder": 3}
            ax.plot(done["passes"], done["validation"], marker, label=name, **how)
        ax.set(xscale="log", ylabel="validation accuracy", title=trunk, ylim=(0, 1))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.grid(axis="y", color="#E5E5E5", linewidth=0.6, zorder=0)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1].set_xlabel("image passes through the network's own trunk (logarithmic)")
    return figure


@styled
def time_bars(frame: pd.DataFrame) -> Figure:
    """Where the time of a training pass goes: one stacked bar a network, in per cent.

    Args:
        frame: Columns network, part (of `PARTS`), seconds.
    """
    seconds = frame.pivot(index="network", columns="part", values="seconds").fillna(0.0)
    seconds = seconds.reindex(list(dict.fromkeys(frame["network"])))
    share = 100 * seconds.div(seconds.sum(axis=1), axis=0)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.5 * len(share)), layout="constrained")
    ax = figure.subplots()
    left = pd.Series(0.0, index=share.index)
    for part in (part for part in PARTS if part in share and share[part].any()):
        bars = ax.barh(share.index, share[part], left=left, color=PARTS[part], label=part, height=0.62)
        dark = part not in ("losses", "augmentation", "normalisation and activation")
        texts = [f"{value:.0f}" if value >= 3.5 else "" for value in share[part]]
        ax.bar_label(bars, texts, label_type="center", color="white" if dark else "black", fontsize=9)
        left += share[part]
    ax.invert_yaxis()
    ax.set(xlabel="share of the time of a pass, per cent", xlim=(0, 100))
    figure.legend(handles=list(ax.containers), loc="outside lower center", ncols=5)
    return figure
