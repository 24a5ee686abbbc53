"""Tables and sentences of a study's pages, from small frames with numbers that can be worked out by hand."""

from __future__ import annotations

from math import inf, nan

import pandas as pd
import pytest
import torch
from heads import linear

from p2p.evaluation import findings, tables
from p2p.evaluation.claims import claims, control_effects
from p2p.evaluation.contributions import Deciding, deciding
from p2p.evaluation.inputs import split_table, trunk_table
from p2p.evaluation.pairs import (
    matched_pairs,
    overlap_table,
    same_number,
    same_number_sentence,
    top_overlap,
    typical_image,
)
from p2p.evaluation.rows import COLUMNS
from p2p.evaluation.triple import level_table, triple_table
from p2p.metrics import ResponseTable
from p2p.networks import PROTOTYPE_LAYERS
from p2p.study.pages import numbers


def rows(
    role: str, metric: str, *values: float, variant: str = "paper", stage: str = "tuned", tau: object = None
) -> list:  # type: ignore[type-arg]
    return [("s", "t", role, variant, seed, stage, metric, tau, value) for seed, value in enumerate(values)]


def frame(*parts: list) -> pd.DataFrame:  # type: ignore[type-arg]
    return pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)


def study(*more: list, seeds: int = 2) -> pd.DataFrame:  # type: ignore[type-arg]
    """Teacher, baseline and student of two seeds, or of one."""

    def some(role: str, metric: str, *values: float, **key: object) -> list:  # type: ignore[type-arg]
        return rows(role, metric, *values[:seeds], **key)  # type: ignore[arg-type]

    return frame(
        some("teacher", "top1", 0.75, 0.85),
        some("teacher", "aap", 20, 30, tau=inf),
        some("baseline", "top1", 0.5, 0.6),
        some("baseline", "ajs", 0.4, 0.5, tau=inf),
        some("baseline", "ajs", 0.0, 0.0, tau=0.1),
        some("baseline", "ajs_permuted", 0.3, 0.3, tau=inf),
        some("baseline", "pms", 0.2, 0.2),
        some("student", "top1", 0.6, 0.8),
        some("student", "top1", 0.9, 0.9, stage="pre_push"),
        some("student", "top1_teacher_head", 0.55, 0.75),
        some("student", "ajs", 0.6, 0.8, tau=inf),
        some("student", "pms", 0.3, 0.5),
        some("student", "pms_permuted", 0.1, 0.1),
        some("student", "projection_error", 1e-7, 3e-7),
        some("control", "pms_floor", 0.05, 0.07, variant="random"),
        *more,
    )


def test_budget_table_puts_the_studys_own_passes_among_the_others() -> None:
    own = [rows(role, "joint_passes", 40, 40) for role in ("baseline", "student")]
    longer = rows("budget", "joint_passes", 80, variant="student-80") + rows("budget", "pms", 0.7, variant="student-80")
    shorter = rows("budget", "joint_passes", 3, variant="baseline-3") + rows("budget", "pms", 0.1, variant="baseline-3")
    pushed = rows("budget", "top1", 0.25, variant="student-80", stage="push")
    other = [("s", "u", *row[2:]) for row in rows("student", "top1", 0.5)]  # a triple without other budgets
    found = tables.budget_table(study(*own, longer, shorter, pushed, other))
    assert set(found["triple"]) == {"t"}
    keys = found[["role", "passes", "seed", "chosen"]].to_numpy().tolist()
    expected = [["baseline", 3, 0, False], ["baseline", 40, 0, True], ["baseline", 40, 1, True]]
    expected += [["student", 40, 0, True], ["student", 40, 1, True], ["student", 80, 0, False]]
    assert keys == expected
    assert found["PMS"].tolist() == [0.1, 0.2, 0.2, 0.3, 0.5, 0.7]
    assert found["top-1, after push"].tolist()[-1] == 0.25 and found["R²"].isna().all()
    assert tables.budget_table(study()).empty


