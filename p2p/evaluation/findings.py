"""The sentences of a study's pages: what the numbers say, in words that only the numbers decide."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from p2p.evaluation.claims import paired
from p2p.evaluation.explanation import number
from p2p.evaluation.rows import own_variant, without_threshold
from p2p.evaluation.tables import budget_table
from p2p.study.pages import escape, signed

NONE = "none"


def mean(rows: pd.DataFrame, metric: str) -> str:
    """Mean of one metric over rows (columns metric, value), with two digits; "none" where there is no value."""
    values = rows.loc[rows["metric"] == metric, "value"]
    return number(values.mean()) if len(values) else NONE


def network(rows: pd.DataFrame, role: str, variant: str = "paper") -> pd.DataFrame:
    """The rows of one network; only a student has a variant other than the paper's."""
    return rows[(rows["role"] == role) & (rows["variant"] == (variant if role == "student" else "paper"))]


def comparison(frame: pd.DataFrame, triple: str, images: str, variant: str = "paper") -> str:
    """Student beside baseline, each beside its permuted value, floor and second teacher; PMS, AJS and accuracy.

    Args:
        frame: Metric rows of a study, all seeds; columns as `p2p.evaluation.rows.COLUMNS`.
        triple: Whose.
        images: What they are.
        variant: Of the student.
    """
    tuned = without_threshold(frame)
    part = tuned[tuned["triple"] == triple]
    variant = own_variant(part, variant)
    teacher, baseline, student = (network(part, role, variant) for role in ("teacher", "baseline", "student"))
    levels = {"pms_floor": "a random network reaches", "pms_second_teacher": "a second teacher reaches"}
    known = {metric: word for metric, word in levels.items() if mean(part, metric) != NONE}
    beside = [f"{', ' if i else '; '}{word} {mean(part, metric)}" for i, (metric, word) in enumerate(known.items())]
    return (
        f"On {escape(images)}, with {triple} and {frame['seed'].nunique()} seeds, the student matches the teacher's "
        f"prototypes with a PMS of **{mean(student, 'pms')}**, the same network trained alone with "
        f"**{mean(baseline, 'pms')}**. "
        f"Asked about other images, the two still reach {mean(student, 'pms_permuted')} and "
        f"{mean(baseline, 'pms_permuted')}{''.join(beside)}. The overlap of active patches "
        "(AJS at τ = ∞, not corrected for chance) is "
        f"{mean(student, 'ajs')} against {mean(baseline, 'ajs')} "
        f"(permuted {mean(student, 'ajs_permuted')} and {mean(baseline, 'ajs_permuted')}). "
        f"Accuracy: teacher {mean(teacher, 'top1')}, student {mean(student, 'top1')}, "
        f"baseline {mean(baseline, 'top1')}."
    )


def ordinary_classifiers(frame: pd.DataFrame, triple: str, controls: dict[str, str]) -> dict[str, pd.Series]:
    """Top-1 by seed of each control that is an ordinary classifier, by the role that it was changed from.

    A network has prototypes where its projection error was measured.

    Args:
        frame: Metric rows of a study, all seeds.
        triple: Whose.
        controls: control: the role it was changed from.
    """
    tuned = without_threshold(frame)
    own = tuned[tuned["triple"] == triple]
    with_prototypes = set(own.loc[own["metric"] == "projection_error", "variant"])
    rows = own[own["metric"] == "top1"]
    found = {
        origin: rows[rows["variant"] == control].set_index("seed")["value"]
        for control, origin in controls.items()
        if control not in with_prototypes
    }
    return {origin: values for origin, values in found.items() if len(values)}


def price_of_prototypes(
    frame: pd.DataFrame, triple: str, controls: dict[str, str], variant: str = "paper"
) -> list[str]:
    """For each ordinary classifier, how much accuracy prototypes cost the network it was made from; arguments as above,
    and the variant of the student.
    """
    tuned, lines = without_threshold(frame), []
    rows = tuned[(tuned["triple"] == triple) & (tuned["metric"] == "top1")]
    for origin, values in ordinary_classifiers(frame, triple, controls).items():
        own = network(rows, origin, variant)
        if len(own):
            trunk = "teacher" if origin == "teacher" else "student"
            cost = paired((100 * (values - own.set_index("seed")["value"])).dropna().to_numpy(dtype=float))
            whom = "teacher" if origin == "teacher" else "network trained alone"
            told = "cost" if cost.mean >= 0 else "gain"
            span = f" (cost with 95 % interval: {signed(cost.low, 1)} to {signed(cost.high, 1)})"
            lines.append(
                f"An ordinary classifier on the {trunk}'s trunk, trained at the same budget, reaches "
                f"{values.mean():.2f}: prototypes {told} the {whom} {abs(cost.mean):.1f} points"
                f"{span if cost.low == cost.low else ''}."
            )
    return lines


