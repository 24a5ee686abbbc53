"""The result file of the page "Speed": targets, the best peer, and why a target is out of reach."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.steps import UNTAUGHT
from benchmarks.timing import COLUMNS, Row

PARTS = {
    "steps": ("training step", "training step, bfloat16 trunk", "distillation step", "inference", "trunk alone"),
    "push": ("push", "push, search alone"),
    "decision": ("decision layer",),
    "metrics": ("AAP", "AJS", "PMS"),
    "end_to_end": ("end to end", "end to end, short run"),
}
WORKS = [work for works in PARTS.values() for work in works]


def targets(gpu: bool) -> dict[str, float]:
    """The ratio to reach against the best peer, for the works that have a target."""
    steps = dict.fromkeys(PARTS["steps"][:2], 2.0 if gpu else 1.2)
    return {**steps, "push": 20.0, "PMS": 200.0, **dict.fromkeys(PARTS["end_to_end"], 3.0)}


def merge(rows: list[Row], path: Path, parts: list[str]) -> pd.DataFrame:
    """The rows just measured, with those of other parts that the result file already has, in the order of `WORKS`."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    if path.is_file():
        measured = [work for part in parts for work in PARTS[part]]
        before = pd.read_csv(path)
        before = before[before["work"].isin(WORKS) & ~before["work"].isin(measured)]
        frame = before if frame.empty else frame if before.empty else pd.concat([before, frame], ignore_index=True)
    return frame.sort_values("work", key=lambda work: work.map(WORKS.index), kind="stable").reset_index(drop=True)


def best_peer(frame: pd.DataFrame) -> pd.DataFrame:
    """For each work and shape the row of the fastest peer; a network that is not taught does less, so it is none."""
    timed = frame[frame["peer"] != UNTAUGHT].dropna(subset=["peer_s"])
    return timed.loc[timed.groupby(["work", "shape"], sort=False)["peer_s"].idxmin()]


def ratio_text(row: pd.Series) -> str:
    """ "1.42 (1.38–1.47)", the range left out where there is none."""
    if pd.isna(row["ratio"]):
        return "not reached"
    text = number(row["ratio"])
    return text if pd.isna(row["ratio_low"]) else f"{text} ({number(row['ratio_low'])}–{number(row['ratio_high'])})"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def reached(frame: pd.DataFrame, wanted: dict[str, float]) -> pd.DataFrame:
    """Target and reached ratio, a row for each work with a target and each shape, against its fastest peer."""
    best = best_peer(frame)
    best = best[best["work"].isin(wanted)]
    target = best["work"].map(wanted)
    return pd.DataFrame(
        {
            "work": best["work"],
            "shape": best["shape"],
            "fastest peer": best["peer"],
            "ratio": [ratio_text(row) for _, row in best.iterrows()],
            "target": target.map("{:g}".format),
            "met": ["yes" if met else "no" for met in best["ratio"] >= target],
        }
    )


def common_work(frame: pd.DataFrame) -> pd.DataFrame:
    """How far a step and a push can be made faster at all: the ratio if all but the trunk cost us nothing.

    The trunk's share comes from "trunk alone" for the step; for the push it is what the search leaves.
    """
    rows = []
    best = best_peer(frame).set_index(["work", "shape"])
    for work, shape in best.index:
        if (rest := {"training step": "trunk alone", "push": "push, search alone"}.get(work)) is None:
            continue
        if (rest, shape) not in best.index:
            continue
        whole, part = best.loc[(work, shape)], best.loc[(rest, shape)]
        trunk = part["ours_s"] if work == "training step" else whole["ours_s"] - part["ours_s"]
        rows.append(
            {
                "work": work,
                "shape": shape,
                "trunk's share of our time": f"{trunk / whole['ours_s']:.0%}",
                "ratio": number(whole["ratio"]),
                "ratio if the rest cost nothing": number(whole["peer_s"] / trunk),
            }
        )
    return pd.DataFrame(rows)


def slower(frame: pd.DataFrame) -> list[str]:
    """A sentence for each row in which a peer is faster."""
    rows = frame[(frame["ratio"] < 1) & (frame["work"] != "trunk alone")]
    return [
        f"{row['peer']} is faster than this project at *{row['work']}* ({row['shape']}): ratio {ratio_text(row)}"
        + (", within the spread of the rounds." if row["ratio_high"] >= 1 else ".")
        for _, row in rows.iterrows()
    ]
