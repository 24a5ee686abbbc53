"""Students of one study side by side: where each belongs, tables, verdicts, the curve over weights, sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from p2p.errors import UserError
from p2p.evaluation import search as searching
from p2p.evaluation import variants
from p2p.evaluation.claims import UNDECIDED, claims
from p2p.evaluation.results import write_study
from p2p.evaluation.search import load_search
from p2p.evaluation.settings import Setting, read_settings
from p2p.figures.variants import weight_curves
from p2p.study.checksums import check_file, checksums, damaged
from p2p.study.effect import refuse_idle
from p2p.study.page_params import PageParams
from p2p.study.study import load_study

ROOT = Path(__file__).parents[1]
BOTH = {"global": 10.0, "ppc": 10.0}
STUDENTS: dict[str, dict[str, Any]] = {
    "paper": {"distillation": BOTH},
    "g": {"distillation": {"global": 10.0}},
    "p": {"distillation": {"ppc": 10.0, "global": 0.0}},  # a weight of 0 is no loss
    "cells": {"distillation": BOTH, "mask_source": "all"},
    "weak": {"distillation": {"global": 0.1, "ppc": 10.0}},
    "relations": {"distillation": {"rkd": 5.0}},
    "more": {"distillation": BOTH | {"logits": 1.0}},
}
TOP1 = {"paper": 0.8, "g": 0.75, "p": 0.3, "cells": 0.8, "weak": 0.7, "relations": 0.72, "more": 0.82}


def frame(seeds: int = 3) -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        for role, name in (("teacher", "paper"), ("baseline", "paper"), *(("student", name) for name in STUDENTS)):
            top1 = TOP1[name] if role == "student" else 0.6
            values = {"top1": top1 + 0.01 * seed * (role == "student"), "pms": top1 - 0.1, "pms_permuted": 0.2}
            values |= {"r2": top1} if role == "student" else {}
            rows += [("s", "a-b", role, name, seed, "tuned", metric, None, value) for metric, value in values.items()]
            rows.append(("s", "a-b", role, name, seed, "push", "top1", None, top1 - 0.1))
    columns = ["study", "triple", "role", "variant", "seed", "stage", "metric", "tau", "value"]
    return pd.DataFrame(rows, columns=columns)


def write(place: Path, name: str, seeds: int = 3, **facts: Any) -> None:
    folder = place / name
    folder.mkdir(parents=True)
    known = {"study": name, "title": f"Title {name}", "order": 1, "intro": "", "images": "drawn", "variant": "paper"}
    (folder / "study.json").write_text(json.dumps(known | {"variants": STUDENTS} | facts))
    rows = frame(seeds)
    rows.to_csv(folder / "metrics.csv", index=False)
    claims(rows).to_csv(folder / "claims.csv", index=False)
    costs = [f"baseline-b-s{s},b,baseline,paper,{s},1,0,{0.5 + s},CPU,0,0" for s in range(seeds)]
    costs += [
        f"student-a-b-{v}-s{s},b,student,{v},{s},1,1,{0.6 + 1.2 * s},CPU,0,0" for v in STUDENTS for s in range(seeds)
    ]
    head = "run,network,role,variant,seed,image_passes,teacher_passes,hours,device,validation,test"
    (folder / "costs.csv").write_text("\n".join([head, *costs, ""]))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    write(tmp_path, "many")
    return read_settings(tmp_path)[0]


def test_a_study_that_compares_judges_no_claim_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "many", compares=True)
    write(tmp_path, "main")
    assert [s.study for s in read_settings(tmp_path)] == ["main"]
    assert [s.study for s in read_settings(tmp_path, every=True)] == ["main", "many"]


def test_a_student_belongs_where_its_losses_say(setting: Setting) -> None:
    assert variants.by_losses(setting) == ["paper", "g", "p", "cells", "weak"]
    assert variants.by_others(setting) == ["relations", "more"]
    plain = replace(setting, variants={})
    assert variants.by_losses(plain) == variants.by_others(plain) == []


def test_tables_have_a_row_a_student_beside_the_network_trained_alone(setting: Setting) -> None:
    table = variants.variants_table(setting, variants.by_losses(setting), quoted=True)
    first, second, third, *_ = students = table["student"].tolist()
    assert [text.partition("<br>")[0] for text in students] == ["*trained alone*", "paper", "g", "p", "cells", "weak"]
    assert first == "*trained alone*" and second == r"paper<br><small>global 10 \+ ppc 10</small>"
    assert "<small>global 10</small>" in third and r"mask\_source all" in students[4]
    assert table["PMS"].tolist()[:2] == ["0.375 (0.375–0.375)", "0.625 (0.625–0.625)"]  # (0.5 − 0.2) / 0.8 …
    assert table["after push"].tolist()[0] == "0.500 (0.500–0.500)" and table["R²"].tolist()[0] == "–"
    quoted = table["Bikker et al., Cars"].tolist()
    assert quoted == ["0.704", "0.729", "0.512", "0.134", "–", "–"]  # not of another mask or weight
    others = variants.others_table(setting)
    names = [text.partition("<br>")[0] for text in others["student"]]
    assert names == ["*trained alone*", "paper", "relations", "more"]
    assert others["time"].tolist() == ["1", *["1.20 (1.20–1.20)"] * 3]


def test_effects_are_within_seeds_and_judged_by_the_interval(setting: Setting) -> None:
    found = variants.effects(setting, ["paper", "g", "relations"]).set_index(["variant", "against", "metric"])
    assert found.loc[("g", "paper", "top1"), "difference"] == pytest.approx(-0.05)
    assert found.loc[("g", "paper", "top1"), "verdict"] == UNDECIDED  # no budget tells that more passes change nothing
    assert found.loc[("g", "paper", "r2"), "verdict"] == "contradicted"
    assert found.loc[("relations", "baseline", "pms"), "difference"] == pytest.approx(0.12 / 0.8)
    assert found.loc[("relations", "baseline", "pms"), "verdict"] == "supported"
    assert ("paper", "paper", "top1") not in found.index and ("paper", "baseline", "top1") in found.index
    assert ("g", "baseline", "r2") not in found.index  # the baseline was never taught
    table = variants.effects_table(setting, ["paper", "g"])
    assert table["R² − paper"].tolist() == ["–", "−0.050 (−0.050 to −0.050) *contradicted*"]
    assert table["PMS − alone"].str.startswith("+").all()


def test_one_seed_is_shown_without_interval(tmp_path: Path) -> None:
    write(tmp_path, "one", seeds=1)
    (setting,) = read_settings(tmp_path)
    assert variants.effects_table(setting, ["g"])["R² − paper"].tolist() == ["−0.050 *inconclusive*"]
    assert "nan" not in " ".join(variants.loss_sentences(setting) + variants.other_sentences(setting))


def test_the_curve_holds_the_other_losses_at_the_papers(setting: Setting) -> None:
    found = variants.responses(setting)
    assert set(found["loss"]) == {"global"}  # of PPC there are two weights alone, 0 and 10
    top1 = found[(found["metric"] == "top1") & (found["seed"] == 0)]
    by_weight = dict(zip(top1["weight"], top1["value"], strict=True))
    assert by_weight == pytest.approx({10.0: 0.8, 0.0: 0.3, 0.1: 0.7})
    assert variants.trained_alone(setting) == pytest.approx({"pms": 0.375, "top1": 0.6})
    figure = weight_curves({"Title": found}, {"Title": variants.trained_alone(setting)})
    assert [ax.get_xscale() for ax in figure.axes] == ["log"] * 3
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0", "0.1", "10"]
    dots = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert sorted(set(dots.get_xdata())) == pytest.approx([0.01, 0.1, 10]) and len(dots.get_ydata()) == 9


def test_students_with_fewer_seeds_are_named_and_curves_keep_to_the_seeds_of_all(setting: Setting) -> None:
    frame = setting.frame[(setting.frame["variant"] != "weak") | (setting.frame["seed"] > 0)]
    fewer = replace(setting, frame=frame)
    assert variants.fewer_seeds(fewer, ["paper", "weak"]) == "; 2 seeds of weak"
    assert variants.fewer_seeds(setting, ["paper", "weak"]) == ""
    found = variants.responses(fewer)
    assert set(found["seed"]) == {1, 2} and set(found["weight"]) == {0.0, 0.1, 10.0}


def test_sentences_say_whether_the_reproduction_is_met(setting: Setting) -> None:
    does, first, on_global, on_ppc = variants.loss_sentences(setting)
    assert (
        "one loss at a time: PMS rises above that of the network trained alone with *Global* (+0.188, +0.188 to +0.188)"
        in does
    )
    assert does.endswith("; no rise is shown with *PPC* (−0.375, −0.375 to −0.375).")
    assert "with all losses top-1 0.810" in first and "with PPC alone top-1 0.310" in first
    assert "51.22 %" in on_global and "Here it is above it" in on_global and "+0.160" in on_global
    assert "13.44 %" in on_ppc and "So it is here" in on_ppc
    others = " ".join(variants.other_sentences(setting))
    fewer = (
        "Of the teacher's places *relations* hands over fewer than the paper's losses; of *more* no difference is shown"
    )
    assert others.startswith(f"**{fewer}.** ")
    assert "*relations* top-1 −0.080 (−0.080 to −0.080)" in others and "*more* top-1 +0.020" in others
    assert variants.other_sentences(replace(setting, variants={"paper": STUDENTS["paper"]})) == []


def test_what_has_not_been_run_is_said_with_its_command(tmp_path: Path) -> None:
    for name, more in (
        ("main", ""),
        ("many", "compares: true"),
        ("other", "compares: true\nvariants:\n  paper: {}\n  both: {distillation: {global: 1, rkd: 2}}"),
        ("losses", "compares: true\nvariants: {paper:, ppc-only: {distillation: {ppc: 10}}}"),
        ("audit-x", "compares: true"),
        ("today-x", "compares: true\nvariants: [paper, {a: {distillation: 1}}]"),
        ("today-y", "compares: true\nvariants: {paper: 3, b: {distillation: 1}}"),
        ("broken", "compares: ["),
    ):
        (tmp_path / f"{name}.yaml").write_text(f"study: {name}\n{more}\n")
    write(tmp_path / "results", "many", compares=True)
    assert variants.not_run(tmp_path / "results", tmp_path, "recipe") == {"losses": {"losses"}, "other": {"others"}}
    assert variants.not_run(tmp_path / "results", tmp_path, "audit") == {"audit-x": set()}
    waiting = variants.not_run(tmp_path / "results", tmp_path, "today")  # whatever stands in them
    assert waiting == {"today-x": set(), "today-y": {"losses"}}
    assert variants.not_run_sentence(["other"]).endswith("`make study STUDY=other`.")
    assert variants.not_run_sentence([]) == ""


@pytest.mark.parametrize(
    ("main", "names"), [("birds", ["losses-birds", "others-birds"]), ("cub-20", ["losses-cub-20"])]
)
def test_the_study_files_hold_both_tables(main: str, names: list[str]) -> None:
    base, taught = load_study(ROOT / "params" / f"{main}.yaml"), []
    for name in names:
        study = load_study(ROOT / "params" / f"{name}.yaml")
        passes = {"joint_epochs": 400} if main == "birds" else {}  # half of the study's, told in the file
        assert study.data == base.data and study.recipe == base.recipe | passes
        assert set(study.seeds) <= set(base.seeds) and len(study.seeds) >= 3  # so the teacher is trained once
        assert study.triples[0].model_copy(update={"budget": {}}) == base.triples[0].model_copy(update={"budget": {}})
        runs, (triple, *_) = study.runs(), study.triples
        taught += [runs[f"student-{triple.name}-{variant}-s{study.seeds[0]}"] for variant in study.variants]
    weights = [run.distillation for run in taught]
    assert all({"global": g, "ppc": 10.0} in weights for g in (0.1, 1.0, 10.0, 100.0))
    assert all({"global": 10.0, "ppc": p} in weights for p in (0.1, 1.0, 10.0, 100.0))
    assert {run.head for run in taught} == {"own", "teacher", "teacher_tuned"}
    assert {loss for each in weights for loss in each} == {"global", "ppc", "rkd", "logits", "features", "attention"}


def test_a_search_may_try_alternatives_whose_teachers_differ() -> None:
    search, found = load_search(ROOT / "params" / "search" / "today-birds.yaml")
    assert list(found) == ["", "cosine", "ten-prototypes"]
    layers = {use: {run.prototype_layer for run in runs.values()} for use, runs in found.items()}
    assert layers == {"": {"distance"}, "cosine": {"cosine"}, "ten-prototypes": {"distance"}}
    assert {run.role for run in found["cosine"].values()} == {"teacher", "baseline", "student"}  # no trials
    assert all(run.study == "today-birds-cosine-search" for run in found["cosine"].values())
    assert {run.seed for runs in found.values() for run in runs.values()} == set(search.seeds)


def test_a_search_may_have_several_seeds_and_none_of_the_study(tmp_path: Path) -> None:
    search, found = load_search(ROOT / "params" / "search" / "birds.yaml")
    (runs,) = found.values()
    assert {run.seed for run in runs.values()} == {100, 101}
    slower = [run.seed for run in runs.values() if run.variant == "baseline-400-slower"]
    assert slower == [100, 101] and [r.seed for r in runs.values() if r.variant == "student-400-faster"] == [100]
    assert all(run.teacher_run.endswith(f"-s{run.seed}") for run in runs.values() if run.teacher_run)
    (tmp_path / "search").mkdir()
    (tmp_path / "birds.yaml").write_text((ROOT / "params" / "birds.yaml").read_text())
    text = (ROOT / "params" / "search" / "birds.yaml").read_text().replace("[100, 101]", "[100, 21]")
    (tmp_path / "search" / "birds.yaml").write_text(text)
    with pytest.raises(UserError, match="seed 21 is one of the study's own"):
        load_search(tmp_path / "search" / "birds.yaml")


@pytest.mark.parametrize("name", ["others-birds", "losses-cub-20"])
def test_a_search_trains_the_first_student_and_its_trials_alone(name: str) -> None:
    search, found = load_search(ROOT / "params" / "search" / f"{name}.yaml")
    runs = found[""]
    assert len(runs) == 3 + len(search.trials)
    chosen = load_study(ROOT / "params" / f"{name}.yaml").variants.values()
    tried = [one.change for one in search.trials]
    others = [change for change in chosen if set(change.get("distillation", {})) - set(BOTH)]
    assert len(others) == 5 and all(change in tried for change in others)  # no weight that was not searched


def test_variants_reach_the_study_file_of_the_results(tmp_path: Path) -> None:
    study = load_study(ROOT / "params" / "losses-birds.yaml")
    page = study.page().model_copy(update={"evaluations": []})
    write_study(tmp_path, page, frame(), {})
    facts = json.loads((tmp_path / "study.json").read_text())
    assert facts["compares"] is True and facts["variants"]["all-cells"] == {"distillation": BOTH, "mask_source": "all"}
    plain = PageParams()
    assert not {"variants", "compares"} & plain.model_dump().keys()  # an older page's parameters are as they were


def test_a_study_without_a_second_student_compares_nothing() -> None:
    study = load_study(ROOT / "params" / "quick.yaml").model_copy(update={"compares": True})
    with pytest.raises(UserError, match="'compares' is without effect"):
        refuse_idle(study)


def test_a_finished_search_is_sealed_and_a_broken_off_one_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, runs = load_search(ROOT / "params" / "search" / "birds.yaml")
    first = dict(list(runs[""].items())[:2])
    monkeypatch.setattr(searching, "load_search", lambda path: (search, {"": first}))
    monkeypatch.setattr(searching, "load_images", lambda *given: None)
    monkeypatch.setattr(searching, "project_path", lambda name: tmp_path / name)
    monkeypatch.setattr(searching, "trial", lambda *given: {"tuned": 0.5})
    assert searching.main(["birds"]) == 0
    out = tmp_path / "results" / "search"
    assert set(checksums(out, "birds")) == {"birds.csv"} and damaged(out, "birds") == []
    assert len((out / "birds.csv").read_text().splitlines()) == 3
    told = iter([{"tuned": 0.75}])  # the second trial fails
    monkeypatch.setattr(searching, "trial", lambda *given: next(told))
    with pytest.raises(StopIteration):
        searching.main(["birds"])
    assert checksums(out, "birds") == {} and "0.75" in check_file(out, "birds.csv").read_text()


def test_other_losses_have_the_weights_that_their_search_chose() -> None:
    """The highest validation accuracy, tuned; between equal ones the lower cross-entropy."""
    found = pd.read_csv(ROOT / "results" / "search" / "others-birds.csv")
    trials = found[(found["role"] == "student") & found["changed"].notna()]
    chosen: dict[tuple[str, ...], dict[str, float]] = {}
    for row in trials.sort_values(["tuned", "cross-entropy, tuned"], ascending=[False, True]).itertuples():
        weights = json.loads(row.changed)["distillation"]
        chosen.setdefault(tuple(weights), weights)
    runs = load_study(ROOT / "params" / "others-birds.yaml").runs().values()
    ours = {run.variant: run.distillation for run in runs if run.role == "student" and run.variant != "paper"}
    assert len(ours) == len(chosen) == 5
    assert all(weights == chosen[tuple(weights)] for weights in ours.values())