def test_short_schedule_sets_the_shortest_budget_beside_the_studys_own() -> None:
    heads = ["triple", "role", "passes", "chosen", "R²", "PMS", "top-1, after push"]
    lines = [("t", "student", 3, False, 0.5, 0.3, 0.6), ("t", "baseline", 3, False, nan, 0.2, 0.5)]
    lines += [("t", "student", 40, True, 0.75, 0.5, 0.8), ("t", "baseline", 40, True, nan, 0.25, 0.55)]
    (said,) = findings.short_schedule(pd.DataFrame(lines, columns=heads), "t")
    assert "with 3 joint passes the student reproduces an R² of 0.50 of the teacher's map, its PMS is 0.30" in said
    assert "(baseline 0.20)" in said and "with 40 joint passes" in said and "0.80 of the images (baseline 0.55)" in said
    assert findings.short_schedule(pd.DataFrame(lines[2:], columns=heads), "t") == []
    assert findings.short_schedule(pd.DataFrame(lines, columns=heads), "u") == []


# ----------------------------------------------------------------------------------------------------- one evaluation


def test_triple_table_has_a_row_a_network_and_dashes_where_a_metric_does_not_apply() -> None:
    found = triple_table(study(seeds=1)).set_index("network")
    assert found.index.tolist() == ["teacher", "baseline", "student"]
    assert list(found) == ["top-1", "AAP", "AJS", "AJS, permuted", "PMS", "PMS, permuted"]
    assert found.loc["baseline"].tolist() == ["0.500", "–", "0.400", "0.300", "0.200", "–"]
    assert found.loc["teacher", "AAP"] == "20.000"
    assert list(triple_table(frame(rows("teacher", "top1", 0.5)))) == ["network", "top-1"]


def test_level_table_with_and_without_a_second_teacher() -> None:
    floor = rows("control", "ajs_floor", 0.5, variant="random", tau=inf) + rows("control", "pms_floor", 0.25)
    low = rows("control", "ajs_floor", 0.0, variant="random", tau=0.1)
    found = level_table(frame(floor, low))
    assert found.to_numpy().tolist() == [["floor", "0.500", "0.250"]] and list(found) == ["level", "ajs", "pms"]
    both = level_table(frame(floor, rows("teacher", "pms_second_teacher", 0.75, variant="other seed")))
    assert both.set_index("level").loc["second teacher"].tolist() == ["–", "0.750"]


# ------------------------------------------------------------------------------------------------------ a whole study


def test_main_table_of_two_seeds() -> None:
    found = tables.main_table(study(rows("student", "top1", 0.1, 0.1, variant="mask")), "t").set_index("network")
    assert found.index.tolist()[:4] == ["teacher", "baseline", "student", "student: mask"] and len(found) == 9
    assert found.loc["teacher"].tolist() == ["25.0 (20.0–30.0)", "1", "1", "0.800 (0.750–0.850)", "–"]
    assert found.loc["student"].tolist() == [
        *("–", "0.700 (0.600–0.800)", "0.400 (0.300–0.500)"),
        *("0.700 (0.600–0.800)", "0.650 (0.550–0.750)"),
    ]
    assert found.loc["*floor: random network*", "PMS"] == "0.060 (0.050–0.070)"
    assert found.loc["*floor: baseline, images permuted*"].tolist() == ["–", "0.300 (0.300–0.300)", "–", "–", "–"]
    assert set(found.loc["*second teacher*"]) == {"–"}  # a study of one teacher has none


def test_main_table_of_one_seed_has_no_ranges_and_other_triples_are_left_out() -> None:
    one = study(seeds=1)
    found = tables.main_table(pd.concat([one, one.assign(triple="u", value=9.0)]), "t").set_index("network")
    assert found.loc["student", "PMS"] == "0.300" and "9" not in "".join(found.to_numpy().flatten())
    text = tables.plain_text({"t": found.reset_index()}, "birds", [0])
    assert text.startswith("t (birds, seeds [0])\n\n| network") and text.endswith("|\n")


def test_stage_table() -> None:
    found = tables.stage_table(study()).set_index("network")
    assert found.loc["student"].tolist() == ["t", "0.900 (0.900–0.900)", "–", "0.700 (0.600–0.800)", "3e-07"]
    assert found.loc["teacher", "projection error, max"] == "–"


def test_claim_table_of_two_seeds_and_of_one() -> None:
    two = tables.claim_table(claims(study())).set_index("claim")
    accuracy = two.loc["it is more accurate"]
    assert accuracy[["triple", "seeds", "difference"]].tolist() == ["t", 2, "+0.150"]
    assert accuracy["95 % interval"] == "−0.485 to +0.785" and accuracy["verdict"] == "not decided at this budget"
    unmeasured = next(claim for claim in two.index if claim.endswith("(AJS)"))
    assert two.loc[unmeasured, ["seeds", "difference", "p (Holm)"]].tolist() == [0, "–", "–"]
    one = tables.claim_table(claims(study(seeds=1)))
    assert set(one["95 % interval"]) == {"–"} == set(one["p (Holm)"]) == set(one["detectable"])


