"""The paper's claims as paired differences over seeds, each with an interval and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from p2p.evaluation.rows import corrected, own_variant, without_threshold

DELTAS = {"accuracy": 0.01, "similarity": 0.02}  # smallest effects of interest, where a study declares none
FLAT = 0.01  # of validation accuracy: what twice the passes may move, for a verdict on accuracy to count
CONTROLLED = ("top1", "top1_push", "ajs", "pms", "same_source_image", "distinct_prototypes")
UNDECIDED = "not decided at this budget"


class Claim(NamedTuple):
    """What is claimed of the student against the baseline, and how the two are compared."""

    metric: str
    text: str
    form: Literal["corrected", "nearer", "plain"]
    effect: Literal["accuracy", "similarity"]


# `corrected`: (v − v_permuted) / (1 − v_permuted), each network against its own permuted images. `nearer`: how far the
# value lies from the teacher's, in shares of the teacher's. Accuracies are compared as they are, and so are matches of
# the same number: two networks whose prototypes favour the same cells find each other on other images, too.
CLAIMS = (
    Claim("pms", "its prototypes lie on the teacher's places, image by image (PMS)", "corrected", "similarity"),
    Claim("ajs_quarter", "its active patches overlap more with the teacher's (AJS)", "corrected", "similarity"),
    Claim("same_index", "more of its prototypes match the teacher's of the same number", "plain", "similarity"),
    Claim("aap_quarter", "its number of active patches is nearer to the teacher's (AAP)", "nearer", "similarity"),
    Claim("top1_push", "it is more accurate straight after the push", "plain", "accuracy"),
    Claim("top1", "it is more accurate", "plain", "accuracy"),
    Claim("top1_teacher_head", "the teacher's decision layer, untouched, serves it better", "plain", "accuracy"),
)


@dataclass(frozen=True)
class Paired:
    """Mean paired difference, 95 % t-interval, two-sided p, and the effect that so many seeds would have shown.

    The last four are nan below two seeds.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    detectable: float  # with 80 % power at 5 %


