"""The pages of questions: which settings are read, what their sentences and tables say, what the figures draw."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from p2p import losses, metrics
from p2p.evaluation import across, budgets, questions
from p2p.evaluation.claims import UNDECIDED, claims
from p2p.evaluation.settings import ACCURACIES, SIMILARITIES, Setting, prepared, read_settings, spoken_of
from p2p.figures import questions as drawn
from p2p.figures import worked

ODD = "<b>|x|</b> [x](y) $z$"
VALUES = {  # by role: of every seed the same but for a hundredth of the seed
    "teacher": {"top1": 0.9, "parameters": 2e6},
    "baseline": {"top1": 0.7, "pms": 0.3, "pms_permuted": 0.2, "same_index": 0.0, "parameters": 1e6},
    "student": {"top1": 0.8, "pms": 0.6, "pms_permuted": 0.2, "same_index": 0.5, "parameters": 1e6, "r2": 0.75},
    "control": {"top1": 0.85, "pms": 0.6, "projection_error": 0.0},
}
VALUES["student"] |= {"same_source_image": 0.25, "same_source_image_chance": 0.05}


def metric_rows(seeds: int, triple: str = "a-b") -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        for role, values in VALUES.items():
            variant = "shared-push" if role == "control" else "paper"
            for metric, value in values.items():
                moved = value + 0.01 * seed * (role == "student") * (metric == "top1")
                rows.append(("s", triple, role, variant, seed, "tuned", metric, None, moved))
            rows.append(("s", triple, role, variant, seed, "push", "top1", None, values["top1"] - 0.1))
    columns = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    return pd.DataFrame(rows, columns=columns)


def write(folder: Path, title: str, order: int, frame: pd.DataFrame) -> Path:
    folder.mkdir(parents=True)
    facts = {"study": folder.name, "title": title, "order": order, "intro": "", "images": "drawn"}
    facts |= {"controls": {"shared-push": "student"}}
    (folder / "study.json").write_text(json.dumps(facts))
    frame.to_csv(folder / "metrics.csv", index=False)
    claims(frame).to_csv(folder / "claims.csv", index=False)
    head = "run,network,role,variant,seed,image_passes,teacher_passes,hours,device,validation,test\n"
    costs = ["b0,b,baseline,paper,0,1000,0,0.5,CPU,0.7,0.7", "s0,b,student,paper,0,1000,300,0.5,CPU,0.8,0.8"]
    (folder / "costs.csv").write_text(head + "\n".join(costs) + "\n")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> list[Setting]:
    write(tmp_path / "two", "Two", 2, metric_rows(2))
    write(tmp_path / "one", "One", 1, metric_rows(3))
    return read_settings(tmp_path)


def test_settings_are_in_the_order_of_studies_and_a_triple_each(tmp_path: Path, settings: list[Setting]) -> None:
    assert [(setting.title, setting.seeds) for setting in settings] == [("One", 3), ("Two", 2)]
    write(tmp_path / "pairs", "Pairs", 0, pd.concat([metric_rows(3), metric_rows(3, "c-d")]))
    assert [setting.title for setting in read_settings(tmp_path)] == ["Pairs, a-b", "Pairs, c-d", "One", "Two"]


def test_studies_that_wait_are_named_with_their_commands(tmp_path: Path, settings: list[Setting]) -> None:
    studies = tmp_path / "params"
    studies.mkdir()
    (studies / "one.yaml").write_text("title: One\n")  # it has results
    (studies / "own.yaml").write_text("title: Own\nprivate: true\n")
    (studies / "odd.yaml").write_text("title: [\n")
    (studies / "wide.yaml").write_text("title: Wide|\nalternatives:\n  a: []\n  b: []\n")
    assert prepared(tmp_path, studies) == ["*Wide\\|* (`STUDY=wide`, also `USE=a` and `USE=b`)"]


def test_short_texts_speak_of_studies_of_several_seeds_where_there_are_any(settings: list[Setting]) -> None:
    three, two = settings
    assert spoken_of([two, three]) == [three] and spoken_of([two]) == [two] and spoken_of([]) == []


@pytest.mark.parametrize("damage", ["claims.csv", "metrics.csv", "study.json", "an earlier rule"])
def test_what_cannot_be_judged_is_left_out(tmp_path: Path, settings: list[Setting], damage: str) -> None:
    if damage == "an earlier rule":
        (tmp_path / "one" / "claims.csv").write_text("claim,setting,metric,n_seeds,verdict\nold,a-b,pms,3,reproduced\n")
    else:
        (tmp_path / "one" / damage).write_text("")
    assert [setting.title for setting in read_settings(tmp_path)] == ["Two"]


def test_a_verdict_is_told_with_its_number_and_its_settings(settings: list[Setting]) -> None:
    corrected = (0.6 - 0.2) / 0.8 - (0.3 - 0.2) / 0.8
    assert (
        questions.told(settings, "pms", True)
        == f"*supported* on One (+{corrected:.3f}); *inconclusive* on Two (+0.375)"
    )
    assert "3 seeds" in questions.told(settings, "pms") and "+0.375 to +0.375" in questions.told(settings, "pms")
    assert questions.told(settings, "aap_quarter") == "not measured"
    assert questions.told(settings, "top1") == (
        f"*{UNDECIDED}* on One (+0.110, +0.085 to +0.135, 3 seeds) and Two (+0.105, +0.041 to +0.169, 2 seeds)"
    )


def test_what_a_finding_is_headed_by_follows_from_the_verdicts(settings: list[Setting]) -> None:
    said = questions.handed_over(settings[:1])
    assert said.startswith("**The teacher's places are handed over.**") and "50 % on One (trained alone: 0 %)" in said
    assert questions.handed_over(settings).startswith(
        "**The teacher's places are handed over.**"
    )  # two seeds decide nothing
    other = replace(settings[0], claims=settings[0].claims.assign(verdict="contradicted"))
    assert questions.handed_over([settings[0], other]).startswith("**The teacher's places are handed over in part.**")
    assert questions.handed_over(settings[1:]).startswith(
        "**It is not shown that the teacher's places are handed over.**"
    )
    assert questions.more_accurate(settings).startswith("**That the student is more accurate is not decided.**")
    said = questions.other_pictures(settings[:1])
    assert "mostly another picture" in said and "25 % on One (chance 5 %, R² of the map 0.75)" in said


def test_what_was_not_measured_is_said_so(tmp_path: Path) -> None:
    bare = metric_rows(3)
    write(tmp_path / "bare", "Bare", 0, bare[bare["metric"].isin(["top1", "parameters"])])
    (setting,) = read_settings(tmp_path)
    assert "not measured" in questions.handed_over([setting]) and "nan" not in questions.handed_over([setting])
    assert questions.other_pictures([setting]) == "**Which pictures a person is shown has not been measured.**"


def test_the_lead_is_told_where_it_is_largest_and_at_the_end(settings: list[Setting]) -> None:
    head = ["triple", "role", "passes", "seed", "chosen", "top-1"]
    points = {"student": [0.5, 0.9, 0.92], "baseline": [0.3, 0.4, 0.93]}
    rows = [
        ("a-b", role, passes, seed, passes == 40, value + 0.01 * seed)
        for role, values in points.items()
        for passes, value in zip((10, 40, 80), values, strict=True)
        for seed in (0, 2)
    ]
    rows += [("a-b", "student", 40, 7, True, 0.1)]  # a seed without other passes does not count
    budget = pd.DataFrame(rows, columns=head)
    said = budgets.lead(replace(settings[0], budget=budget))
    assert said.endswith(
        "with 40 joint passes the student is right in 0.91 of the test images and the baseline in 0.41; "
        "with 80 in 0.93 and 0.94 (2 seeds)."
    )
    assert budgets.lead(replace(settings[0], budget=budget[budget["passes"] > 10])) == ""
    ahead = replace(settings[0], budget=budget)
    assert budgets.head_start(ahead) == f"It gets there sooner: on {said.replace(': with', ' with', 1)}"
    assert questions.more_accurate([ahead], brief=True).endswith(budgets.head_start(ahead))
    assert "sooner" not in questions.more_accurate([ahead])
    behind = budget["top-1"].where(~(budget["role"].eq("student") & budget["passes"].eq(80)), 0.1)
    assert (
        budgets.head_start(replace(settings[0], budget=budget.assign(**{"top-1": behind}))) == ""
    )  # behind in the end
    kept = budget.assign(**{"top-1": budget["top-1"].where(budget["role"] == "student", 0.3)})
    assert budgets.head_start(replace(settings[0], budget=kept)) == "" == budgets.head_start(settings[0])


def test_more_passes_are_spoken_of_as_far_as_they_were_run(settings: list[Setting]) -> None:
    rows = [("a-b", role, 40, seed, True) for role in ("baseline", "student") for seed in (0, 1)]
    once = pd.DataFrame(rows, columns=["triple", "role", "passes", "seed", "chosen"])
    twice = pd.concat([once, once.assign(passes=80, chosen=False)])
    assert "no other budgets" in budgets.flatness(settings[0])
    assert "were not run" in budgets.flatness(replace(settings[0], budget=once))
    assert "run with 2 seeds, still move" in (said := budgets.flatness(replace(settings[0], budget=twice)))
    known = metric_rows(1).assign(metric="validation_images", value=80.0)
    assert "validation images" not in said and budgets.flatness(
        replace(settings[0], frame=pd.concat([settings[0].frame, known]), budget=twice)
    ).endswith("; of 80 validation images one is worth 1.2 points, so less can hardly be shown.")


def test_a_short_training_is_called_one(tmp_path: Path) -> None:
    for name, title, passes, top1 in (("short", "Short", 400.0, 0.0), ("long", "Long <b>", 800.0, 0.05)):
        frame = metric_rows(3)
        moved = frame["value"] + top1 * ((frame["role"] == "baseline") & (frame["metric"] == "top1"))
        rows = [("s", "a-b", "baseline", "paper", seed, "tuned", "joint_passes", None, passes) for seed in range(3)]
        both = [frame.assign(value=moved), pd.DataFrame(rows, columns=frame.columns)]
        write(tmp_path / name, title, 1, pd.concat(both))
    long, short = read_settings(tmp_path)
    assert budgets.longer_elsewhere(short, [short, long]) == (
        "Accuracies of *Short* are those of a short training: with 800 instead of 400 joint passes, in *Long \\<b\\>*, "
        "the network trained alone reaches 0.750 instead of 0.700."
    )
    assert budgets.longer_elsewhere(long, [short, long]) == "" == budgets.longer_elsewhere(short, [short])


def test_a_baseline_that_was_trained_twice_is_told(settings: list[Setting]) -> None:
    first = settings[0]
    rows = first.frame
    moved = rows["value"].where((rows["role"] != "baseline") | (rows["metric"] != "top1"), rows["value"] - 0.1)
    again = replace(first, title="Again |", frame=rows.assign(value=moved))
    assert budgets.trained_twice([first, first]) == "" == budgets.trained_twice([first])  # the very same networks
    said = budgets.trained_twice([first, again])
    assert "*Again \\|* (of one seed up to 0.100 apart)" in said and said.startswith("The network trained alone has 0.")
    assert budgets.trained_twice([first, replace(again, images="others")]) == ""


def test_titles_are_text(tmp_path: Path) -> None:
    write(tmp_path / "odd", ODD, 0, metric_rows(3))
    (setting,) = read_settings(tmp_path)
    found = [questions.handed_over([setting]), questions.more_accurate([setting]), budgets.flatness(setting)]
    found += questions.recipe_sentences([setting]) + questions.cost_sentences([setting])[1:2]
    assert len(found) == 5 and all(ODD not in text and r"\<b\>\|x\|" in text for text in found)
    svg = drawn.forest([setting])
    assert [text.get_text() for text in svg.legends[0].get_texts()][0] == ODD.replace("$", r"\$")


def test_tables_hold_every_setting(settings: list[Setting]) -> None:
    handed = across.handed_table(settings)
    assert handed["network"].tolist() == ["baseline", "student"] * 2
    assert handed["PMS"].tolist() == ["0.300 (0.300–0.300)", "0.600 (0.600–0.600)"] * 2
    stages = across.stages_table(settings).set_index(["setting", "network"])
    assert stages.loc[("One", "student"), "tuned"] == "0.810 (0.800–0.820)"
    assert stages.loc[("Two", "teacher"), "after the push"] == "0.800 (0.800–0.800)"
    judged = across.claims_table(settings, SIMILARITIES + ACCURACIES)
    assert set(judged["setting"]) == {"One", "Two"} and "AAP nearer" not in set(judged["claim"])
    assert judged[judged["claim"] == "tuned"]["verdict"].tolist() == [UNDECIDED] * 2
    recipe = across.recipe_table(settings)
    assert recipe["seeds"].tolist() == ["3", "2"] and recipe["top-1"].str.startswith("+0.04").all()
    costs = across.costs_table(settings)
    assert costs["of the teacher"].tolist() == ["–", "300"] * 2 and costs["parameters"].tolist() == ["1.00 M"] * 4


def test_costs_and_controls_are_told(settings: list[Setting]) -> None:
    assert questions.cost_sentences(settings[:1]) == [
        "**The student is 2.0 times smaller than its teacher, and costs 1.30 times the image passes of the same "
        "network trained alone.**",
        "One: the student has 1.00 M parameters, the teacher 2.00 M; training it takes 1.30 times the baseline's image "
        "passes where the teacher exists.",
        questions.NO_CLASSIFIER,
    ]
    (said,) = questions.recipe_sentences(settings[:1])
    assert (
        said.startswith("*shared-push* on One (3 seeds) moves top-1 by +0.040")
        and "PMS by 0.000 (0.000 to 0.000)" in said
    )


def test_an_ordinary_classifier_has_a_sentence_and_a_column(tmp_path: Path) -> None:
    frame = metric_rows(3)
    linear = frame[(frame["role"] == "control") & frame["metric"].eq("top1")].assign(variant="linear", value=0.95)
    folder = write(tmp_path / "one", "One", 1, pd.concat([frame, linear]))
    facts = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**facts, "controls": {"linear": "baseline"}}))
    (setting,) = read_settings(tmp_path)
    said = questions.cost_sentences([setting])
    assert (
        "reaches 0.95: prototypes cost the network trained alone 25.0 points (cost with 95 % interval: +25.0"
        in said[-1]
        and questions.NO_CLASSIFIER not in said
    )
    assert not any("linear" in sentence for sentence in questions.recipe_sentences([setting]))  # has none to change
    costs = across.costs_table([setting])
    assert costs["ordinary classifier"].tolist() == ["0.950 (0.950–0.950)"] * 2  # baseline and student share the trunk


def test_the_summary_has_a_row_a_setting(settings: list[Setting]) -> None:
    found = across.summary_table(settings)
    assert found["setting"].tolist() == ["One (3 seeds)", "Two (2 seeds)"]
    assert found.loc[0, ["PMS", "alone", "top-1", "teacher"]].tolist() == [
        "0.60",
        "0.30",
        "0.81",
        "0.90",
    ]


def test_a_forest_has_a_mark_for_each_measured_claim_hollow_where_undecided(settings: list[Setting]) -> None:
    similar, accurate = drawn.forest(settings).axes
    filled = [
        [line.get_markerfacecolor() for line in ax.lines if line.get_marker() in drawn.SHAPES]
        for ax in (similar, accurate)
    ]
    assert len(filled[0]) == 2 * 2 and "white" not in filled[0]  # PMS and same number of two settings
    assert len(filled[1]) == 2 * 2 and set(filled[1]) == {"white"}  # after the push and tuned
    ticks = [line.get_xdata()[0] for line in similar.lines if line.get_marker() == "|"]
    assert ticks == pytest.approx([-(0.3 - 0.2) / 0.8] * 2)  # PMS; of same number no chance was measured
    compact = drawn.forest(settings, compact=True)  # the same marks, one panel below the other
    assert [len(ax.lines) for ax in compact.axes] == [len(similar.lines), len(accurate.lines)]
    compact.canvas.draw()
    upper, lower = (ax.get_position() for ax in compact.axes)
    assert lower.y1 < upper.y0 and compact.get_figwidth() < 4
    assert drawn.effects(across.recipe_effects(settings)).axes
    assert len(drawn.costs(settings).axes) == 2


def test_the_worked_example_counts_what_the_metrics_count() -> None:
    example = worked.example()
    image = torch.zeros(3, 50, 50, dtype=torch.uint8)
    shares = []
    for n in range(len(example.teacher.cells)):
        title = worked.active_cells(image, example, n).axes[2].get_title()
        mine, theirs = (set(table.cells[n].tolist()) for table in example)
        assert title.startswith(f"{len(mine & theirs)} of {len(mine | theirs)} cells")
        shares.append(len(mine & theirs) / len(mine | theirs))
    assert metrics.ajs(*example, [float("inf")])[0] == pytest.approx(sum(shares) / len(shares))
    ax = worked.count_matrix(example).axes[0]
    shown = [[int(ax.texts[8 * i + j].get_text()) for j in range(8)] for i in range(8)]
    cells_t, cells_s = example.teacher.cells, example.student.cells
    assert shown == [[int((cells_t[:, i] == cells_s[:, j]).sum()) for j in range(8)] for i in range(8)]
    found = metrics.pms(*example)
    for style, own in (("solid", -1), ("--", 0)):  # the matching is sought anew for each α
        boxes = [p for p in ax.patches if p.get_linestyle() == style]
        framed = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in boxes}
        pairs = set(enumerate(found.matching[own].tolist()))
        assert framed == (pairs if style == "solid" else pairs - set(enumerate(found.matching[-1].tolist()))) and framed
    assert {(2, 3), (3, 2)} <= set(
        enumerate(found.matching[-1].tolist())
    )  # two have changed places, and PMS finds them
    worth = [min(10 * shown[i][int(j)] / 10, 1) for i, j in enumerate(found.matching[-1])]
    assert sum(worth) / 8 < found.per_alpha[0]  # at α = 0.1 another matching is better


def test_the_worked_example_of_ppc_counts_the_teachers_active_patches_alone() -> None:
    example = worked.example()
    student, teacher = worked.maps(example)
    texts = worked.pulled_cells(torch.zeros(3, 50, 50, dtype=torch.uint8), example).axes[1].texts
    counted = [int(text.get_text()) for text in texts if text.get_weight() == "bold"]
    assert len(texts) == 25 and len(counted) == len(set(example.teacher.cells[0].tolist()))
    assert losses.patch_correspondence(student, teacher).item() == pytest.approx(sum(counted) / len(counted))


def test_the_first_finding_names_the_parts_that_are_shared(settings: list[Setting]) -> None:
    assert questions.same_part(settings) == ""
    rows = settings[0].frame
    values = {("student", "part_transfer"): 0.6, ("student", "part_transfer_chance"): 0.3}
    values |= {("baseline", "part_transfer"): 0.1, ("baseline", "part_transfer_matched"): 0.2}
    more = [
        rows.iloc[[0]].assign(role=role, variant="paper", seed=seed, stage="tuned", metric=metric, value=value)
        for (role, metric), value in values.items()
        for seed in range(3)
    ]
    known = replace(settings[0], frame=pd.concat([rows, *more], ignore_index=True))
    assert questions.handed_over([known], True).endswith(
        " Where the teacher's lies on a part, the student's lies on the same in 60 % on One (trained alone, at best "
        "20 %: +0.400, +0.400 to +0.400)."
    )
