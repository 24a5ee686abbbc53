"""The tables of a study's pages: frames of numbers in, frames of text out, as `p2p.study.pages.table` shows them.

A missing value is a dash. Ranges are written "0.712 (0.690–0.731)": mean, lowest and highest seed. A frame of metric
rows has the columns of `p2p.evaluation.rows.COLUMNS`.
"""

from __future__ import annotations

import pandas as pd

from p2p import metrics
from p2p.evaluation.rows import network_names, own_variant, without_threshold
from p2p.study.pages import mean_range, signed

NONE = "–"
HEADS = {"top1": "top-1", "top1_push": "top-1, after push", "ajs": "AJS", "pms": "PMS"}
HEADS |= {"same_source_image": "same source image", "distinct_prototypes": "distinct prototypes"}


def of_seeds(rows: pd.DataFrame, metric: str, digits: int = 3, spread: bool = True) -> str:
    """Mean and range of one metric; rows: metric, value, one a seed."""
    return mean_range(rows.loc[rows["metric"] == metric, "value"], digits, spread)


def interval(low: float, high: float, digits: int = 3) -> str:
    """ " (+0.010 to +0.030)", nothing where a single seed gives none."""
    return f" ({signed(low, digits)} to {signed(high, digits)})" if low == low else ""


# ------------------------------------------------------------------------------------------------------ a whole study


def main_table(frame: pd.DataFrame, triple: str, variant: str = "paper") -> pd.DataFrame:
    """The networks of a triple, and below them the levels to read them against.

    Args:
        frame: Metric rows of a study, all seeds.
        triple: Whose.
        variant: Of the student, whose permuted value and chance are shown.

    Returns:
        network, a column for each metric that is shown (AAP, AJS, PMS, …), top-1, "top-1, teacher's head".
    """
    tuned = without_threshold(frame)
    of_one, of_two = ([metric for metric in of if metric.shown] for of in (metrics.OF_ONE, metrics.OF_TWO))
    part, rows = tuned[tuned["triple"] == triple], []
    for _, group in part.groupby(["role", "variant"], sort=False):
        if "top1" not in set(group["metric"]):  # the random network and the second teacher: levels, below
            continue
        values = {metric.label: of_seeds(group, metric.name, metric.digits) for metric in (*of_one, *of_two)}
        same = {metric.label: "1" for metric in of_two} if group["role"].iloc[0] == "teacher" else {}
        accuracy = {"top-1": of_seeds(group, "top1"), "top-1, teacher's head": of_seeds(group, "top1_teacher_head")}
        rows.append({"network": network_names(group).iloc[0], **values, **same, **accuracy})
    student = part[(part["role"] == "student") & (part["variant"] == own_variant(part, variant))]
    baseline = part[(part["role"] == "baseline") & (part["variant"] == "paper")]
    levels = (
        ("*floor: random network*", part, "_floor"),
        ("*floor: baseline, images permuted*", baseline, "_permuted"),
        ("*floor: student, images permuted*", student, "_permuted"),
        ("*chance formula, student*", student, "_chance"),
        ("*second teacher*", part, "_second_teacher"),
    )
    for name, group, suffix in levels:
        values = {m.label: of_seeds(group, f"{m.name}{suffix}", m.digits) for m in (*of_one, *of_two)}
        rows.append({"network": name, **values, "top-1": NONE, "top-1, teacher's head": NONE})
    return pd.DataFrame(rows)


def plain_text(tables: dict[str, pd.DataFrame], images: str, seeds: list[int]) -> str:
    """`table.md`: the main tables for a terminal, one after the other.

    Args:
        tables: triple: as `main_table` gives it.
        images: What they are.
        seeds: Of the study.
    """
    parts = (f"{name} ({images}, seeds {seeds})\n\n{part.to_markdown(index=False)}" for name, part in tables.items())
    return "\n\n".join(parts) + "\n"