def paired(differences: np.ndarray) -> Paired:
    """Of differences (n_seeds,), one a seed."""
    n, mean = len(differences), float(np.mean(differences)) if len(differences) else nan
    if n < 2:
        return Paired(n, mean, nan, nan, nan, nan)
    error = float(np.std(differences, ddof=1)) / sqrt(n)
    if error == 0:
        return Paired(n, mean, mean, mean, 1.0 if mean == 0 else 0.0, 0.0)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    detectable = half + float(stats.t.ppf(0.8, n - 1)) * error
    return Paired(n, mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1)), detectable)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values for their being several; nan stays nan and does not count."""
    order = sorted((i for i, value in enumerate(p) if not isnan(value)), key=lambda i: p[i])
    corrected, largest = list(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def verdict(result: Paired, delta: float) -> str:
    """One of four words, by the 95 % interval and the smallest effect of interest δ.

    "no effect that matters": wholly within ±δ. "supported": wholly above 0. "contradicted": wholly below 0.
    "inconclusive": anything else, and whatever fewer than three seeds say, however alike they are.
    """
    if result.n < 3:
        return "inconclusive"
    if -delta <= result.low and result.high <= delta:
        return "no effect that matters"
    if result.low > 0:
        return "supported"
    return "contradicted" if result.high < 0 else "inconclusive"


def claims(frame: pd.DataFrame, variant: str = "paper", deltas: Mapping[str, float] = DELTAS) -> pd.DataFrame:
    """The rows of `claims.csv`: student against baseline of the same seed, for every triple.

    A verdict on accuracy counts only where twice the joint passes move the validation accuracy of neither by a point
    (see `flat_budget`).

    Args:
        frame: `metrics.csv` of one study.
        variant: Of the student.
        deltas: δ of accuracies and of similarities, as the study file declares them.

    Returns:
        claim, setting, metric, n_seeds, difference, low, high, p_holm, delta, detectable, verdict; a positive
        difference speaks for the claim; p is corrected over the claims of a triple.
    """
    parts = []
    for triple, part in frame.groupby("triple", sort=False):
        own = own_variant(part, variant)
        flat, rows, p = flat_budget(part, own), [], []
        for claim in CLAIMS:
            student, baseline = (claimed(part, claim, *who) for who in (("student", own), ("baseline", "paper")))
            result = paired((student - baseline).dropna().to_numpy(dtype=float))
            delta = deltas[claim.effect]
            said = UNDECIDED if claim.effect == "accuracy" and not flat else verdict(result, delta)
            p.append(result.p)
            row = (claim.text, triple, claim.metric, result.n, result.mean, result.low, result.high)
            rows.append((*row, delta, result.detectable, said))
        columns = [
            "claim",
            "setting",
            "metric",
            "n_seeds",
            "difference",
            "low",
            "high",
            "delta",
            "detectable",
            "verdict",
        ]
        table = pd.DataFrame(rows, columns=columns)
        table.insert(7, "p_holm", holm(p))
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def flat_budget(frame: pd.DataFrame, variant: str = "paper") -> bool:
    """Whether twice the joint passes move the validation accuracy of baseline and student by less than `FLAT`.

    Twice as long are runs of the triple's `budget`; without them it is not known.

    Args:
        frame: Metric rows of one triple.
        variant: Of the student.
    """
    found = doubled(frame, variant).values()
    return all(len(own) and abs((longer - own).mean()) < FLAT for own, longer in found)


def doubled(frame: pd.DataFrame, variant: str = "paper") -> dict[str, tuple[pd.Series, pd.Series]]:
    """Validation accuracy by seed of baseline and student, as they are and after twice the joint passes; of the seeds
    that have both, so empty without a budget.

    Args:
        frame: Metric rows of one triple.
        variant: Of the student.
    """
    rows, found = without_threshold(frame), {}
    for role, name in (("baseline", "paper"), ("student", variant)):
        passes = _by_seed(rows, role, name, "joint_passes")
        twice = f"{role}-{2 * int(passes.max())}" if len(passes) else ""
        longer, own = (_by_seed(rows, *who, "top1_validation") for who in (("budget", twice), (role, name)))
        both = longer.index.intersection(own.index)
        found[role] = (own[both], longer[both])
    return found


def control_effects(frame: pd.DataFrame, controls: dict[str, str], variant: str = "paper") -> pd.DataFrame:
    """What each control changes against the role it was derived from, within seeds.

    Args:
        frame: `metrics.csv` of one study.
        controls: Name of the control: teacher, baseline or student.
        variant: Of the student.

    Returns:
        control, of, setting, metric (see `CONTROLLED`), n_seeds, difference, low, high; control less origin.
    """
    pushed = frame[(frame["stage"] == "push") & (frame["metric"] == "top1")].assign(metric="top1_push")
    tuned, rows = pd.concat([without_threshold(frame), pushed]), []
    for triple, part in tuned.groupby("triple", sort=False):
        for name, origin in controls.items():
            for metric in CONTROLLED:
                before = _by_seed(part, origin, variant if origin == "student" else "paper", metric)
                values = (_by_seed(part, "control", name, metric) - before).dropna().to_numpy(dtype=float)
                if len(values):
                    result = paired(values)
                    rows.append((name, origin, triple, metric, result.n, result.mean, result.low, result.high))
    columns = ["control", "of", "setting", "metric", "n_seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def claimed(frame: pd.DataFrame, claim: Claim, role: str, variant: str) -> pd.Series:
    """The value that a claim compares, by seed; higher speaks for the network.

    Args:
        frame: Metric rows of one triple.
        claim: Whose.
        role: teacher, baseline, student or control.
        variant: Of the role.
    """
    if claim.metric == "top1_push":
        return _by_seed(frame[frame["stage"] == "push"], role, variant, "top1")
    rows = without_threshold(frame)
    values = _by_seed(rows, role, variant, claim.metric)
    if claim.form == "corrected":
        return corrected(values, _by_seed(rows, role, variant, f"{claim.metric}_permuted"))
    if claim.form == "nearer":
        teacher = _by_seed(rows, "teacher", "paper", claim.metric)
        return -(values - teacher).abs() / teacher
    return values


def _by_seed(frame: pd.DataFrame, role: str, variant: str, metric: str) -> pd.Series:
    chosen = frame[(frame.role == role) & (frame.variant == variant) & (frame.metric == metric)]
    return chosen.set_index("seed")["value"]
