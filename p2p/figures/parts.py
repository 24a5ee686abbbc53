"""Figures of the page "Do they mean the same part?": measures by network, curves over their parameters, pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from p2p.evaluation.part_tables import OWN, TEACHERS, networks
from p2p.evaluation.settings import Setting
from p2p.figures import style as look
from p2p.figures.style import MARKERS, ROLES, WIDTH, styled

CURVES = {  # metric: label of the axis, whether it needs a teacher
    "part_transfer_over_share": ("same part", "share of images, nearest first"),
    "part_transfer_over_window": ("same part", "window, of 224 pixels"),
    "consistency_over_threshold": ("consistency", "threshold"),
    "consistency_over_window": ("consistency", "window, of 224 pixels"),
    "stability_over_noise": ("stability", "noise σ"),
    "stability_over_window": ("stability", "window, of 224 pixels"),
    "purity_over_images": ("purity", "nearest images"),
    "purity_over_window": ("purity", "window, of 224 pixels"),
}


@styled
def measures(settings: Sequence[Setting]) -> Figure:
    """Of each setting a panel a measure, a row a network, a dot a seed, a bar at their mean; levels of student and
    baseline.

    A tick is for exchanged prototypes, a cross for other images.

    Args:
        settings: Evaluated with these measures.
    """

    def height(setting: Setting) -> float:
        found = networks(setting, [*TEACHERS, *OWN])
        return -(-found["metric"].nunique() // 5) * (0.75 + 0.21 * found["network"].nunique()) + 0.2

    figure = _below_each_other(settings, [height(setting) for setting in settings], _measures)
    handles = [
        Line2D([], [], color="#555555", marker="|", ms=9, mew=1.4, linestyle="", label="another prototype"),
        Line2D([], [], color="#555555", marker="x", ms=5, mew=1.4, linestyle="", label="other images"),
    ]
    look.legend(figure, handles)
    return figure


def _below_each_other(
    settings: Sequence[Setting], heights: Sequence[float], draw: Callable[[SubFigure, Setting], object]
) -> Figure:
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout="constrained")
    parts = figure.subfigures(len(settings), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, setting in zip(parts, settings, strict=True):
        part.suptitle(look.short(setting.title, 60), x=0.01, ha="left", fontweight="bold")
        draw(part, setting)
    return figure


def _measures(part: SubFigure, setting: Setting) -> None:
    heads = {**TEACHERS, **OWN}
    found = networks(setting, list(heads))
    known = [name for name in heads if (found["metric"] == name).any()]
    names = list(found["network"].unique())
    axes = part.subplots(-(-len(known) // 5), 5, sharey=True, squeeze=False).flat
    for ax, metric in zip(axes, known, strict=False):
        for y, name in enumerate(names):
            values = found[(found["metric"] == metric) & (found["network"] == name)]["value"]
            if values.empty:
                continue
            colour = look.role(name.split(":")[0]) if name != "random network" else ROLES["floor"]
            ax.plot(values, [y] * len(values), MARKERS.get(name, "d"), ms=4.5, mew=0, alpha=0.6, color=colour)
            ax.plot([values.mean()] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)
            if name in ("student", "baseline", "teacher"):
                own = setting.of(name)
                for suffix, mark in (("_chance", "|"), ("_permuted", "x")):
                    level = own.loc[own["metric"] == f"{metric}{suffix}", "value"]
                    if len(level):
                        ax.plot(level.mean(), y, mark, color="#555555", ms=9 if mark == "|" else 5, mew=1.4)
        ax.set_yticks(range(len(names)), [look.short(name, 26) for name in names])
        ax.set(xlim=(-0.06, 1.06), ylim=(len(names) - 0.5, -0.5), xticks=[0, 0.5, 1])
        ax.set_title(heads[metric].replace(", ", ",\n"), loc="left")
        ax.tick_params(axis="y", length=0)
        ax.axvline(0, color="#CCCCCC", linewidth=0.6, zorder=0)
    for ax in list(part.axes)[len(known) :]:
        ax.remove()


@styled
def curves(settings: Sequence[Setting]) -> Figure:
    """Of each setting each measure against its free parameter, teacher, baseline and student: mean and band of all
    seeds.

    Older evaluations have not all of the curves: those that nobody has get no panel.
    """
    handles: dict[str, Line2D] = {}
    figure = _below_each_other(settings, [4.4] * len(settings), lambda part, one: handles.update(_curves(part, one)))
    matched = Line2D([], [], color="#555555", linestyle=":", label="matched")
    look.legend(figure, [*(handles[role] for role in ROLES if role in handles), matched])
    return figure


def _curves(part: SubFigure, setting: Setting) -> dict[str, Line2D]:
    """A line of each role, for the legend."""
    shown = {metric: heads for metric, heads in CURVES.items() if (setting.frame["metric"] == metric).any()}
    handles: dict[str, Line2D] = {}
    axes = part.subplots(2, -(-len(shown) // 2), squeeze=False, sharey=True)
    for ax in axes.flat[len(shown) :]:
        ax.remove()
    for ax, (metric, (label, parameter)) in zip(axes.flat, shown.items(), strict=False):
        for role in ("teacher", "baseline", "student"):
            variant = setting.variant if role == "student" else "paper"
            frame = setting.frame[(setting.frame["role"] == role) & (setting.frame["variant"] == variant)]
            for suffix, line in (("", "-"), ("_matched", ":")):
                name = metric.replace("_over_", f"{suffix}_over_")
                rows = frame[frame["metric"] == name].astype({"tau": float})
                if rows.empty:
                    continue
                spread = rows.groupby("tau")["value"].agg(["mean", "min", "max"])
                colour = ROLES[role]
                (drawn,) = ax.plot(spread["mean"], line, marker=MARKERS[role], ms=4.5, color=colour, label=role)
                ax.fill_between(spread.index, spread["min"], spread["max"], color=colour, alpha=0.15, linewidth=0)
                handles.setdefault(role, drawn)
        ax.set(xlabel=parameter, ylabel=label, ylim=(-0.03, 1.03))
    return handles
