"""What more passes, or fewer, would change: sentences from a study's runs with other budgets."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from p2p.evaluation.claims import doubled, flat_budget
from p2p.evaluation.explanation import number
from p2p.evaluation.settings import Setting, mean
from p2p.study.pages import escape, listed

AHEAD = 0.05  # of accuracy: by less than this a student is not called ahead


def flatness(setting: Setting) -> str:
    """Whether more passes would change the verdict on accuracy, in a sentence."""
    if setting.budget.empty:
        return f"{escape(setting.title)}: no other budgets have been run, so nothing is known of more passes."
    if flat_budget(setting.frame, setting.variant):
        return f"{escape(setting.title)}: twice the passes move neither network's validation accuracy by a point."
    chosen = setting.budget.loc[setting.budget["chosen"], "passes"].max()
    twice = setting.budget[setting.budget["passes"] == 2 * chosen]
    if twice.empty:
        return f"{escape(setting.title)}: twice the passes were not run, so nothing is known of them."
    moved = [
        f"{role} {own.mean():.3f} to {longer.mean():.3f}"
        for role, (own, longer) in doubled(setting.frame, setting.variant).items()
        if len(own)
    ]
    told = f" ({listed(moved)})" if moved else ""
    if (few := mean(setting.frame, "validation_images")) < 100:
        told += f"; of {few:.0f} validation images one is worth {100 / few:.1f} points, so less can hardly be shown"
    return (
        f"{escape(setting.title)}: twice the passes, run with {twice['seed'].nunique()} seeds, still move the "
        f"validation accuracy of a network by a point or more{told}."
    )


def lead(setting: Setting) -> str:
    """The accuracies of student and baseline where they differ most and with most passes, in a sentence; "" where fewer
    than three numbers of passes have been run."""
    if (known := _by_passes(setting)) is None:
        return ""
    table, seeds = known
    return f"{escape(setting.title)}: {_most_and_last(table)} ({seeds} seeds)."


def head_start(setting: Setting) -> str:
    """That the student is ahead with few passes and hardly with many, in a sentence; "" where that is not so."""
    if (known := _by_passes(setting)) is None:
        return ""
    table, seeds = known
    ahead = table["student"] - table["baseline"]
    if ahead.max() < max(AHEAD, -ahead.min()) or ahead.iloc[-1] > ahead.max() / 2:
        return ""
    return f"It gets there sooner: on {escape(setting.title)} {_most_and_last(table)} ({seeds} seeds)."


def _by_passes(setting: Setting) -> tuple[pd.DataFrame, int] | None:
    """Mean top-1 of `student` and `baseline` by number of passes, over the seeds that have all, and how many these are;
    None where fewer than three numbers have been run."""
    if setting.budget.empty:
        return None
    table = setting.budget.pivot_table(index="passes", columns=["role", "seed"], values="top-1").dropna(axis="columns")
    if len(table) < 3 or not {"student", "baseline"} <= set(table.columns.get_level_values("role")):
        return None
    seeds = table["student"].columns.intersection(table["baseline"].columns)
    return pd.DataFrame({role: table[role][seeds].mean(axis=1) for role in ("student", "baseline")}), len(seeds)


def _most_and_last(table: pd.DataFrame) -> str:
    passes: list[int] = table.index.tolist()
    student, baseline = (dict(zip(passes, table[role], strict=True)) for role in ("student", "baseline"))
    most, last = max(passes, key=lambda one: abs(student[one] - baseline[one])), passes[-1]
    told = f"with {most} joint passes the student is right in {number(student[most])} of the test images and the "
    told += f"baseline in {number(baseline[most])}"
    return told if last == most else f"{told}; with {last} in {number(student[last])} and {number(baseline[last])}"


def longer_elsewhere(setting: Setting, settings: Sequence[Setting]) -> str:
    """What the network trained alone reaches with more passes on the same images, in a sentence; empty where no setting
    knows. A student's lead at few passes may be no more than a head start."""
    own = setting.of("baseline")
    few = mean(own, "joint_passes")
    for other in settings:
        rows = other.of("baseline")
        many = mean(rows, "joint_passes")
        if other.images == setting.images and other.triple == setting.triple and many > few:
            return (
                f"Accuracies of *{escape(setting.title)}* are those of a short training: with {many:.0f} instead of "
                f"{few:.0f} joint passes, in *{escape(other.title)}*, the network trained alone reaches "
                f"{mean(rows, 'top1'):.3f} instead of {mean(own, 'top1'):.3f}."
            )
    return ""


def trained_twice(settings: Sequence[Setting]) -> str:
    """Where the network trained alone was trained in two studies from the same images, passes and seeds, and came out
    differently: by how much, in a sentence; empty elsewhere."""
    found = []
    for i, one in enumerate(settings):
        for other in settings[i + 1 :]:
            own = [s.of("baseline").query("metric == 'top1'").set_index("seed")["value"] for s in (one, other)]
            passes = [mean(s.of("baseline"), "joint_passes") for s in (one, other)]
            same = (one.images, one.triple, passes[0]) == (other.images, other.triple, passes[1])
            apart = (own[0] - own[1]).dropna()
            if same and len(apart) and (apart != 0).any():
                found.append(
                    f"{own[0].mean():.3f} in *{escape(one.title)}* and {own[1].mean():.3f} in *{escape(other.title)}* "
                    f"(of one seed up to {apart.abs().max():.3f} apart)"
                )
    return (
        f"The network trained alone has {listed(found)}, of the same recipe, images and seeds: trained by another "
        "state of the code or on another machine, and a training that rounds differently ends elsewhere. Compare "
        "within a study."
        if found
        else ""
    )
