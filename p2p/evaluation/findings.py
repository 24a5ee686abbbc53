"""The sentences of a study's pages: what the numbers say, in words that only the numbers decide."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from p2p.evaluation.rows import without_threshold

NONE = "none"


def mean(rows: pd.DataFrame, metric: str) -> str:
    """Mean of one metric over rows (columns metric, value), with two digits; "none" where there is no value."""
    values = rows.loc[rows["metric"] == metric, "value"]
    return f"{values.mean():.2f}" if len(values) else NONE


def network(rows: pd.DataFrame, role: str, variant: str = "paper") -> pd.DataFrame:
    """The rows of one network; only a student has a variant other than the paper's."""
    return rows[(rows["role"] == role) & (rows["variant"] == (variant if role == "student" else "paper"))]


def comparison(frame: pd.DataFrame, triple: str, images: str, variant: str = "paper") -> str:
    """Student beside baseline, each beside its permuted value, floor and ceiling; PMS, AJS and accuracy.

    Args:
        frame: Metric rows of a study, all seeds; columns as `p2p.evaluation.rows.COLUMNS`.
        triple: Whose.
        images: What they are.
        variant: Of the student.
    """
    tuned = without_threshold(frame)
    part = tuned[tuned["triple"] == triple]
    teacher, baseline, student = (network(part, role, variant) for role in ("teacher", "baseline", "student"))
    return (
        f"On {images}, with {triple} and {frame['seed'].nunique()} seeds, the student matches the teacher's prototypes "
        f"with a PMS of **{mean(student, 'pms')}**, the same network trained alone with **{mean(baseline, 'pms')}**. "
        f"Asked about other images, the two still reach {mean(student, 'pms_permuted')} and "
        f"{mean(baseline, 'pms_permuted')}; a random network reaches {mean(part, 'pms_floor')}, a second teacher "
        f"{mean(part, 'pms_ceiling')}. The overlap of active patches, AJS, is {mean(student, 'ajs')} against "
        f"{mean(baseline, 'ajs')} (permuted {mean(student, 'ajs_permuted')} and {mean(baseline, 'ajs_permuted')}). "
        f"Accuracy: teacher {mean(teacher, 'top1')}, student {mean(student, 'top1')}, "
        f"baseline {mean(baseline, 'top1')}."
    )


def price_of_prototypes(
    frame: pd.DataFrame, triple: str, controls: dict[str, str], variant: str = "paper"
) -> list[str]:
    """For each control that is an ordinary classifier (`linear…`), how much accuracy its prototypes cost its origin.

    Args:
        frame: Metric rows of a study, all seeds.
        triple: Whose.
        controls: control: the role it was changed from.
        variant: Of the student.
    """
    tuned, lines = without_threshold(frame), []
    rows = tuned[(tuned["triple"] == triple) & (tuned["metric"] == "top1")]
    for control, origin in controls.items():
        changed, own = rows.loc[rows["variant"] == control, "value"], network(rows, origin, variant)["value"]
        if control.startswith("linear") and len(changed) and len(own):
            trunk = "teacher" if origin == "teacher" else "student"
            cost = 100 * (changed.mean() - own.mean())
            lines.append(
                f"An ordinary classifier on the {trunk}'s trunk, trained at the same budget, reaches "
                f"{changed.mean():.2f}: prototypes cost {cost:.0f} points."
            )
    return lines


def verdicts(claims: pd.DataFrame, seeds: int) -> list[str]:
    """The verdict of each claim of the paper as a list, then those of this study's own checks.

    Args:
        claims: As `p2p.evaluation.claims.claims` gives them.
        seeds: How many there are.
    """
    own = claims["metric"].str.endswith("_permuted")
    stated, checks = (
        "\n".join(f"- {row.claim}: *{row.verdict}*" for row in rows.itertuples())
        for rows in (claims[~own], claims[own])
    )
    checks = checks.replace("*reproduced*", "*yes*").replace("*not reproduced*", "*no*")
    over = f"over {seeds} seeds" + ("" if seeds > 2 else ", too few for a verdict of *reproduced*")
    return [
        f"The paper's claims here, {over} ([main table](./04_table.ipynb)):",
        stated,
        "Two checks that the paper does not make, of whether a gain is more than a liking for certain cells:",
        checks,
    ]


def study_findings(
    frame: pd.DataFrame, claims: pd.DataFrame, images: str, controls: dict[str, str], variant: str = "paper"
) -> str:
    """`findings.md`: a paragraph for each triple, what prototypes cost there, and the verdicts.

    Args:
        frame: Metric rows of a study, all seeds; columns as `p2p.evaluation.rows.COLUMNS`.
        claims: As `p2p.evaluation.claims.claims` gives them.
        images: What they are.
        controls: control: the role it was changed from.
        variant: Of the student.
    """
    parts = []
    for triple in frame["triple"].unique():
        parts.append(comparison(frame, triple, images, variant))
        parts += price_of_prototypes(frame, triple, controls, variant)
    return "\n\n".join([*parts, *verdicts(claims, frame["seed"].nunique())])


def runs_sentence(records: Collection[dict[str, Any]]) -> str:
    """What the runs behind a page cost in all, and where they ran; records: see `p2p.study.provenance.provenance`."""
    hours = sum(run["hours"] for run in records)
    passes = sum(run["image_passes"] + run["teacher_passes"] for run in records)
    devices = ", ".join(sorted({run["device"] for run in records}))
    commits = ", ".join(sorted({f"`{run['commit']}`" + ("*" if run["dirty"] else "") for run in records}))
    return (
        f"The {len(records)} runs behind this page: {hours:.2f} h and {passes:,} image passes in all on {devices}, "
        f"commit {commits}. Each run's own record is in `provenance.json`."
    )
