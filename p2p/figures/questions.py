"""Figures of several settings side by side: claims as a forest plot, what a change of the recipe does, costs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from p2p.evaluation.claims import CLAIMS, UNDECIDED, claimed
from p2p.evaluation.settings import ACCURACIES, SHORT, SIMILARITIES, Setting, mean
from p2p.evaluation.tables import HEADS
from p2p.figures import style as look
from p2p.figures.style import MARKERS, PHONE, ROLES, WIDTH, styled

SETTINGS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito, in the order of studies
SHAPES = ("o", "s", "^", "D", "v", "P")
PANELS = (("similarity to the teacher", SIMILARITIES), ("top-1 accuracy", ACCURACIES))


@styled
def forest(
    settings: Sequence[Setting], panels: Sequence[tuple[str, Sequence[str]]] = PANELS, compact: bool = False
) -> Figure:
    """Claims down, settings as colours: difference student less baseline, its 95 % interval, and the band ±δ.

    A hollow mark is a claim that is not decided at its budget.

    Args:
        settings: To be shown; a claim that a setting has not measured has no mark.
        panels: What each panel is called, and its claims, by their metric.
        compact: For a phone, 390 px wide: the panels below each other instead of side by side.
    """
    counts = [len(metrics) for _, metrics in panels]
    rows, columns = (len(panels), 1) if compact else (1, len(panels))
    width, count = (PHONE, sum(counts)) if compact else (WIDTH, max(counts))
    feet = 1.9 if compact else 1.3  # axes' labels and the legend
    figure = Figure(figsize=(width, feet + count * (0.28 + 0.13 * len(settings))), layout="constrained")
    ratios = counts if compact else None
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=ratios).flat
    for ax, (label, metrics) in zip(axes, panels, strict=True):
        ax.axvline(0, color="#555555", linewidth=0.8, zorder=1)
        for i, setting in enumerate(settings):
            colour, shape = SETTINGS[i % len(SETTINGS)], SHAPES[i % len(SHAPES)]
            for y, metric in enumerate(metrics):
                row = setting.claim(metric)
                if row is None:
                    continue
                at = y + 0.7 * ((i + 0.5) / len(settings) - 0.5)
                if row["low"] == row["low"]:
                    ax.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=1.8)
                fill = "white" if row["verdict"] == UNDECIDED else colour
                ax.plot(row["difference"], at, shape, ms=6, color=colour, markerfacecolor=fill, zorder=3)
                if (chance := at_chance(setting, metric)) is not None:
                    ax.plot(chance, at, "|", ms=8, mew=1.6, color="#777777", zorder=2)
        deltas = {float(row["delta"]) for s in settings for m in metrics if (row := s.claim(m)) is not None}
        if deltas:
            ax.axvspan(-max(deltas), max(deltas), color="#BBBBBB", alpha=0.5, linewidth=0, zorder=0)
        ax.set_yticks(range(len(metrics)), [SHORT[metric] for metric in metrics])
        ax.set(xlabel=f"student − baseline, {label}", ylim=(len(metrics) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
        for y in range(1, len(metrics)):
            ax.axhline(y - 0.5, color="#DDDDDD", linewidth=0.6, zorder=0)
    handles = [
        Line2D([], [], color=SETTINGS[i % len(SETTINGS)], marker=SHAPES[i % len(SHAPES)], label=_plain(setting.title))
        for i, setting in enumerate(settings)
    ]
    hollow = Line2D([], [], color="#555555", marker="o", mfc="white", linestyle="", label=UNDECIDED)
    band = Patch(color="#BBBBBB", alpha=0.5, label="no effect that matters (±δ)")
    tick = Line2D([], [], color="#777777", marker="|", ms=8, mew=1.6, linestyle="", label="a student at chance")
    figure.legend(handles=[*handles, hollow, band, tick], loc="outside lower center", ncols=1 if compact else 2)
    return figure


def at_chance(setting: Setting, metric: str) -> float | None:
    """Where a student would lie in the forest whose similarity is that of chance: it is the baseline that is taken
    off. None for what has no such level."""
    claim = next(claim for claim in CLAIMS if claim.metric == metric)
    if claim.form != "corrected" and metric != "same_index":
        return None
    level = mean(setting.of("student"), "same_index_chance") if metric == "same_index" else 0.0
    found = level - claimed(setting.frame, claim, "baseline", "paper").mean()
    return float(found) if found == found else None


@styled
def effects(rows: pd.DataFrame, metrics: Sequence[str] = ("top1", "top1_push", "pms", "same_source_image")) -> Figure:
    """What each control changes: difference to the network it was changed from, and its 95 % interval.

    Args:
        rows: As `p2p.evaluation.questions.recipe_effects` and `p2p.evaluation.audit.drawn` give them.
        metrics: A panel each, of those that there are.
    """
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    titles = list(rows["title"].unique())
    names = list(dict.fromkeys(rows["control"]))
    figure = Figure(figsize=(WIDTH, 1.3 + len(names) * (0.25 + 0.13 * len(titles))), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        ax.axvline(0, color="#555555", linewidth=0.8, zorder=1)
        for row in rows[rows["metric"] == metric].to_dict("records"):
            i = titles.index(row["title"])
            at = names.index(row["control"]) + 0.7 * ((i + 0.5) / len(titles) - 0.5)
            colour = SETTINGS[i % len(SETTINGS)]
            if row["low"] == row["low"]:
                ax.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=1.8)
            ax.plot(row["difference"], at, SHAPES[i % len(SHAPES)], ms=6, color=colour, zorder=3)
        ax.set(xlabel=HEADS.get(metric, metric), ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(range(len(names)), [_plain(name) for name in names])
        ax.tick_params(axis="y", length=0)
        ax.margins(x=0.12)
    handles = [
        Line2D([], [], color=SETTINGS[i % len(SETTINGS)], marker=SHAPES[i % len(SHAPES)], label=_plain(title))
        for i, title in enumerate(titles)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@styled
def costs(settings: Sequence[Setting]) -> Figure:
    """Top-1 on the test images against image passes (own and the teacher's), a panel a study, a dot a run."""
    known = list({s.study: s for s in reversed(settings) if not s.costs.empty}.values())[::-1]
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    roles: dict[str, Line2D] = {}
    for ax, setting in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        for role, rows in setting.costs.groupby("role", sort=False):
            name, colour = str(role), look.role(str(role))
            (roles[name],) = ax.plot(
                (rows["image_passes"] + rows["teacher_passes"]) / 1000,
                rows["test"],
                MARKERS.get(name, "d"),
                color=colour,
                alpha=0.75,
                mew=0,
                label=name,
            )
        ax.set(xlabel="image passes, thousands", ylabel="top-1 accuracy (test)", xlim=(0, None))
        ax.set_title(_plain(setting.title), loc="left")
    order = [name for name in ROLES if name in roles]
    look.legend(figure, [roles[name] for name in order])
    return figure


def _plain(text: str) -> str:
    return look.short(text, 40)
