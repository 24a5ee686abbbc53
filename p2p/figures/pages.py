"""Curves and dots of a study's pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from p2p.errors import UserError
from p2p.figures import style as look
from p2p.figures.style import LEVELS, LOSSES, MARKERS, METRICS, PHASES, ROLES, SHARED, WIDTH, styled


@styled
def tau_curves(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """AAP, left, and AJS, right, against the threshold τ (paper, figure 2): mean and band of all seeds.

    Args:
        frames: Of each setting, a row of panels, its title and the tidy metric rows of one study, triple and stage:
            columns role, variant, metric, tau, value. Levels (metric `ajs_floor`, `ajs_second_teacher`) are averaged
            over all rows. Taus are evenly spaced.

    Raises:
        UserError: Rows of several studies, triples or stages.
    """
    figure = Figure(figsize=(WIDTH, 0.6 + 2.9 * len(frames)), layout="constrained")
    handles: dict[str, Line2D] = {}
    for axes, (title, frame) in zip(figure.subplots(len(frames), 2, squeeze=False), frames.items(), strict=True):
        _tau_panels(axes, frame, handles)
        axes[0].set_title(look.short(title, 60), loc="left")
    look.legend(figure, list(handles.values()))
    return figure


def _tau_panels(axes: Sequence[Axes], frame: pd.DataFrame, handles: dict[str, Line2D]) -> None:
    frame = _one_setting(frame[frame["tau"].notna()])
    frame = frame[frame["metric"].str.match("a(ap|js)(_floor|_second_teacher)?$")].astype({"tau": float})
    taus = sorted(frame["tau"].unique())
    x = range(len(taus))
    for ax, metric in zip(axes, ("aap", "ajs"), strict=True):
        for (role, variant), rows in _by_row(frame[frame["metric"] == metric]):
            spread = rows.groupby("tau")["value"].agg(["mean", "min", "max"]).reindex(taus)
            marker, name = MARKERS.get(role, "d"), _row_name(role, variant)
            colour = look.role(role)
            (handles[name],) = ax.plot(x, spread["mean"], marker=marker, ms=4.5, color=colour, label=name)
            ax.fill_between(x, spread["min"], spread["max"], color=colour, alpha=0.2, linewidth=0)
        for level, dash in LEVELS.items():
            rows = frame[frame["metric"] == f"{metric}_{level}"]
            if len(rows):
                mean = rows.groupby("tau")["value"].mean().reindex(taus)
                name = level.replace("_", " ")
                (handles[level],) = ax.plot(x, mean, dash, color=ROLES[name], label=name)
        ax.set_xticks(x, ["∞" if tau == inf else f"{tau:g}" for tau in taus])
        ax.set(xlabel="threshold τ (squared L2 distance)", ylabel=METRICS[metric], ylim=(0, None))


@styled
def seed_dots(frame: pd.DataFrame, metrics: Sequence[str] = ("top1", "ajs", "pms"), tau: float = inf) -> Figure:
    """A dot for each seed, a bar at their mean; a panel a metric, a row a role and variant.

    Args:
        frame: Tidy metric rows of one study, triple and stage, as for `tau_curves`.
        metrics: Panels; `<metric>_floor` and `<metric>_second_teacher`, where present, are lines (mean of all rows).
        tau: The threshold at which metrics with one are taken.

    Raises:
        UserError: Rows of several studies, triples or stages, or none of the metrics.
    """
    frame = frame[pd.to_numeric(frame["tau"]).isin([tau]) | pd.to_numeric(frame["tau"]).isna()]
    shown = _one_setting(frame[frame["metric"].isin(metrics)])
    if shown.empty:
        wanted = ", ".join(metrics)
        raise UserError(f"There are no rows of {wanted} to draw; run the evaluation, or name other metrics.")
    names = [key for key, _ in _by_row(shown)]
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    handles: dict[str, Line2D] = {}
    for ax, metric in zip(axes, metrics, strict=True):
        rows = shown[shown["metric"] == metric]
        for key, group in _by_row(rows):
            y, values = names.index(key), group["value"]
            ax.plot(values, [y] * len(values), "o", ms=6, color=look.role(key[0]), alpha=0.6, markeredgewidth=0)
            ax.plot([values.mean()] * 2, [y - 0.28, y + 0.28], color=look.role(key[0]), linewidth=2.2)
        for level, dash in LEVELS.items():
            values = frame.loc[frame["metric"] == f"{metric}_{level}", "value"]
            if len(values):
                name = level.replace("_", " ")
                handles[level] = ax.axvline(values.mean(), linestyle=dash, color=ROLES[name], zorder=0, label=name)
        at = f" at τ = {'∞' if tau == inf else f'{tau:g}'}" if rows["tau"].notna().any() else ""
        ax.set(xlabel=METRICS.get(metric, metric) + at, yticks=range(len(names)))
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.margins(x=0.08)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticklabels([_row_name(*key) for key in names])
    look.legend(figure, list(handles.values()))
    return figure


@styled
def training_curves(history: pd.DataFrame, title: str = "") -> Figure:
    """Loss parts, unweighted, and accuracies against the epoch; phases shaded, push and decision marked.

    A student's third panel is R² of the add-on map: how much of its teacher's map it reproduces.

    Args:
        history: Rows of `p2p.training.trainer.Trainer.history`.
        title: Of the figure.
    """
    learns = history["phase"].isin(["warm", "joint"])
    x = learns.cumsum() + 0.5 * ~learns  # a push comes after the epoch before it and before the next
    followed = "r2" in history and history["r2"].notna().any()
    figure = Figure(figsize=(WIDTH, 3.9 if followed else 3.7), layout="constrained")
    axes = figure.subplots(1, 3 if followed else 2)
    left, right = axes[:2]
    for name, (label, colour) in LOSSES.items():
        values = history[name][learns] if name in history else pd.Series(dtype=float)
        if (values > 0).any():
            width = 2.2 if name == "loss" else 1.4
            left.plot(x[learns], values.where(values > 0), color=colour, label=label, lw=width)
    left.set(yscale="log", ylabel="loss")
    right.plot(x[learns], history["accuracy"][learns], color="#56B4E9", label="training (augmented)")
    held = history["validation"][learns].dropna()  # not every pass looks
    right.plot(x[held.index], held, color="#000000", label="validation")
    for phase, marker in (("push", "v"), ("decision", "D")):
        at = history["phase"] == phase
        if at.any():
            how: dict[str, Any] = {"color": SHARED, "ms": 6, "zorder": 3, "clip_on": False}
            fill = SHARED if phase == "push" else "white"
            right.plot(x[at], history["validation"][at], marker, label=f"after {phase}", mfc=fill, **how)
    right.set(ylabel="accuracy", ylim=(0, 1.02))
    if followed:
        for name, colour, label in (
            ("r2", "#56B4E9", "training (augmented)"),
            ("r2_validation", "#000000", "validation"),
        ):
            values = history[name][learns].dropna()
            axes[2].plot(x[values.index], values, color=colour, label=label)
        low = min(0.0, float(history[["r2", "r2_validation"]].min().min()))
        axes[2].set(ylabel="R² of the add-on map", ylim=(max(low, -1.0) - 0.02, 1.02))
    runs = (history["phase"] != history["phase"].shift())[learns].cumsum()
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch", xlim=(0.5, learns.sum() + 0.5))
        named = set[str]()
        for _, span in x[learns].groupby(runs):
            name = str(history["phase"][span.index[0]])
            entry = f"{name} phase" if ax is right and name not in named else None
            ax.axvspan(span.min() - 0.5, span.max() + 0.5, color=PHASES[name], zorder=-2, lw=0, label=entry)
            named.add(name)
        for end in x[history["phase"] == "push"]:
            ax.axvline(end, color=SHARED, linewidth=0.8, alpha=0.5, zorder=-1)
        columns = 1 if ax not in (left, right) else 2 if ax is right or followed else 3
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, columnspacing=1.2)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


@styled
def budget_curves(budgets: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy, R² and PMS against the number of joint passes: a dot a seed, a line through the means of the
    seeds that have all numbers of passes.

    Args:
        budgets: Of each setting, a row of panels, its title and the rows of one triple, see
            `p2p.evaluation.tables.budget_table`.
    """
    figure = Figure(figsize=(WIDTH, 0.7 + 2.8 * len(budgets)), layout="constrained")
    for axes, (title, budget) in zip(figure.subplots(len(budgets), 3, squeeze=False), budgets.items(), strict=True):
        _budget_panels(axes, budget)
        axes[0].set_title(look.short(title, 40), loc="left")
    names = {"baseline": "baseline", "student": "student"}
    handles = [Line2D([], [], color=ROLES[r], marker=MARKERS[r], ms=4.5, label=n) for r, n in names.items()]
    handles += [
        Line2D([], [], color="#555555", linestyle=":", label="straight after the push (left); images permuted (right)"),
        Line2D([], [], color=SHARED, linewidth=0.8, label="the study's passes"),
    ]
    look.legend(figure, handles)
    return figure