def verdicts(claims: pd.DataFrame) -> list[str]:
    """Each claim of a study with its difference, interval and verdict, a list for each triple.

    Args:
        claims: As `p2p.evaluation.claims.claims` gives them.
    """
    parts = []
    for triple, rows in claims.groupby("setting", sort=False):
        seeds = int(rows["n_seeds"].max())
        head = f"Of the student against the baseline, {triple}, {seeds} seed{'s' if seeds != 1 else ''}"
        parts.append(f"{head} ([main table](./04_table.ipynb)):")
        parts.append("\n".join(f"- {row.claim}: {_told(row)}" for row in rows.itertuples()))
    return parts


def _told(row: Any) -> str:
    """The difference with its interval, then the verdict; a claim that nothing speaks to says so."""
    if not row.n_seeds:
        return "not measured here"
    if row.low != row.low:
        return f"{signed(row.difference)}, one seed alone, *{row.verdict}*"
    return f"{signed(row.difference)} ({signed(row.low)} to {signed(row.high)}), *{row.verdict}*"


def beaten_by_a_random_network(frame: pd.DataFrame, triple: str, variant: str = "paper") -> str:
    """A sentence where a network with random weights passes the student in PMS or AJS; empty elsewhere.

    Args:
        frame: Metric rows of a study, all seeds.
        triple: Whose.
        variant: Of the student.
    """
    tuned = without_threshold(frame)
    part = tuned[tuned["triple"] == triple]
    student, said = network(part, "student", variant), []
    for metric, name in (("pms", "PMS"), ("ajs", "AJS")):
        own = student.loc[student["metric"] == metric, "value"].mean()
        floor = part.loc[part["metric"] == f"{metric}_floor", "value"].mean()
        if floor > own:
            said.append(f"{name} ({floor:.2f} against {own:.2f})")
    return f"A network with random weights passes the student in {' and '.join(said)}." if said else ""


def short_schedule(budget: pd.DataFrame, triple: str) -> list[str]:
    """What the shortest budget would have said, beside the study's own; nothing without a shorter one.

    Args:
        budget: As `p2p.evaluation.tables.budget_table` gives it.
        triple: Whose.
    """
    rows = budget[budget["triple"] == triple]
    chosen, passes = rows.loc[rows["chosen"], "passes"], rows["passes"]
    if rows.empty or passes.min() == chosen.min():
        return []

    def told(role: str, passes: int, column: str) -> str:
        return f"{rows.loc[(rows['role'] == role) & (rows['passes'] == passes), column].mean():.2f}"

    parts = []
    for count in (int(passes.min()), int(chosen.min())):
        parts.append(
            f"with {count} joint passes the student reproduces an R² of {told('student', count, 'R²')} of the "
            f"teacher's map, its PMS is {told('student', count, 'PMS')} (baseline {told('baseline', count, 'PMS')}), "
            f"and straight after the push it is right in {told('student', count, 'top-1, after push')} of the images "
            f"(baseline {told('baseline', count, 'top-1, after push')})"
        )
    return [f"What a short schedule does: {'; '.join(parts)}. All else is the same method."]


def study_findings(
    frame: pd.DataFrame, claims: pd.DataFrame, images: str, controls: dict[str, str], variant: str = "paper"
) -> str:
    """`findings.md`: for each triple a paragraph, what a short schedule does and prototypes cost, and the verdicts.

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
        parts += filter(None, [beaten_by_a_random_network(frame, triple, variant)])
        parts += short_schedule(budget_table(frame, variant), triple)
        parts += price_of_prototypes(frame, triple, controls, variant)
    return "\n\n".join([*parts, *verdicts(claims)])


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