def stage_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every network before the push, after it and tuned, and its largest projection error.

    Args:
        frame: Metric rows of a study, all seeds.

    Returns:
        triple, network, before push, after push, tuned, "projection error, max".
    """
    named, rows = frame.assign(network=network_names(frame)), []
    errors = named[named["metric"] == "projection_error"]
    stages = {"before push": "pre_push", "after push": "push", "tuned": "tuned"}
    for (triple, network), group in named[named["metric"] == "top1"].groupby(["triple", "network"], sort=False):
        row = {"triple": triple, "network": network}
        row |= {name: of_seeds(group[group["stage"] == stage], "top1") for name, stage in stages.items()}
        error = errors[(errors["triple"] == triple) & (errors["network"] == network)]["value"]
        rows.append(row | {"projection error, max": f"{error.max():.0e}" if len(error) else NONE})
    return pd.DataFrame(rows)


def following_table(frame: pd.DataFrame, variant: str = "paper") -> pd.DataFrame:
    """How far each network got towards its teacher, beside chance.

    Args:
        frame: Metric rows of a study, all seeds.
        variant: Of the student.

    Returns:
        triple, network (baseline and student), "R² of the map" (a dash: it was never taught), "same number", "same
        source patch", "same source image", "distinct prototypes"; the second, third and fourth with chance behind them.
    """
    tuned, rows = without_threshold(frame), []
    for triple, part in tuned.groupby("triple", sort=False):
        for role, name in (("baseline", "paper"), ("student", own_variant(part, variant))):
            own = part[(part["role"] == role) & (part["variant"] == name)]
            row = {"triple": triple, "network": role, "R² of the map": of_seeds(own, "r2")}
            for head, metric, chance in (
                ("same number", "same_index", "same_index_chance"),
                ("same source patch", "same_source_patch", "same_source_patch_chance"),
                ("same source image", "same_source_image", "same_source_image_chance"),
            ):
                by_chance = of_seeds(own, chance, spread=False)
                row[head] = NONE if by_chance == NONE else f"{of_seeds(own, metric)}; chance {by_chance}"
            rows.append(row | {"distinct prototypes": of_seeds(own, "distinct_prototypes", 0)})
    return pd.DataFrame(rows)


def budget_table(frame: pd.DataFrame, variant: str = "paper") -> pd.DataFrame:
    """The rows of `budget.csv`: what baseline and student reach with fewer and more joint passes, and the study's own.

    Args:
        frame: Metric rows of a study, all seeds.
        variant: Of the student.

    Returns:
        triple, role, passes, seed, chosen (whether the study trains so long), "top-1, validation", "top-1, after push",
        top-1, R², PMS, "PMS, permuted"; empty for a study without `budget`.
    """
    heads = {"top1_validation": "top-1, validation", "push": "top-1, after push", "top1": "top-1", "r2": "R²"}
    heads |= {"pms": "PMS", "pms_permuted": "PMS, permuted"}
    rows = without_threshold(frame)
    pushed = frame[(frame["stage"] == "push") & (frame["metric"] == "top1")].assign(metric="push")
    rows = pd.concat([rows, pushed], ignore_index=True)
    shown = {f"{role}-{kind}" for role in ("baseline", "student") for kind in ("paper", variant)}
    chosen = (rows["role"] + "-" + rows["variant"]).isin(shown)
    longer = rows["role"] == "budget"
    with_budget = rows["triple"].isin(rows.loc[longer, "triple"])
    rows = rows.assign(chosen=chosen)[(chosen | longer) & with_budget]
    rows["role"] = rows["role"].where(rows["chosen"], rows["variant"].str.replace(r"-\d+$", "", regex=True))
    keys = ["triple", "role", "variant", "seed", "chosen"]
    wide = rows.pivot_table(index=keys, columns="metric", values="value", sort=False)
    if wide.empty:
        return pd.DataFrame(columns=["triple", "role", "passes", "seed", "chosen", *heads.values()])
    wide = wide.reset_index().rename(columns={"joint_passes": "passes", **heads}).astype({"passes": int})
    wide = wide.sort_values(["triple", "role", "passes", "seed"], kind="stable", ignore_index=True)
    return wide.reindex(columns=["triple", "role", "passes", "seed", "chosen", *heads.values()])


def tree_table(frame: pd.DataFrame, variant: str = "paper") -> pd.DataFrame:
    """Soft and hard readings of the trees, and what pruning left (`p2p.tree.TreeDecision.facts`).

    Args:
        frame: Metric rows of a study, all seeds.
        variant: Of the students; other students and budgets are left out.

    Returns:
        network, soft, likeliest leaf, agrees, node by node, agrees, leaves (before → after pruning), questions asked.
    """
    top = without_threshold(frame)
    shown = top[top["role"].isin(["teacher", "baseline"]) | (top["role"].eq("student") & top["variant"].eq(variant))]
    rows = []
    for _, group in shown.groupby(["triple", "role", "variant"], sort=False):
        if "leaves" not in set(group["metric"]):
            continue
        before, after, asked = (of_seeds(group, name, 1) for name in ("leaves_unpruned", "leaves", "path_sample_max"))
        rows.append(
            {
                "triple": group["triple"].iloc[0],
                "network": group["role"].iloc[0],
                "soft": of_seeds(group, "top1"),
                "likeliest leaf": of_seeds(group, "top1_sample_max"),
                "… agrees": of_seeds(group, "fidelity_sample_max"),
                "node by node": of_seeds(group, "top1_greedy"),
                "…  agrees": of_seeds(group, "fidelity_greedy"),
                "leaves": f"{before} → {after}",
                "questions asked": asked,
            }
        )
    return pd.DataFrame(rows)


def claim_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows of `claims.csv` (see `p2p.evaluation.claims.claims`) as they are read.

    Returns:
        claim, triple, seeds, difference, "95 % interval", "p (Holm)", "detectable", verdict.
    """
    ends = zip(claims["low"], claims["high"], strict=True)
    return pd.DataFrame(
        {
            "claim": claims["claim"],
            "triple": claims["setting"],
            "seeds": claims["n_seeds"],
            "difference": claims["difference"].map(lambda value: signed(value) if value == value else NONE),
            "95 % interval": [f"{signed(low)} to {signed(high)}" if low == low else NONE for low, high in ends],
            "p (Holm)": claims["p_holm"].map(p_text),
            "detectable": claims["detectable"].map(lambda value: f"{value:.3f}" if value == value else NONE),
            "verdict": claims["verdict"],
        }
    )


def p_text(p: float) -> str:
    """Three digits; what is smaller is said to be smaller, never zero."""
    if p != p:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def control_table(effects: pd.DataFrame) -> pd.DataFrame:
    """What each control changes, a row a control.

    Args:
        effects: As `p2p.evaluation.claims.control_effects` gives them.

    Returns:
        triple, control, changed from, seeds, and of `HEADS` those that there are; empty without controls.
    """
    ends = zip(effects["difference"], effects["low"], effects["high"], strict=True)
    effects = effects.assign(value=[f"{signed(difference)}{interval(low, high)}" for difference, low, high in ends])
    keys = ["setting", "control", "of"]
    effects = effects.assign(seeds=effects.groupby(keys)["n_seeds"].transform("max").astype(str))
    wide = effects.pivot(index=[*keys, "seeds"], columns="metric", values="value").fillna(NONE)
    wide = wide.reset_index().rename(columns={"setting": "triple", "of": "changed from", **HEADS})
    return wide[[head for head in ("triple", "control", "changed from", "seeds", *HEADS.values()) if head in wide]]