def _budget_panels(axes: Sequence[Axes], budget: pd.DataFrame) -> None:
    panels = (
        ("top-1 accuracy (test)", {"top-1": "-", "top-1, after push": ":"}),
        ("R² of the add-on map", {"R²": "-"}),
        ("PMS", {"PMS": "-", "PMS, permuted": ":"}),
    )
    passes = sorted(budget["passes"].unique())
    for ax, (label, lines) in zip(axes, panels, strict=True):
        for role, rows in budget.groupby("role", sort=True):
            for column, dash in lines.items():
                known = rows.dropna(subset=column)
                seeds = known.groupby("seed")["passes"].nunique()
                common = known[known["seed"].isin(seeds[seeds == seeds.max()].index)]  # else a line would mix seeds
                means = common.groupby("passes")[column].mean()
                ax.plot(means.index, means, dash, color=look.role(str(role)))
                if dash == "-":
                    how: dict[str, Any] = {"ms": 4.5, "alpha": 0.6, "mew": 0, "color": look.role(str(role))}
                    ax.plot(known["passes"], known[column], MARKERS[str(role)], **how)
        for chosen in budget.loc[budget["chosen"], "passes"].unique():
            ax.axvline(chosen, color=SHARED, linewidth=0.8, alpha=0.6, zorder=-1)
        ax.set(xscale="log", xlabel="joint passes", ylabel=label)
        ax.set_xticks(passes, [str(n) for n in passes])
        ax.xaxis.minorticks_off()