def test_control_table() -> None:
    data = study(rows("control", "top1", 0.8, 0.8, variant="linear-teacher"))
    found = tables.control_table(control_effects(data, {"linear-teacher": "teacher"}))
    assert list(found) == ["triple", "control", "changed from", "seeds", "top-1"]
    assert found.iloc[0].tolist() == ["t", "linear-teacher", "teacher", "2", "0.000 (−0.635 to +0.635)"]
    single = tables.control_table(control_effects(data[data.seed == 0], {"linear-teacher": "teacher"}))
    assert single["top-1"].tolist() == ["+0.050"]
    assert tables.control_table(control_effects(data, {})).empty


# --------------------------------------------------------------------------------------------------------- sentences


def test_findings_of_two_seeds() -> None:
    data = study(
        rows("control", "top1", 0.9, 0.9, variant="linear-student"),
        rows("control", "top1", 0.1, variant="x"),
        rows("control", "projection_error", 0.0, variant="x"),  # which has prototypes, then
    )
    controls = {"linear-student": "baseline", "linear-gone": "teacher", "x": "student"}
    text = findings.study_findings(data, claims(data), "birds", controls)
    assert "On birds, with t and 2 seeds, the student" in text
    assert "PMS of **0.40**, the same network trained alone with **0.20**" in text
    assert "still reach 0.10 and none; a random network reaches 0.06. The overlap" in text
    assert (
        "AJS at τ = ∞, not corrected for chance) is 0.70 against 0.45" in text
        and "teacher 0.80, student 0.70, baseline 0.55." in text
    )
    assert text.count("An ordinary classifier") == 1
    assert (
        "on the student's trunk, trained at the same budget, reaches 0.90: prototypes cost the network trained alone "
        "35.0 points" in text
    )
    assert "Of the student against the baseline, t, 2 seeds ([main table](./04_table.ipynb)):" in text
    assert "(AJS): not measured here" in text and text.count("\n- ") == 7 and "nan" not in text


def test_a_verdict_never_stands_without_its_number() -> None:
    data = frame(rows("baseline", "pms", 0.2, 0.2, 0.2), rows("student", "pms", 0.4, 0.41, 0.42))
    more = frame(rows("baseline", "pms_permuted", 0.1, 0.1, 0.1), rows("student", "pms_permuted", 0.1, 0.1, 0.1))
    head, stated = findings.verdicts(claims(pd.concat([data, more])))
    assert head == "Of the student against the baseline, t, 3 seeds ([main table](./04_table.ipynb)):"
    assert "(PMS): +0.233 (+0.206 to +0.261), *supported*" in stated
    single = pd.concat([data, more])[lambda f: f.seed == 0]
    head, stated = findings.verdicts(claims(single))
    assert "1 seed (" in head and "(PMS): +0.222, one seed alone, *inconclusive*" in stated


def test_a_random_network_above_the_student_is_named() -> None:
    data = study(rows("control", "pms_floor", 0.9, 0.9, variant="random"))
    assert "random weights passes the student in PMS (0.48 against 0.40)." in findings.beaten_by_a_random_network(
        data, "t"
    )
    assert findings.beaten_by_a_random_network(study(), "t") == ""


def test_how_far_the_student_got() -> None:
    taught = rows("student", "r2", 0.7, 0.8) + rows("student", "same_index", 0.2, 0.3)
    found = tables.following_table(study(taught, rows("student", "same_index_chance", 0.01, 0.03))).set_index("network")
    assert (
        found.loc["student", "R² of the map"] == "0.750 (0.700–0.800)" and found.loc["baseline", "R² of the map"] == "–"
    )
    assert found.loc["student", "same number"] == "0.250 (0.200–0.300); chance 0.020"
    assert found.loc["student", "same source patch"] == "–"


def test_small_p_values_are_not_zero() -> None:
    assert [tables.p_text(p) for p in (0.0001, 0.0123, float("nan"))] == ["< 0.001", "0.012", "–"]


