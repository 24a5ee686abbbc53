"""The timelines as lists of epochs."""

from __future__ import annotations

import math

import pytest

from p2p.study.params import TrainParams
from p2p.training.phases import timeline

pytestmark = pytest.mark.numeric


def params(**change) -> TrainParams:
    return TrainParams.model_validate(change)


def epochs(phases) -> list[tuple[str, float]]:
    """(name, rate) of every training epoch, counted from 1 in the list's order."""
    return [(phase.name, rate) for phase in phases for rate in phase.rates]


def test_official_epochs_and_pushes():
    phases = timeline(params(schedule="official", official_copies=1))
    flat = epochs(phases)
    assert [name for name, _ in flat] == ["warm"] * 6 + ["joint"] * 294
    done, pushes, decisions = 0, [], []
    for i, phase in enumerate(phases):
        done += len(phase.rates)
        if phase.name == "push":
            pushes.append(done)
            assert phases[i + 1].name == "decision"
        if phase.name == "decision":
            decisions.append(done)
            assert phase.trains == ("decision",) and phases[i - 1].name == "push"
    assert pushes == decisions == list(range(12, 293, 10)) and len(pushes) == 29


def test_official_may_end_early():
    whole, early = (timeline(params(schedule="official", official_copies=2, official_epochs=n)) for n in (300, 32))
    assert early == whole[: len(early)] and early[-1].name == "decision"  # the same epochs, up to the push after 32
    assert sum(len(phase.rates) for phase in early) == 2 * 32
    trailing = timeline(params(schedule="official", official_copies=1, official_epochs=35))
    assert trailing[-1].name == "joint" and len(trailing[-1].rates) == 3  # as at 300: joint epochs that no push follows


def test_official_rates():
    rates = [rate for _, rate in epochs(timeline(params(schedule="official", official_copies=1)))]
    factor = 1.0
    for epoch in range(1, 301):
        if epoch >= 20 and epoch % 4 == 0:
            factor *= 0.1
        assert rates[epoch - 1] == pytest.approx(factor, rel=1e-9), f"epoch {epoch}"
    assert rates[18] == 1 and rates[19] == pytest.approx(0.1)
    assert rates[29] == pytest.approx(1e-3)


def test_a_published_epoch_is_forty_passes_with_one_rate():
    once, forty = (timeline(params(schedule="official", official_copies=n)) for n in (1, 40))
    assert [p.name for p in once] == [p.name for p in forty]
    for a, b in zip(once, forty, strict=True):
        assert b.rates == tuple(rate for rate in a.rates for _ in range(40))
    assert sum(len(p.rates) for p in forty) == 300 * 40


def test_lean_order_and_rates():
    phases = timeline(params(warm_epochs=3, joint_epochs=4, rounds=2))
    assert [(phase.name, len(phase.rates)) for phase in phases] == [
        ("warm", 3),
        ("joint", 4),
        ("push", 0),
        ("decision", 0),
        ("joint", 4),
        ("push", 0),
        ("decision", 0),
    ]
    joint = [rate for name, rate in epochs(phases) if name == "joint"]
    expected = [0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * e / 8)) for e in range(8)]
    assert joint == pytest.approx(expected) and joint[0] == 1 and joint[-1] < 0.1
    warm = [rate for name, rate in epochs(phases) if name == "warm"]
    assert warm == pytest.approx([1, 0.02 + 0.98 * 0.75, 0.02 + 0.98 * 0.25])
    assert timeline(params(warm_epochs=0))[0].name == "joint"
    only_warm = timeline(params(warm_epochs=2, joint_epochs=0))
    assert [phase.name for phase in only_warm] == ["warm", "push", "decision"]


def test_rates_of_joint_passes_rise_over_the_ramp_and_once():
    plain, ramped = (timeline(params(joint_epochs=6, rounds=2, joint_ramp=n)) for n in (0, 3))
    before, after = ([rate for name, rate in epochs(each) if name == "joint"] for each in (plain, ramped))
    assert after == pytest.approx([rate * min(1, (e + 1) / 4) for e, rate in enumerate(before)])
    assert after[0] == pytest.approx(0.25) and after[3:] == before[3:]  # the second round begins at its own rate
    assert [p.rates for p in plain if p.name == "warm"] == [p.rates for p in ramped if p.name == "warm"]
    assert "joint_ramp" not in params().model_dump() and params(joint_ramp=3).model_dump()["joint_ramp"] == 3


@pytest.mark.parametrize("schedule", ["lean", "official"])
def test_what_learns(schedule):
    def trains(**change) -> dict[str, tuple[str, ...]]:
        return {phase.name: phase.trains for phase in timeline(params(official_copies=1, schedule=schedule, **change))}

    base = trains(warm_epochs=1)
    assert set(base["warm"]) == {"addon", "prototypes"}
    assert set(base["joint"]) == {"trunk", "addon", "prototypes"}
    assert base["push"] == () and base["decision"] == ("decision",)
    taught = {"warm_epochs": 1, "role": "student", "teacher_run": "teacher"}
    joint = trains(**taught, head="teacher_joint")
    assert set(joint["joint"]) == {"trunk", "addon", "prototypes", "decision"}  # A5, as coded
    assert "decision" not in joint["warm"] and joint["decision"] == ("decision",)
    fixed = trains(**taught, head="teacher")
    assert fixed["decision"] == () and "decision" not in fixed["joint"]  # the teacher's head stays as it is


@pytest.mark.parametrize("schedule", ["lean", "official"])
def test_a_linear_model_is_never_pushed(schedule):
    phases = timeline(
        params(model="linear", schedule=schedule, official_copies=1, warm_epochs=2, joint_epochs=5, rounds=2)
    )
    assert {phase.name for phase in phases} == {"warm", "joint"}
    assert {phase.trains for phase in phases} == {("decision",), ("trunk", "decision")}
    assert len(epochs(phases)) == (300 if schedule == "official" else 12)