def _one_setting(frame: pd.DataFrame) -> pd.DataFrame:
    for column in {"study", "triple", "stage"} & set(frame):
        found = sorted(map(str, frame[column].dropna().unique()))
        if len(found) > 1:
            several = ", ".join(found)
            raise UserError(f"The figure got rows of several values of '{column}' ({several}); choose one first.")
    return frame


def _by_row(frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Rows of each (role, variant), roles in the order of `ROLES`, variants in that of the frame."""
    groups = [((str(key[0]), str(key[1])), rows) for key, rows in frame.groupby(["role", "variant"], sort=False)]
    return sorted(groups, key=lambda group: list(ROLES).index(group[0][0]))


def _row_name(role: str, variant: str) -> str:
    return variant if role == "control" else role if variant == "paper" else f"{role}: {variant}"


@styled
def pair_curves(pairs: dict[str, Tensor], chance: float) -> Figure:
    """Agreement of matched prototypes, sorted: how many pairs are alike, not only how alike they are on average.

    Args:
        pairs: role: (P,) share of the images in which a teacher prototype and its partner sit on the same cell.
        chance: Share for two prototypes on independent, uniform cells: one over the number of cells.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    ax = figure.subplots()
    for role, values in pairs.items():
        ax.plot(range(1, len(values) + 1), values.cpu().numpy(), color=look.role(role), label=role, linewidth=2)
    ax.axhline(chance, color=ROLES["floor"], linestyle="--", label="chance")
    ax.set(xlabel="matched pair of prototypes, sorted", ylabel="share of test images\non the same cell", ylim=(0, 1))
    ax.legend(loc="upper right")
    return figure
