"""The paper's claims as paired differences over seeds, each with an interval and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import pandas as pd
from scipy import stats

from p2p.evaluation.rows import without_threshold

MARGIN = 0.02  # accuracy: what "can be used directly, without relearning" allows to be lost


@dataclass(frozen=True)
class Paired:
    """Mean paired difference, 95 % t-interval, two-sided p; the last three are nan below two seeds."""

    n: int
    mean: float
    low: float
    high: float
    p: float


def paired(differences: np.ndarray, margin: float = 0.0) -> Paired:
    """Of differences (n_seeds,), one a seed; p is that of a true mean of −margin."""
    n, mean = len(differences), float(np.mean(differences)) if len(differences) else nan
    if n < 2:
        return Paired(n, mean, nan, nan, nan)
    error = float(np.std(differences, ddof=1)) / sqrt(n)
    if error == 0:
        return Paired(n, mean, mean, mean, 1.0 if mean == -margin else 0.0)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return Paired(n, mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean + margin) / error, n - 1)))


def verdict(result: Paired, differences: np.ndarray, margin: float = 0.0) -> str:
    """reproduced: three or more seeds and the whole interval above −margin; in direction only: the mean is; not
    reproduced: the mean is not. With fewer than three seeds every seed has to agree, else: not testable here."""
    if result.n == 0:
        return "not testable here"
    if result.n < 3:
        above = differences > -margin
        if above.all():
            return "in direction only"
        return "not testable here" if above.any() else "not reproduced"
    if result.low > -margin:
        return "reproduced"
    return "in direction only" if result.mean > -margin else "not reproduced"


# Five claims of the paper, and two checks of this study's own (`…_permuted`): is a gain more than a liking for cells?
CLAIMS = (
    ("the student's active patches overlap more with the teacher's (AJS, τ = ∞)", "ajs"),
    ("AJS: the student exceeds its own value with permuted images by more than the baseline does", "ajs_permuted"),
    ("the student's prototypes match the teacher's better (PMS)", "pms"),
    ("PMS: the student exceeds its own value with permuted images by more than the baseline does", "pms_permuted"),
    ("the student's number of active patches is nearer to the teacher's (AAP, τ = ∞)", "aap"),
    ("the student is more accurate", "top1"),
    ("the teacher's decision layer serves the student without relearning", "top1_teacher_head"),
)


def claims(frame: pd.DataFrame, variant: str = "paper") -> pd.DataFrame:
    """The rows of `claims.csv`: student against baseline of the same seed, for every triple.

    The last claim is about the student alone: its accuracy under the teacher's decision layer less that under its own,
    with a margin of two points.

    Args:
        frame: `metrics.csv` of one study.
        variant: Of the student.

    Returns:
        claim, setting, metric, n_seeds, difference, low, high, p, verdict; a positive difference speaks for the claim.
    """
    tuned, rows = without_threshold(frame), []
    for triple, part in tuned.groupby("triple", sort=False):
        for claim, metric in CLAIMS:
            student = _by_seed(part, "student", variant, metric)
            if metric.endswith("_permuted"):
                name = metric.removesuffix("_permuted")
                own = _by_seed(part, "baseline", "paper", name) - _by_seed(part, "baseline", "paper", metric)
                difference = _by_seed(part, "student", variant, name) - student - own
            elif metric == "top1_teacher_head":
                difference = student - _by_seed(part, "student", variant, "top1")
            elif metric == "aap":
                teacher = _by_seed(part, "teacher", "paper", metric)
                difference = (_by_seed(part, "baseline", "paper", metric) - teacher).abs() - (student - teacher).abs()
            else:
                difference = student - _by_seed(part, "baseline", "paper", metric)
            values = difference.dropna().to_numpy(dtype=float)
            margin = MARGIN if metric == "top1_teacher_head" else 0.0
            result = paired(values, margin)
            said = verdict(result, values, margin)
            rows.append((claim, triple, metric, result.n, result.mean, result.low, result.high, result.p, said))
    columns = ["claim", "setting", "metric", "n_seeds", "difference", "low", "high", "p", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def control_effects(frame: pd.DataFrame, controls: dict[str, str], variant: str = "paper") -> pd.DataFrame:
    """What each control changes against the role it was derived from, within seeds.

    Args:
        frame: `metrics.csv` of one study.
        controls: Name of the control: teacher, baseline or student.
        variant: Of the student.

    Returns:
        control, of, setting, metric (top1, ajs at τ = ∞, pms), n_seeds, difference, low, high; control less origin.
    """
    tuned, rows = without_threshold(frame), []
    for triple, part in tuned.groupby("triple", sort=False):
        for name, origin in controls.items():
            for metric in ("top1", "ajs", "pms"):
                before = _by_seed(part, origin, variant if origin == "student" else "paper", metric)
                values = (_by_seed(part, "control", name, metric) - before).dropna().to_numpy(dtype=float)
                if len(values):
                    result = paired(values)
                    rows.append((name, origin, triple, metric, result.n, result.mean, result.low, result.high))
    columns = ["control", "of", "setting", "metric", "n_seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _by_seed(frame: pd.DataFrame, role: str, variant: str, metric: str) -> pd.Series:
    chosen = frame[(frame.role == role) & (frame.variant == variant) & (frame.metric == metric)]
    return chosen.set_index("seed")["value"]
