"""The audit's effects: differences within seeds of the right networks, Holm over a study; demonstrations."""

from __future__ import annotations

import json
import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from p2p import metrics
from p2p.evaluation import audit
from p2p.evaluation import audit_tables as tables
from p2p.evaluation import demonstrations as shown
from p2p.evaluation.claims import claims, holm, paired
from p2p.evaluation.departures import CONTROLS, DEPARTURES
from p2p.figures.variants import mask_curves
from p2p.responses import ResponseTable
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
    for number, share in ((1, 0.3), (20, 0.2)):
        rows.append(("audit-x", "a-b", "student", "a1-student-mask", 1, "tuned", f"active_at_{number}", None, share))
    for metric, count in (("distinct_before", 40), ("distinct_prototypes", 30)):
        rows.append(("audit-x", "a-b", "student", "a19-two-pushes", 1, "tuned", metric, None, count))
    for half, share in (("taught", 0.6), ("untaught", 0.4)):
        for metric, value in ((f"pms_{half}", share), (f"pms_{half}_permuted", 0.2), (f"agreement_{half}", 0.1)):
            rows.append(("audit-x", "a-b", "student", "paper", 1, "tuned", metric, None, value))
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
    all_of_them = tables.departures_table(rows)
    assert all_of_them[""].tolist()[0] == "all" and all_of_them["top-1"].tolist()[-1] == "below"
    first = all_of_them[all_of_them[""] == "A1"].iloc[0]
    assert first["seeds"] == "3" and first["in short"] == "less alike (PMS)"
    assert all_of_them[all_of_them[""] == "A6"].iloc[0][["seeds", "PMS"]].tolist() == ["not yet run", "–"]
    said = audit.answers(rows) + audit.controls_answer(rows)
    assert len(said) == 4 and not any("nan" in sentence for sentence in said)
    assert "decision layer alone, fixed: 48% (" in said[-1] and said[-1].startswith(
        "*audit-x*, top-1: the paper's student"
    )
    drawn = tables.drawn(rows, departures=False)
    assert drawn["control"].iloc[0] == "paper" and set(drawn["control"]) == {"paper", "c-head-alone", "c-equal-updates"}
    departures = tables.drawn(rows, departures=True)["control"]
    assert departures.iloc[0] == "all official" and "A3, not nearest half" in set(departures)


def test_tables_hold_the_studies_on_the_same_images(results: Path) -> None:
    found = audit.audit_settings(results)
    shutil.copytree(results / "audit-x", results / "audit-y")
    record = json.loads((results / "audit-y" / "study.json").read_text())
    (results / "audit-y" / "study.json").write_text(json.dumps(record | {"images": "photographs"}))
    groups = tables.same_images(audit.audit_settings(results))
    assert {images: list(studies) for images, studies in groups.items()} == {
        "drawn": ["audit-x"],
        "photographs": ["audit-y"],
    }
    assert tables.mask_rows(found).to_dict("list") == {
        "student": ["a1-student-mask"] * 2,
        "seed": [1, 1],
        "pass": [1, 20],
        "share": [0.3, 0.2],
    }
    (line, *_), ax = (figure := mask_curves(tables.mask_rows(found))).axes[0].lines, figure.axes[0]
    assert line.get_xdata().tolist() == [1, 20] and line.get_ydata().tolist() == pytest.approx([30, 20])
    assert ax.get_xscale() == "log"
    controls = tables.controls_table(found)
    assert controls["top-1"].tolist()[0] == "0.600 (0.600–0.600)" and set(controls["seeds"]) == {"3"}
    assert controls["student"].tolist() == ["baseline", "paper", "c\\-head\\-alone", "c\\-equal\\-updates"]
    (half,) = tables.half_table(found).to_dict("records")
    assert half["PMS, its classes"] == "0.500" and half["PMS, other classes"] == "0.250"
    official = tables.official_table(found).set_index("network")["top-1"]
    assert official["baseline, as released"] == "0.500 (0.500–0.500)"
    assert official["student, as released, torch ≥ 1.10"] == "–"
    (pushed,) = tables.identical(found["audit-x"]).to_dict("records")
    assert pushed == {
        "network": "student, a19-two-pushes",
        "distinct before the push": "40.0",
        "fewest before": "40.0",
        "distinct after the push": "30.0",
        "fewest after": "30.0",
    }
    assert tables.drift(found) == {} and tables.mask_rows({}).empty and tables.half_table({}).empty


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
        "(0.000 to +0.100), p 0.04. Of the teacher's decision layer, learning along: alone PMS +0.020 (+0.010 to "
        "+0.030), p 0.04; beside the paper's losses PMS +0.030 (+0.020 to +0.040), p 0.04."
    )
    assert len(said) == 2
    weak = [one if one[0] not in ("A1", "A5") else (*one[:-1], 0.06) for one in rows]
    told = audit.answers(pd.DataFrame(weak, columns=audit.COLUMNS))[1]
    assert told.startswith("*audit-x*: corrected by Holm") and "no departure is told from chance" in told
    assert "least p 0.06)" in told


def test_without_a_study_rows_say_so(tmp_path: Path) -> None:
    rows = audit.effects(audit.audit_settings(tmp_path))
    assert rows.empty and list(rows.columns) == audit.COLUMNS
    all_of_them = tables.departures_table(rows)
    assert set(all_of_them["seeds"]) == {"not yet run", "below"} and len(all_of_them) == len(DEPARTURES)
    assert audit.answers(rows) == [] and audit.controls_answer(rows) == []


