"""Claims: paired differences against scipy, verdicts by their definition, and the right sign of each claim."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from p2p.evaluation.claims import claims, control_effects, paired, verdict

pytestmark = pytest.mark.numeric


def rows(role: str, variant: str, metric: str, values: list[float], tau: float | None = None) -> list[tuple]:
    return [("s", "t", role, variant, seed, "tuned", metric, tau, value) for seed, value in enumerate(values)]


def frame(*parts: list[tuple]) -> pd.DataFrame:
    columns = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    return pd.DataFrame([row for part in parts for row in part], columns=columns)


def test_paired_is_the_paired_t_test() -> None:
    a, b = np.array([0.71, 0.74, 0.69, 0.73]), np.array([0.66, 0.70, 0.69, 0.65])
    found, test = paired(a - b), stats.ttest_rel(a, b)
    interval = test.confidence_interval(0.95)
    assert found.n == 4 and found.mean == pytest.approx((a - b).mean())
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, test.pvalue))


def test_one_seed_has_no_interval() -> None:
    found = paired(np.array([0.1]))
    assert found.mean == 0.1 and isnan(found.low) and isnan(found.p)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.10, 0.11, 0.12], "reproduced"),
        ([0.10, -0.02, 0.05], "in direction only"),
        ([-0.10, -0.02, 0.05], "not reproduced"),
        ([0.10, 0.12], "in direction only"),  # two seeds carry no claim, however clear
        ([0.10, -0.01], "not testable here"),
        ([-0.10, -0.12], "not reproduced"),
        ([], "not testable here"),
    ],
)
def test_verdicts(values: list[float], said: str) -> None:
    array = np.array(values, dtype=float)
    assert verdict(paired(array), array) == said


def test_margin_lets_a_small_loss_pass() -> None:
    array = np.array([-0.010, -0.011, -0.009])
    assert verdict(paired(array), array) == "not reproduced"
    assert verdict(paired(array), array, margin=0.02) == "reproduced"


def test_each_claim_has_the_right_sign_and_uses_the_tuned_stage_without_threshold() -> None:
    data = frame(
        rows("teacher", "paper", "aap", [20, 20, 20], inf),
        rows("baseline", "paper", "aap", [30, 31, 32], inf),
        rows("student", "paper", "aap", [18, 18, 19], inf),  # nearer, though on the other side
        rows("baseline", "paper", "ajs", [0.5, 0.5, 0.5], inf),
        rows("student", "paper", "ajs", [0.6, 0.7, 0.6], inf),
        rows("student", "paper", "ajs", [0.0, 0.0, 0.0], 0.1),  # another threshold must not count
        rows("baseline", "paper", "top1", [0.8, 0.8, 0.8]),
        rows("student", "paper", "top1", [0.7, 0.7, 0.7]),
        rows("student", "paper", "top1_teacher_head", [0.69, 0.70, 0.70]),
    )
    early = data[data.metric == "top1"].assign(stage="pre_push", value=1.0)
    data = pd.concat(
        [
            data,
            frame(
                rows("baseline", "paper", "ajs_permuted", [0.4, 0.4, 0.4], inf),
                rows("student", "paper", "ajs_permuted", [0.55, 0.6, 0.5], inf),
            ),
        ]
    )
    found = claims(pd.concat([data, early])).set_index("metric")
    assert found.difference["ajs_permuted"] == pytest.approx(np.mean([0.05, 0.1, 0.1]) - 0.1)
    assert found.difference["aap"] == pytest.approx(np.mean([10 - 2, 11 - 2, 12 - 1]))
    assert found.difference["ajs"] == pytest.approx(0.4 / 3)
    assert found.difference["top1"] == pytest.approx(-0.1) and found.verdict["top1"] == "not reproduced"
    assert found.difference["top1_teacher_head"] == pytest.approx(-0.01 / 3)
    assert found.verdict["top1_teacher_head"] == "reproduced"
    assert found.n_seeds["pms"] == 0 and found.verdict["pms"] == "not testable here"


def test_control_effects_compare_with_their_own_origin() -> None:
    data = frame(
        rows("teacher", "paper", "top1", [0.8, 0.9]),
        rows("student", "paper", "top1", [0.5, 0.5]),
        rows("student", "paper", "pms", [0.3, 0.3]),
        rows("control", "linear", "top1", [0.9, 0.9]),
        rows("control", "other", "top1", [0.4, 0.5]),
        rows("control", "other", "pms", [0.1, 0.2]),
    )
    found = control_effects(data, {"linear": "teacher", "other": "student"}).set_index(["control", "metric"])
    assert found.difference["linear", "top1"] == pytest.approx(0.05)
    assert found.difference["other", "top1"] == pytest.approx(-0.05)
    assert found.difference["other", "pms"] == pytest.approx(-0.15)
    assert ("linear", "pms") not in found.index
