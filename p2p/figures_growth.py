"""The figure of the page on growth: time and memory along every axis."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

from p2p._figure_style import WIDTH, styled

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
