"""Claims: paired differences against scipy, verdicts by their definition, and the right sign of each claim."""

from __future__ import annotations

from math import isnan

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from p2p.evaluation.claims import UNDECIDED, claims, control_effects, holm, paired, verdict

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
        ([0.10, 0.11, 0.12], "supported"),
        ([-0.10, -0.11, -0.12], "contradicted"),
        ([0.010, 0.011, 0.012], "no effect that matters"),  # wholly above 0, and wholly within δ: too small to matter
        ([0.10, -0.02, 0.05], "inconclusive"),
        ([0.10, 0.12], "inconclusive"),
        ([0.10, 0.10], "inconclusive"),  # an interval of no width, yet two seeds carry no claim
        ([0.0, 0.0], "inconclusive"),
        ([0.10], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_verdicts(values: list[float], said: str) -> None:
    assert verdict(paired(np.array(values, dtype=float)), delta=0.02) == said


def test_detectable_effect_is_what_a_t_test_of_this_size_finds_four_times_in_five() -> None:
    """By simulation: samples of the same spread around a true mean of that size."""
    values = np.array([0.1, 0.3, -0.1, 0.2, 0.0])
    effect, rng = paired(values).detectable, np.random.default_rng(0)
    draws = rng.normal(effect, values.std(ddof=1), (20000, 5))
    power = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert power == pytest.approx(0.8, abs=0.06)


def test_holm_against_its_definition() -> None:
    p = [0.01, 0.04, float("nan"), 0.03, 0.5]
    found = holm(p)
    assert found[0] == pytest.approx(0.04) and found[3] == pytest.approx(0.09) and found[1] == pytest.approx(0.09)
    assert found[4] == 0.5 and isnan(found[2])
    assert holm([0.4, 0.9]) == [0.8, 0.9] and holm([]) == []


def test_each_claim_has_its_form_and_the_right_sign() -> None:
    data = frame(
        rows("teacher", "paper", "aap_quarter", [20, 20, 20]),
        rows("baseline", "paper", "aap_quarter", [30, 31, 32]),
        rows("student", "paper", "aap_quarter", [18, 18, 19]),  # nearer, though on the other side
        rows("baseline", "paper", "pms", [0.5, 0.5, 0.5]),
        rows("student", "paper", "pms", [0.6, 0.7, 0.6]),
        rows("baseline", "paper", "pms_permuted", [0.4, 0.4, 0.4]),
        rows("student", "paper", "pms_permuted", [0.2, 0.2, 0.2]),
        rows("baseline", "paper", "same_index", [0.05, 0.05, 0.05]),
        rows("student", "paper", "same_index", [1.0, 1.0, 0.9]),
        rows("student", "paper", "same_index_permuted", [1.0, 1.0, 0.9]),  # they favour the same cells: no correction
        rows("baseline", "paper", "top1", [0.8, 0.8, 0.8]),
        rows("student", "paper", "top1", [0.7, 0.7, 0.7]),
        rows("baseline", "paper", "top1_teacher_head", [0.1, 0.1, 0.1]),
        rows("student", "paper", "top1_teacher_head", [0.69, 0.70, 0.70]),
    )
    push = data[data.metric == "top1"].assign(stage="push", value=[0.5, 0.5, 0.5, 0.6, 0.6, 0.6])
    data = pd.concat([data, push, push.assign(stage="pre_push", value=1.0)])
    found = claims(data).set_index("metric")
    expected = np.mean([0.4 / 0.8, 0.5 / 0.8, 0.4 / 0.8]) - 0.1 / 0.6
    assert found.difference["pms"] == pytest.approx(expected) and found.verdict["pms"] == "supported"
    assert found.difference["same_index"] == pytest.approx(2.9 / 3 - 0.05) and found.n_seeds["same_index"] == 3
    assert found.difference["aap_quarter"] == pytest.approx(np.mean([10 - 2, 11 - 2, 12 - 1]) / 20)
    assert found.difference["top1"] == pytest.approx(-0.1) and found.difference["top1_push"] == pytest.approx(0.1)
    assert found.difference["top1_teacher_head"] == pytest.approx(0.59 + 0.02 / 3)
    assert set(found.verdict[["top1", "top1_push", "top1_teacher_head"]]) == {UNDECIDED}
    assert found.n_seeds["ajs_quarter"] == 0 and found.verdict["ajs_quarter"] == "inconclusive"
    assert found.delta["top1"] == 0.01 and claims(data, deltas={"accuracy": 0.5, "similarity": 0.3}).delta.max() == 0.5


def test_accuracy_is_judged_only_where_twice_the_passes_move_neither_network() -> None:
    networks = [
        rows("baseline", "paper", "top1", [0.7, 0.71, 0.7]),
        rows("student", "paper", "top1", [0.8, 0.81, 0.82]),
    ]
    own = [rows(role, "paper", "top1_validation", [0.8, 0.8, 0.8]) for role in ("baseline", "student")]
    own += [rows(role, "paper", "joint_passes", [40, 40, 40]) for role in ("baseline", "student")]
    own += [rows("budget", f"{role}-160", "top1_validation", [0.9, 0.9]) for role in ("baseline", "student")]

    def said(baseline: list[float], student: list[float]) -> str:
        longer = [("baseline", baseline), ("student", student)]
        doubled = [rows("budget", f"{role}-80", "top1_validation", values) for role, values in longer]
        return claims(frame(*networks, *own, *doubled)).set_index("metric").verdict["top1"]

    assert said([0.805, 0.806], [0.80, 0.79]) == "supported"  # two of the three seeds were trained twice as long
    assert said([0.82, 0.81], [0.80, 0.80]) == UNDECIDED  # the baseline still gains
    assert said([0.80, 0.80], [0.78, 0.79]) == UNDECIDED
    assert said([], []) == UNDECIDED


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
