"""The audit's effects: differences within seeds of the right networks, Holm over a study; demonstrations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from p2p.evaluation import audit
from p2p.evaluation import demonstrations as shown
from p2p.evaluation.claims import claims, holm
from p2p.evaluation.departures import CONTROLS, DEPARTURES
from p2p.study.study import load_study

ROOT = Path(__file__).parents[1]
SEEDS = (1, 2, 3)
TOP1 = {"paper": 0.8, "a1-student-mask": 0.7, "a3-nearest-half": 0.85, "c-head-alone": 0.65}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = []

    def add(triple: str, role: str, variant: str, top1: float) -> None:
        for seed in SEEDS:
            values = {"top1": top1 + 0.01 * seed**2 * (variant != "paper"), "pms": top1 - 0.1, "pms_permuted": 0.2}
            rows.extend(("audit-x", triple, role, variant, seed, "tuned", m, None, v) for m, v in values.items())

    for triple in ("a-b", "official"):
        add(triple, "teacher", "paper", 0.9)
        add(triple, "baseline", "paper", 0.6 if triple == "a-b" else 0.5)
    for name, top1 in TOP1.items():
        add("a-b", "student", name, top1)
    add("official", "student", "official", 0.6)
    for metric, share in (("active_first", 0.3), ("active_last", 0.2)):
        rows.append(("audit-x", "a-b", "student", "a1-student-mask", 1, "tuned", metric, None, share))
    add("a-b", "control", "c-equal-updates", 0.62)
    columns = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    frame = pd.DataFrame(rows, columns=columns)
    folder = tmp_path / "audit-x"
    folder.mkdir()
    facts = {"study": "audit-x", "title": "Audit", "order": 1, "images": "drawn", "variant": "paper", "compares": True}
    (folder / "study.json").write_text(json.dumps(facts | {"variants": {}}))
    frame.to_csv(folder / "metrics.csv", index=False)
    claims(frame).to_csv(folder / "claims.csv", index=False)
    return tmp_path


def test_effects_are_the_code_less_what_stands_beside_it(results: Path) -> None:
    rows = audit.effects(audit.audit_settings(results))
    assert list(rows.columns) == audit.COLUMNS and set(rows["n_seeds"]) == {3}
    top1 = rows[rows["metric"] == "top1"].set_index("switch")["difference"]
    moved = 0.01 * np.mean([seed**2 for seed in SEEDS])
    assert top1["A1"] == pytest.approx(-0.1 + moved)
    assert not {"A6", "A15", "A22"} & set(rows["switch"])  # what would stand beside the paper's student was not run
    assert top1["A3"] == pytest.approx(-0.05 - moved)  # as coded is the paper's student; the variant stands beside it
    assert top1["all"] == pytest.approx(-0.2 + moved) and "all, today" not in top1
    assert top1["c-head-alone"] == pytest.approx(0.05 + moved) and top1["paper"] == pytest.approx(0.2)
    assert top1["c-equal-updates"] == pytest.approx(0.02 + moved)
    pms = rows[rows["metric"] == "pms"].set_index("switch")["difference"]
    assert pms["A1"] == pytest.approx(-0.1 / 0.8)  # corrected for chance
    raw = audit.difference(audit.audit_settings(results)["audit-x"], "c-equal-updates", "baseline", "top1").p
    family = rows[~audit.of_departure(rows)]
    assert len(family) == 6  # Holm counts the controls alone
    controls = holm([0.0, raw])
    assert rows.loc[(rows["switch"] == "c-equal-updates") & (rows["metric"] == "top1"), "p_holm"].iloc[0] >= controls[1]
    assert holm([0.01, 0.04]) == [0.02, 0.04]
    table = audit.departures_table(rows, "audit-x")
    assert table[""].tolist()[0] == "all" and table["top-1"].tolist()[-1] == "below"
    said = audit.answers(rows) + audit.controls_answer(rows)
    assert len(said) == 4 and not any("nan" in sentence for sentence in said)
    assert "decision layer alone, fixed: 48% (" in said[-1] and said[-1].startswith(
        "*audit-x*, top-1: the paper's student"
    )
    drawn = audit.drawn(rows, departures=False)
    assert drawn["control"].iloc[0] == "paper" and set(drawn["control"]) == {"paper", "c-head-alone", "c-equal-updates"}
    departures = audit.drawn(rows, departures=True)["control"]
    assert departures.iloc[0] == "all official" and "A3, not nearest half" in set(departures)
    (density,) = audit.mask_table(audit.audit_settings(results)["audit-x"]).to_dict("records")
    assert density["student"] == "a1-student-mask" and density["first pass"].startswith("0.300")
    controls = audit.controls_table(audit.audit_settings(results)["audit-x"])
    assert controls["top-1"].tolist()[0] == "0.600 (0.600–0.600)"


def test_questions_are_answered_with_verdicts_on_similarities_alone() -> None:
    def row(switch: str, metric: str, low: float, high: float) -> tuple[object, ...]:
        return (switch, "audit-x", metric, 3, (low + high) / 2, low, high, 0.04)

    rows = [row("A1", "pms", -0.01, 0.016), row("A1", "ajs", -0.05, -0.01), row("A1", "top1", 0.02, 0.04)]
    rows += [row(*parts) for parts in (("paper", "pms", 0.3, 0.5), ("paper", "top1", 0.0, 0.1))]
    for switch, by in (("c-head-learning", 0.01), ("A5", 0.02), ("c-equal-updates", 0.03)):  # A9 was not run
        rows.append(row(switch, "pms", by, by + 0.02))
    said = audit.answers(pd.DataFrame(rows, columns=audit.COLUMNS))
    assert said[0] == (
        "**Does the slip of the mask matter (A1)?** *audit-x*, top-1 +0.030 (+0.020 to +0.040), p 0.04; PMS +0.003 "
        "(−0.010 to +0.016), p 0.04, *no effect that matters*; AJS −0.030 (−0.050 to −0.010), p 0.04, *yes, the code's "
        "way is less like the teacher*."
    )
    assert said[1].endswith(
        "over the network trained alone the paper's student gains PMS +0.400 (+0.300 to +0.500), p 0.04; top-1 +0.050 "
        "(+0.000 to +0.100), p 0.04. Of the teacher's decision layer, learning along: alone PMS +0.020 (+0.010 to "
        "+0.030), p 0.04; beside the paper's losses PMS +0.030 (+0.020 to +0.040), p 0.04."
    )
    assert len(said) == 2


def test_without_a_study_rows_say_so(tmp_path: Path) -> None:
    rows = audit.effects(audit.audit_settings(tmp_path))
    assert rows.empty and list(rows.columns) == audit.COLUMNS
    table = audit.departures_table(rows, "audit-birds")
    assert set(table["R²"]) == {"not yet run", "below"} and len(table) == len(DEPARTURES)
    assert audit.answers(rows) == [] and audit.controls_answer(rows) == []


BIRDS = ("audit-birds", "audit-side-birds", "audit-controls-birds")


@pytest.mark.parametrize("names", [BIRDS, ("audit-cub-20",)])
def test_every_variant_of_the_study_files_is_told(names: tuple[str, ...]) -> None:
    studies = [load_study(ROOT / "params" / f"{name}.yaml") for name in names]
    known = {one for row in DEPARTURES for one in (row.variant, row.against)} | set(CONTROLS)
    variants = {name for study in studies for name in study.variants}
    controls = {control.name for study in studies for control in study.controls}
    assert variants | controls <= known
    assert {row.variant for row in DEPARTURES if row.variant} <= variants
    assert set(CONTROLS) <= variants | controls


def test_a2_is_what_torch_computes() -> None:
    rows = shown.norms(40, 16).set_index("norm")
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(40, 16, generator=generator) for _ in range(2))
    today = torch.nn.PairwiseDistance()(a[:, :, None, None], b[:, :, None, None]).mean()
    then = torch.nn.PairwiseDistance()(a, b).mean()  # over channels, as up to torch 1.9
    assert rows["value"].tolist() == pytest.approx([then.item(), today.item()], rel=1e-5)
    assert rows["gradient"].iloc[0] / rows["gradient"].iloc[1] == pytest.approx(4, rel=1e-3)  # √D


def test_a17_thresholds_are_those_of_the_list() -> None:
    assert (
        len(shown.coded_alphas(5794)) == 10 and len(shown.coded_alphas(100)) == 9 and len(shown.coded_alphas(37)) == 12
    )
    assert max(shown.coded_alphas(100)) == 0.9


def test_a10_optimism_of_one_is_none_and_of_two_is_known() -> None:
    one, two = shown.optimism([1, 2], 400, 0.8)["optimism"]
    assert abs(one) < 0.001
    assert two == pytest.approx(np.sqrt(0.8 * 0.2 / 400) / np.sqrt(np.pi), rel=0.05)  # E max of two normals


def test_seeds_needed() -> None:
    assert shown.seeds_needed(1.0, 0.5) == 5  # power tables of the paired t-test: 4.2
    assert shown.seeds_needed(0.0, 1.0) is None
    assert shown.images_needed(0.5, 0.1) == 97


def test_a13_rounding_moves_distances_far_above_epsilon() -> None:
    deviation, exact, rough = shown.tf32()
    assert 1e-3 < deviation < 1e-2 and exact == pytest.approx(24.5) and rough <= exact
