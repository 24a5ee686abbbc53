"""The sentences of the page "Speed"."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmarks.summary import number
from benchmarks.timing import OURS

CODED = (300 + 29 * 10) * 40  # passes over an image: epochs, decision layer after each push, prepared copies


def target_lines(goals: pd.DataFrame) -> list[str]:
    """Of each work its ratios, its target and whether it was met; goals: as `benchmarks.summary.reached` gives them."""
    lines = []
    for (work, aim), group in goals.groupby(["work", "target"], sort=False):
        ratios = ", ".join(f"{row['shape'].split()[0]} **{row['ratio']}**" for _, row in group.iterrows())
        met = {("yes",): "met", ("no",): "not met"}.get(tuple(group["met"].unique()), "met in part")
        lines.append(f"{work}: {ratios}; target {aim}, *{met}*.")
    return lines


def pass_line(costs: pd.DataFrame) -> list[str]:
    """Image passes of the released schedule against the lean recipe, or nothing where it was not measured.

    Args:
        costs: As `benchmarks.tables.recipe_costs` gives them.
    """
    groups = [(name, group) for name, group in costs.groupby("variant", sort=False) if str(name).startswith("official")]
    told = [f"{name} {group['ratio'].mean():.1f} times as many ({group['test'].mean():.3f})" for name, group in groups]
    if not told:
        return []
    lean = f"test accuracy {costs.loc[costs['role'] == 'teacher', 'test'].mean():.3f}"
    return [f"Image passes of the released schedule, against the lean recipe ({lean}): {', '.join(told)}."]


def speed_findings(
    goals: pd.DataFrame, scores: dict[str, float], slow: list[str], costs: pd.DataFrame | None, where: str
) -> str:
    """`findings.md` of the page.

    Args:
        goals: As `benchmarks.summary.reached` gives them.
        scores: contender: objective of the decision layer; empty if not measured.
        slow: As `benchmarks.summary.slower` gives them.
        costs: As `benchmarks.tables.recipe_costs` gives them, or None without a study of recipes.
        where: The machine.
    """
    lines = target_lines(goals)
    if scores:
        lowest = min(scores, key=scores.__getitem__)
        lines.append(f"The decision layer with the lowest objective: *{lowest}* ({scores[lowest]:.3f}).")
    lines += slow + (pass_line(costs) if costs is not None else [])
    head = f"The fastest peer's time over ours, on {where} ([all ratios](./09_speed.ipynb)):"
    return head + "\n\n" + "\n".join(f"- {line}" for line in lines)


def beyond_the_race(points: pd.DataFrame, target: float) -> str:
    """What CaBRNet did not reach, if our recipe ended above its best; else nothing.

    Args:
        points: who, seconds, accuracy, stage; see `benchmarks.tables.race_table`.
        target: The best accuracy of a peer.
    """
    last = points[points["who"] == OURS].iloc[-1]
    if not last["accuracy"] > target:
        return ""
    ended = points.loc[~points["who"].str.startswith(OURS), "seconds"].max()
    return (
        f"CaBRNet did not reach the accuracy of our recipe ({last['accuracy']:.3f}) by its last evaluation, "
        f"{number(ended / last['seconds'])} times the seconds that our recipe took to it."
    )


def released_on_paper() -> str:
    """How often the released configuration sends an image through the network."""
    return (
        "On paper: the released configuration, 300 epochs and 29 times ten passes for the decision layer, each over "
        f"forty copies, sends every training image through the network {CODED:,} times; the schedule measured here "
        "ends at epoch 32, where the learning rate is a ten-thousandth, and solves the decision layer from one pass."
    )


def measured_when(records: dict[str, dict[str, Any]], where: str) -> str:
    """The machine, and when each part was measured last; records: part: provenance."""
    told = "; ".join(
        f"{part}: {r['date']}, commit `{r['commit']}`, torch {r['versions']['torch']}" for part, r in records.items()
    )
    return f"Machine: {where}. Measured: {told}."
