"""Result files: evaluations and records of runs joined, runs that lie elsewhere, what is missing in one sentence."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pandas as pd
import pytest

from p2p.evaluation.results import read_evaluations, run_records, write_costs, write_study
from p2p.evaluation.rows import COLUMNS, network_names, without_threshold
from p2p.files import write_table
from p2p.study.page_params import PageParams

PARAMS = PageParams(study="s", evaluations=["t-s0", "t-s1"], networks={"teacher": "a", "student": "b"})


def evaluation(out: Path, seed: int) -> None:
    rows = [
        ("s", "t", "teacher", "paper", seed, "tuned", "aap", inf, 1 / 3),
        ("s", "t", "student", "x", seed, "push", "top1", "", 0.5),
    ]
    write_table(pd.DataFrame(rows, columns=COLUMNS), out / "evaluations" / f"t-s{seed}.csv", 6)
    (out / "evaluations" / f"t-s{seed}.json").write_text(json.dumps({"seed": seed}))


def run(place: Path, name: str, seed: int = 0, passes: tuple[int, ...] = (10, 30)) -> None:
    folder = place / name
    folder.mkdir(parents=True)
    parameters = {"network": "small", "role": "teacher", "variant": "paper", "seed": seed, "size": 64}
    provenance = {"image_passes": passes[-1], "teacher_passes": 0, "hours": 0.5, "device": "CPU", "commit": "c"}
    outcome = {"validation": 0.75, "top1": {"push": 0.1, "tuned": 0.7}}
    (folder / "run.json").write_text(
        json.dumps({"parameters": parameters, "provenance": provenance, "outcome": outcome})
    )
    history = {"phase": "joint", "epoch": range(len(passes)), "passes": passes, "seconds": 1800.0, "validation": 0.7}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)


def test_a_table_is_written_with_the_digits_asked_for(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1 / 3], "b": [2]})
    write_table(frame, tmp_path / "six.csv", 6)
    write_table(frame, tmp_path / "all.csv")
    assert (tmp_path / "six.csv").read_text() == "a,b\n0.333333,2\n"
    assert (tmp_path / "all.csv").read_text() == f"a,b\n{1 / 3!r},2\n"


def test_evaluations_are_joined_in_the_order_of_their_names(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "s"
    evaluation(out, 0), evaluation(out, 1)
    frame = read_evaluations(out, ["t-s1", "t-s0"])
    assert list(frame) == COLUMNS and frame.seed.tolist() == [1, 1, 0, 0] and frame.index.tolist() == [0, 1, 2, 3]
    with refuses("t-s2.csv", "'s'", "make study"):
        read_evaluations(out, ["t-s0", "t-s2"])


@pytest.mark.parametrize("none", ["", None, float("nan")])
def test_rows_without_a_threshold(none: object) -> None:
    """Just computed, tau is an empty text; read from a file, it is nan."""
    rows = [("tuned", none), ("tuned", inf), ("tuned", 0.1), ("push", none), ("push", inf)]
    found = without_threshold(pd.DataFrame(rows, columns=["stage", "tau"]))
    assert found.index.tolist() == [0, 1]


def test_names_of_networks() -> None:
    frame = pd.DataFrame({"role": ["teacher", "student", "control"], "variant": ["paper", "mask", "linear"]})
    assert network_names(frame).tolist() == ["teacher", "student: mask", "control: linear"]


def test_a_study_is_written_and_its_runs_may_then_go(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    out, place = tmp_path / "s", tmp_path / "runs"
    evaluation(out, 0), evaluation(out, 1)
    run(place, "a"), run(place, "b")
    records = run_records(PARAMS.all_runs(), place, out)
    write_study(out, PARAMS, read_evaluations(out, PARAMS.evaluations), records)
    assert len(pd.read_csv(out / "metrics.csv")) == 4
    record = json.loads((out / "provenance.json").read_text())
    assert record["evaluations"] == {"t-s0": {"seed": 0}, "t-s1": {"seed": 1}} and list(record["runs"]) == ["a", "b"]
    facts = json.loads((out / "study.json").read_text())
    assert facts["runs"] == ["a", "b", "t-s0", "t-s1"] and facts["images"] == "synthetic birds"
    assert set(facts) == {"study", "title", "order", "intro", "images", "variant", "controls", "runs"}
    assert run_records(["a", "b"], tmp_path / "elsewhere", out) == records
    with refuses("'c'", "'s'", "train it first"):
        run_records(["a", "c"], place, out)


def test_names_of_all_runs() -> None:
    assert PARAMS.all_runs() == ["a", "b"]
    assert PARAMS.model_copy(update={"train_runs": ["x"]}).all_runs() == ["x"]


def test_costs_come_from_runs_or_from_what_they_left(tmp_path: Path, refuses) -> None:  # type: ignore[no-untyped-def]
    out, place = tmp_path / "s", tmp_path / "runs"
    with refuses("'s'", "train one first"):
        write_costs(["a"], place, out)
    run(place, "a", 0), run(place, "b", 1, (5, 6, 20))
    costs = write_costs(["a", "b", "unfinished"], place, out)
    assert costs.image_passes.tolist() == [30, 20] and costs.test.tolist() == [0.7, 0.7]
    columns = ["run", "network", "role", "variant", "seed", "image_passes", "teacher_passes", "hours", "device"]
    assert list(costs) == [*columns, "validation", "test"]
    pd.testing.assert_frame_equal(write_costs(["a", "b"], tmp_path / "elsewhere", out), costs)