BIRDS = ("audit-birds", "audit-side-birds", "audit-controls-birds")


@pytest.mark.parametrize("names", [BIRDS, ("audit-cub-20", "audit-side-cub-20")])
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


@pytest.mark.parametrize("images", [37, 100])
def test_pms_as_coded_is_that_of_sets_of_images_at_whole_thresholds(images: int) -> None:
    generator = torch.Generator().manual_seed(images)
    cells = [torch.randint(0, 4, (images, 5), generator=generator).short() for _ in range(2)]
    distances = torch.rand(images, 5, generator=generator)
    teacher, student = (ResponseTable(one, distances, (2, 2)) for one in cells)
    step, values = int(0.1 * images), []
    for least in range(step, images, step):
        alike = np.empty((5, 5))
        for i in range(5):
            for j in range(5):
                met = {n for n in range(images) if cells[0][n, i] == cells[1][n, j]}
                alike[i, j] = min(1, len(met) / least)
        best = max(sum(alike[i, order[i]] for i in range(5)) for order in permutations(range(5)))
        values.append(best / 5)
    alphas = shown.coded_alphas(images)
    assert len(alphas) == len(values)
    assert metrics.pms(teacher, student, alphas).value == pytest.approx(np.mean(values), abs=1e-6)


def test_a10_optimism_of_one_is_none_and_of_two_is_known() -> None:
    one, two = shown.optimism([1, 2], 400, 0.8)["optimism"]
    assert abs(one) < 0.001
    assert two == pytest.approx(np.sqrt(0.8 * 0.2 / 400) / np.sqrt(np.pi), rel=0.05)  # E max of two normals


def test_seeds_needed() -> None:
    assert shown.seeds_needed(1.0, 0.5) == 5  # power tables of the paired t-test: 4.2
    assert shown.seeds_needed(0.0, 1.0) is None
    moved = np.array([0.1, 0.2, 0.24])
    of = paired(moved)
    row = ("A1", "audit-x", "pms", 3, of.mean, of.low, of.high, 0.1)
    (told,) = shown.cost_of_effects(pd.DataFrame([row], columns=audit.COLUMNS)).to_dict("records")
    assert told["metric"] == "A1, PMS" and told["spread"] == pytest.approx(moved.std(ddof=1))
    assert told["detectable"] == pytest.approx(of.detectable) and told["seeds run"] == "3"
    assert shown.images_needed(0.5, 0.1) == 97
    assert "0.5, to within 10 points (95 %) takes 97 test" in shown.images_sentence(0.5, 0.1)


def test_a13_rounding_moves_distances_far_above_epsilon() -> None:
    deviation, exact, rough = shown.tf32()
    assert 1e-3 < deviation < 1e-2 and exact == pytest.approx(24.5) and rough <= exact


def test_the_other_departures_in_numbers() -> None:
    drift = {"a8-tuned-in-train-mode": 0.25, "a8-tuned-in-eval-mode": 0.0}
    a13, a4, a6, a7, a8 = shown.in_numbers(drift)
    assert "**A13.**" in a13 and "0.50 of that per patch" in a4
    assert "loses 0.28 in 100 steps of Adam" in a6 and "0.0003 with AdamW" in a6
    assert "add up to 13.4 epochs at the full rate, 13.4 of them by epoch 32; 91 % of" in a7
    assert "up to 0.250 (L2)" in a8 and len(shown.in_numbers({})) == 4


def test_what_the_controls_decide_follows_from_the_intervals() -> None:
    def row(switch: str, metric: str, low: float, high: float, study: str = "audit-x") -> tuple[object, ...]:
        return (switch, study, metric, 5 if study == "audit-y" else 3, (low + high) / 2, low, high, 0.04)

    rows = [row("paper", "pms", 0.3, 0.5), row("paper", "top1", 0.1, 0.2), row("paper", "top1", 0.0, 0.1, "audit-y")]
    rows += [row("c-full-map", "pms", 0.1, 0.3), row("c-head-alone", "pms", -0.01, 0.01)]
    rows += [row("c-other-teacher", "pms", 0.0, 0.04), row("c-other-teacher", "top1", 0.1, 0.3)]
    said = audit.controls_decide(pd.DataFrame(rows, columns=audit.COLUMNS))
    assert said == (
        "**The teacher's map carries the places, not its decision layer; a student gets those of the one teacher that "
        "taught it.** A student of another seed's teacher has 5% (0% to 10%) of the gain in PMS, and gains +0.200 in "
        "top-1 where the paper's gains +0.150. By more than 0.02 PMS rises above the baseline's with its whole map "
        "(FitNets) +0.200 (+0.100 to +0.300). No such rise is shown with the teacher's decision layer alone, fixed "
        "0.000 (−0.010 to +0.010); a teacher of another seed, in its place +0.020 (0.000 to +0.040)."
    )
    rows = [one for one in rows if one[0] != "c-head-alone"] + [row("c-head-alone", "pms", 0.1, 0.2)]
    assert "The teacher's map" not in audit.controls_decide(pd.DataFrame(rows, columns=audit.COLUMNS))
    assert audit.controls_decide(pd.DataFrame(rows[:3], columns=audit.COLUMNS)) == ""
