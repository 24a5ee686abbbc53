"""The figures of the pages on cost and speed: data frames in, a matplotlib `Figure` out.

Accuracy against image passes, where the time of a pass goes, ratios to peers, and how cost grows.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullLocator

from p2p.figures import style as look
from p2p.figures.style import MARKERS, ROLES, WIDTH, styled

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
PEERS = {  # Okabe and Ito
    "CaBRNet": ("#0072B2", "o"),
    "CaBRNet, legacy distances": ("#56B4E9", "D"),
    "classic": ("#E69F00", "s"),
    "sets": ("#009E73", "^"),
}

OURS = {"ours": ("#D55E00", "D"), "ours, short run": ("#CC79A7", "^")}
LOOKS = {  # Okabe and Ito
    "training pass": ("#0072B2", "o"),
    "response table": ("#56B4E9", "s"),
    "decision layer": ("#E69F00", "D"),
    "AJS": ("#999999", "v"),
    "counts": ("#CC79A7", "P"),
    "dense matching": ("#D55E00", "X"),
    "PMS without P×P": ("#009E73", "^"),
}
AXES = {
    "images": "images N",
    "prototypes": "prototypes P",
    "grid": "grid, cells a side",
    "resolution": "resolution, pixels",
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
            mean = rows[["passes", "validation"]].mean().dropna()  # not every pass looks
            phase = rows["phase"].first()[mean.index]
            ax.plot(mean["passes"], mean["validation"], color=colour, linewidth=1.1, alpha=0.75, zorder=2)
            done = mean[phase == "decision"] if (phase == "decision").any() else mean.tail(1)
            marker = MARKERS.get(role, "D")
            how = {"color": colour, "ms": 7, "mec": "white", "mew": 0.7, "zorder": 3}
            ax.plot(done["passes"], done["validation"], marker, label=name, **how)
        ax.set(xscale="log", ylabel="validation accuracy", title=trunk, ylim=(0, 1))
        ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for set_formatter in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
            set_formatter(EngFormatter(sep=""))
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
    figure = Figure(figsize=(WIDTH, 1.6 + 0.5 * len(share)), layout="constrained")
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
    figure.legend(handles=list(ax.containers), loc="outside lower center", ncols=4)
    return figure


@styled
def ratio_dots(frame: pd.DataFrame, targets: dict[str, float]) -> Figure:
    """Peer's time over ours: a line a work and shape, a dot a peer, a bar from lowest to highest round.

    Args:
        frame: Columns work, shape, peer, ratio, ratio_low, ratio_high; rows of one work stand together.
        targets: work: the ratio to reach, a red tick on the lines of that work.
    """
    lines = list(dict.fromkeys(zip(frame["work"], frame["shape"], strict=True)))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.29 * len(lines)), layout="constrained")
    ax = figure.subplots()
    handles: dict[str, Line2D] = {}
    for y, (work, shape) in enumerate(lines):
        rows = frame[(frame["work"] == work) & (frame["shape"] == shape)].dropna(subset=["ratio"])
        for place, row in enumerate(rows.itertuples()):
            kind = peer_kind(str(row.peer))
            colour, marker = PEERS[kind]
            at = y + 0.16 * (place - (len(rows) - 1) / 2)
            low, high = (row.ratio if pd.isna(end) else end for end in (row.ratio_low, row.ratio_high))
            ax.plot([low, high], [at, at], color=colour, linewidth=1.8, alpha=0.6, solid_capstyle="butt")
            how: dict[str, Any] = {"color": colour, "mec": "white", "mew": 0.5, "linestyle": "", "label": kind}
            (handles[kind],) = ax.plot([row.ratio], [at], marker=marker, ms=6, **how)
        if work in targets:
            (target,) = ax.plot([targets[work]] * 2, [y - 0.42, y + 0.42], color=look.SHARED, linewidth=1.6)
            target.set_label("target")
            handles["target"] = target
        if y and work != lines[y - 1][0]:
            ax.axhline(y - 0.5, color="#CCCCCC", linewidth=0.6)
    ax.axvline(1, color=ROLES["second teacher"], linewidth=1, linestyle=":")
    first = [f"{work}, {shape.split()[0]}" for work, shape in lines]
    second = [" ".join(shape.split()[1:2]) for _, shape in lines]
    names = [f"{a} {b}" if first.count(a) > 1 else a for a, b in zip(first, second, strict=True)]
    ax.set_yticks(range(len(lines)), names)
    ax.set(xscale="log", xlabel="peer's time / our time", ylim=(len(lines) - 0.4, -0.6))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    look.legend(figure, [handles[name] for name in (*PEERS, "target") if name in handles])
    return figure


def peer_kind(peer: str) -> str:
    """The key of `PEERS` that a peer of `speed.csv` belongs to."""
    if peer.startswith("CaBRNet"):
        return "CaBRNet, legacy distances" if "legacy" in peer else "CaBRNet"
    return "classic" if peer.startswith("classic") else "sets"


@styled
def accuracy_race(frame: pd.DataFrame, target: float) -> Figure:
    """Validation accuracy of networks with projected prototypes against seconds of training.

    Args:
        frame: Columns who ("ours …" or a peer), seconds, accuracy.
        target: The accuracy both are timed to.
    """
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    ax = figure.subplots()
    for who, rows in frame.groupby("who", sort=False):
        ours = str(who).startswith("ours")
        colour, marker = OURS.get(str(who), PEERS["CaBRNet"])
        ax.plot(rows["seconds"], rows["accuracy"], marker=marker, ms=6 if ours else 4, color=colour, label=str(who))
    ax.axhline(target, color=look.ROLES["second teacher"], linewidth=1, linestyle=":", label="target")
    ax.set(xlabel="seconds of training", ylabel="validation accuracy", xlim=(0, None), ylim=(0, 1))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def growth_panels(frame: pd.DataFrame) -> Figure:
    """Seconds (above) and peak memory (below) along every axis, both logarithmic; bars from lowest to highest repeat.

    Args:
        frame: `growth.csv`: quantity (of `LOOKS`), axis (of `AXES`), at, seconds, seconds_low, seconds_high and
            peak_bytes.
    """
    names = [axis for axis in AXES if axis in set(frame["axis"])]
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, sharex="col", sharey="row")
    handles: dict[str, Line2D] = {}
    for column, axis in enumerate(names):
        along = frame[frame["axis"] == axis]
        for quantity, (colour, marker) in LOOKS.items():
            rows = along[along["quantity"] == quantity].sort_values("at")
            if rows.empty:
                continue
            how = {"color": colour, "marker": marker, "ms": 5, "mec": "white", "mew": 0.5}
            (handles[quantity],) = panels[0, column].plot(rows["at"], rows["seconds"], label=quantity, **how)
            panels[0, column].vlines(rows["at"], rows["seconds_low"], rows["seconds_high"], color=colour, linewidth=1)
            used = rows[rows["peak_bytes"] > 0]
            panels[1, column].plot(used["at"], used["peak_bytes"], **how)
        ticks = sorted(along["at"].unique())
        for ax in panels[:, column]:
            _logarithmic(ax, ticks)
        panels[1, column].set_xlabel(AXES[axis])
    panels[0, 0].set_ylabel("time")
    panels[1, 0].set_ylabel("peak memory")
    for row, unit in ((0, "s"), (1, "B")):
        panels[row, 0].yaxis.set_major_formatter(EngFormatter(unit))
    figure.legend(handles=[handles[name] for name in LOOKS if name in handles], loc="outside lower center", ncols=4)
    return figure


def _logarithmic(ax: Axes, ticks: list[float]) -> None:
    ax.set(xscale="log", yscale="log")
    shown = ticks if len(ticks) < 4 else [*ticks[::2], *([] if len(ticks) % 2 else ticks[-1:])]  # labels need room
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y", color="#E5E5E5", linewidth=0.6, zorder=0)
