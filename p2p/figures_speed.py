"""The figures of the pages about speed: data frames in, a matplotlib `Figure` out."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from p2p import _figure_style as look
from p2p._figure_style import WIDTH, styled

PEERS = {"CaBRNet": ("#0072B2", "o"), "classic": ("#E69F00", "s"), "sets": ("#009E73", "^")}  # Okabe and Ito

OURS = {"ours": ("#D55E00", "D"), "ours, short run": ("#CC79A7", "^")}


@styled
def ratio_dots(frame: pd.DataFrame, targets: dict[str, float]) -> Figure:
    """How many times the peer's time is ours: a dot a row of `speed.csv`, a bar from lowest to highest round.

    Args:
        frame: Columns work, shape, peer, ratio, ratio_low, ratio_high; rows of one work stand together.
        targets: work: the ratio to reach, a red tick on the rows of that work.
    """
    frame = frame.dropna(subset=["ratio"]).iloc[::-1].reset_index(drop=True)
    figure = Figure(figsize=(WIDTH, 1.0 + 0.21 * len(frame)), layout="constrained")
    ax = figure.subplots()
    handles: dict[str, Line2D] = {}
    listed = frame.to_dict("records")
    for y, row in enumerate(listed):
        kind = next((name for name in PEERS if row["peer"].startswith(name)), "sets")
        colour, marker = PEERS[kind]
        low, high = (row["ratio"] if pd.isna(end) else end for end in (row["ratio_low"], row["ratio_high"]))
        ax.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=0.6, solid_capstyle="butt")
        (handles[kind],) = ax.plot([row["ratio"]], [y], marker=marker, ms=5.5, color=colour, linestyle="", label=kind)
        if row["work"] in targets:
            at, ends = [targets[row["work"]]] * 2, [y - 0.45, y + 0.45]
            (handles["target"],) = ax.plot(at, ends, color=look.SHARED, linewidth=1.6, label="target")
    for y in range(1, len(frame)):
        if frame["work"][y] != frame["work"][y - 1]:
            ax.axhline(y - 0.5, color="#CCCCCC", linewidth=0.6)
    ax.axvline(1, color=look.ROLES["ceiling"], linewidth=1, linestyle=":")
    names = [f"{row['work']}, {row['shape'].split()[0]}: {row['peer']}" for row in listed]
    ax.set_yticks(range(len(frame)), names)
    ax.set(xscale="log", xlabel="peer's time / our time (right of the dotted line: ours is faster)")
    ax.set_ylim(-0.7, len(frame) - 0.3)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    look.legend(figure, [handles[name] for name in (*PEERS, "target") if name in handles])
    return figure


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
    ax.axhline(target, color=look.ROLES["ceiling"], linewidth=1, linestyle=":", label="target")
    ax.set(xlabel="seconds of training", ylabel="validation accuracy", xlim=(0, None), ylim=(0, 1))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