def test_what_the_runs_cost() -> None:
    record = {"hours": 1.5, "image_passes": 1000, "teacher_passes": 0, "device": "CPU", "commit": "abc", "dirty": False}
    other = {**record, "hours": 0.25, "teacher_passes": 500, "dirty": True}
    assert findings.runs_sentence([record, other, record]) == (
        "The 3 runs behind this page: 3.25 h and 3,500 image passes in all on CPU, commit `abc`, `abc`*. "
        "Each run's own record is in `provenance.json`."
    )


# ------------------------------------------------------------------------------------------------------------- pairs


def table_of(cells: list[list[int]], distances: list[list[float]] | None = None) -> ResponseTable:
    found = torch.tensor(cells).to(torch.int16)
    return ResponseTable(found, torch.tensor(distances) if distances else torch.ones(found.shape), (2, 2))


def test_matched_pairs_find_the_partner_on_the_same_cells() -> None:
    teacher = table_of([[0, 1, 2], [3, 2, 0], [1, 1, 3], [2, 0, 1]])
    student = table_of([[1, 0, 2], [2, 3, 0], [1, 1, 3], [0, 0, 1]])  # the first two swapped, one image apart
    partner, share = matched_pairs(teacher, student)
    assert partner.tolist() == [1, 0, 2] and share.tolist() == [0.75, 1.0, 1.0]
    assert same_number(partner) == pytest.approx(1 / 3) and same_number(torch.arange(4)) == 1
    said = same_number_sentence({"baseline": 1 / 3, "student": 1.0})
    assert said.endswith("of the same number: 33% (baseline), 100% (student).")


def test_top_overlap_by_number_and_by_place() -> None:
    layer = PROTOTYPE_LAYERS["distance"]
    table = table_of([[0, 1, 2]], [[0.1, 0.2, 9.0]])
    near = deciding(table, linear(torch.tensor([[1.0, 1.0, 1.0]])), layer, 2)  # 0 and 1, on cells 0 and 1
    other = table_of([[3, 3, 1]], [[9.0, 0.1, 0.2]])
    far = deciding(other, linear(torch.tensor([[1.0, 1.0, 1.0]])), layer, 2)  # 1, 2 on 3, 1
    assert top_overlap(near, far) == (0.5, 0.5) and top_overlap(near, near) == (1, 1)
    weighed = deciding(table, linear(torch.tensor([[0.0, 1.0, 9.0], [0.0, 0.0, 0.0]])), layer, 2)  # 0 has no say
    assert weighed.prototypes.tolist() == [[1, 2]] and weighed.predicted.tolist() == [0]


def test_the_typical_image_is_in_the_middle_of_those_both_get_right() -> None:
    def decided(predicted: list[int], cells: list[list[int]]) -> Deciding:
        found = torch.tensor(cells)
        return Deciding(torch.tensor(predicted), found, found, torch.ones(found.shape))

    labels, teacher = torch.tensor([0, 0, 0, 0]), decided([0, 0, 0, 0], [[1, 2]] * 4)
    student = decided([0, 1, 0, 0], [[1, 2], [1, 2], [3, 4], [1, 4]])  # agreement 1, wrong, 0, 1/2
    assert typical_image(teacher, student, labels) == 3
    assert typical_image(teacher, student, labels + 1) == 3  # none right in both: of all, 0, 1/2, 1, 1


def test_table_of_overlaps() -> None:
    found = overlap_table({"student": (0.5, 0.25)}, 2)
    assert found.iloc[0].tolist() == ["student", "0.500", "0.250"] and "both top 2" in found.columns[1]


# ------------------------------------------------------------------------------------------------------------ inputs


def test_split_and_trunk_tables(birds, refuses) -> None:  # type: ignore[no-untyped-def]
    found = split_table(birds).set_index("split")
    assert found.loc["train"].tolist() == [32, 4, 8, 8] and found.loc["test", "images"] == 16
    trunks = trunk_table({"small": "none", "small_half": "none"}, 32, 4)
    assert trunks.trunk.tolist() == ["small", "small_half"] and set(trunks.grid) == {"4 × 4"}
    assert trunks.parameters.str.contains(",").all()
    with refuses("grid"):
        trunk_table({"small": "none"}, 32, 31)


def test_numbers_are_text_and_nothing_is_a_dash() -> None:
    assert numbers(pd.DataFrame({"a": ["x"], "b": [0.5], "c": [nan]})).iloc[0].tolist() == ["x", "0.500", "–"]
