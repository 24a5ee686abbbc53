"""Merging prototypes against a slow version that goes step by step, and what is written and drawn of it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from p2p import metrics
from p2p.data.images import ImageSet
from p2p.evaluation import survival
from p2p.evaluation.claims import UNDECIDED, paired
from p2p.evaluation.explainer import Explainer
from p2p.evaluation.measure import Answer
from p2p.evaluation.rows import COLUMNS, SHARING
from p2p.evaluation.runs import accuracy, finish_run, load_run, respond
from p2p.evaluation.settings import Setting
from p2p.evaluation.share import main, share_run
from p2p.evaluation.sharing import look, shared_rows
from p2p.evaluation.sharing_table import by_seed, sharing_table
from p2p.figures.explain import Explained
from p2p.figures.sharing import sharing_curves
from p2p.networks import ProtoNet, distance_map
from p2p.responses import ResponseTable
from p2p.sharing import count_at, disagreement, joined, merge_order, merged_into, share
from p2p.study.share_params import share_params
from p2p.study.study import Study
from p2p.training.trainer import Trainer


def slow_merge(activations: torch.Tensor, keep: int, percent: float) -> list[int]:
    """In steps: all pairs of those that are there are compared anew, and the most similar ones are merged."""
    stands_for = {j: [j] for j in range(activations.shape[1])}
    while len(stands_for) > keep:
        pairs = []
        for i in stands_for:
            for j in stands_for:
                if i < j:
                    difference = sum((a - b) ** 2 for a, b in zip(activations[:, i], activations[:, j], strict=True))
                    pairs.append((1 / float(difference), i, j))
        pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
        for _, stays, goes in pairs[: max(1, int(percent / 100 * len(pairs)))]:
            if stays in stands_for and goes in stands_for and len(stands_for) > keep:
                stands_for[stays] += stands_for.pop(goes)
    return [next(stays for stays, members in stands_for.items() if j in members) for j in range(activations.shape[1])]


@pytest.mark.numeric
@pytest.mark.parametrize("percent", [0.0, 5.0, 20.0, 60.0])
@pytest.mark.parametrize("keep", [1, 3, 7, 12])
def test_merging_is_that_of_any_step(percent, keep):
    activations = torch.rand(9, 12, generator=torch.Generator().manual_seed(keep), dtype=torch.float64)
    activations[:, 7] = activations[:, 2] + 1e-3  # a pair that goes first
    order = merge_order(activations)
    assert order[0].tolist() == [7, 2] and len(order) == 11
    assert merged_into(order, keep).tolist() == slow_merge(activations, keep, percent)


@pytest.mark.numeric
def test_disagreement_is_of_every_pair_and_prototypes_that_agree_go_first():
    activations = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    activations[:, 4] = activations[:, 1]
    found = disagreement(activations)
    slow = [float(((activations[:, i] - activations[:, j]) ** 2).sum()) for i in range(5) for j in range(i + 1, 5)]
    assert found.tolist() == pytest.approx(slow, rel=1e-5) and found.min() == 0
    assert merge_order(activations)[0].tolist() == [4, 1]


def test_shares_are_numbers_of_prototypes(refuses):
    assert [count_at(percent, 40) for percent in (100, 80, 20, 1)] == [40, 32, 8, 1]
    order = merge_order(torch.rand(4, 3))
    assert merged_into(order, 3).tolist() == [0, 1, 2]
    for keep in (0, 4):
        with refuses(str(keep), "1 to 3"):
            merged_into(order, keep)


@pytest.mark.numeric
def test_a_merged_network_sums_weights_and_serves_the_classes_of_all(teacher: ProtoNet, birds):
    images = birds.subset("test").pixels
    before = copy.deepcopy(teacher.state_dict())
    out = teacher(images)
    into = torch.tensor([0, 1, 0, 3, 4, 1, 0, 7])  # prototypes 0, 2 and 6 are one, and 1 and 5
    merged = share(teacher, into)
    again = merged(images)
    kept = [0, 1, 3, 4, 7]
    # With other prototypes beside it, a product of matrices may round a distance otherwise: of a map of 9 cells whose
    # squared norms are up to 8, by a few of float32's steps there.
    steps = 8 * 8 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(again.distances, out.distances[:, kept], rtol=0, atol=steps)
    maps = distance_map(out.z, teacher.prototypes).flatten(2)
    found = maps[:, kept].gather(2, again.cells.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(found, again.distances, rtol=0, atol=steps)
    # every prototype still votes, with the activation of the one that stands for it
    activations = teacher.layer.similarity(again.distances)  # steep near 0, so of the distances that the network has
    at = [kept.index(j) for j in into.tolist()]
    slow = torch.stack([sum(teacher.decision.weight[:, j] * row[at[j]] for j in range(8)) for row in activations])
    torch.testing.assert_close(again.logits, slow)
    assert [merged.own[:, j].nonzero()[:, 0].tolist() for j in range(5)] == [[0, 1, 3], [0, 2], [1], [2], [3]]
    assert merged.own.float().argmax(0).tolist() == teacher.own.float().argmax(0)[kept].tolist()  # the patch's own
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert torch.equal(joined(teacher.own.float(), torch.arange(8)), teacher.own.float())


# ----------------------------------------------------------------------------------------------- a run and its rows


@pytest.fixture(scope="module")
def finished(tiny, birds: ImageSet, tmp_path_factory) -> Path:
    """A folder with the tiny teacher, finished."""
    folder = tmp_path_factory.mktemp("runs") / "tiny" / "teacher"
    Trainer(tiny, birds, folder).run(progress=False)
    outcome = finish_run(folder, birds)
    (folder / "run.json").write_text(json.dumps({"outcome": outcome}))
    return folder


def test_rows_are_those_of_the_merged_network_itself(finished: Path, birds: ImageSet) -> None:
    trained, test = load_run(finished), birds.subset("test")
    outcome = json.loads((finished / "run.json").read_text())["outcome"]
    table = ResponseTable.load(finished / "responses.safetensors")
    answer = Answer("teacher", "paper", outcome, {"tuned": table}, trained)
    found = list(shared_rows(answer, answer, birds, [50], "zero", 0))
    value = {(share, row[2], row[3], row[4]): row[5] for share, row in found}
    assert len(value) == len(found)
    assert value[100, "merged", "top1", ""] == value[100, "tuned", "top1", ""] == outcome["top1"]["tuned"]
    assert value[100, "tuned", "prototypes", ""] == 8 and value[50, "tuned", "prototypes", ""] == 4
    assert value[50, "tuned", "pms", ""] == 1 and 1 <= value[50, "tuned", "classes", ""] <= 2
    known = look(trained, birds)
    merged = share(trained.network, known.into(50))
    assert value[50, "merged", "top1", ""] == pytest.approx(accuracy(merged, test.pixels, test.labels))
    (own,) = respond(merged, test.pixels)
    assert value[50, "tuned", "aap", float("inf")] == metrics.aap(own, [float("inf")])[0]
    assert value[50, "tuned", "ajs", float("inf")] == metrics.ajs(table, own, [float("inf")])[0]
    shuffled = metrics.permute_images(own, torch.Generator().manual_seed(0))
    assert value[50, "tuned", "pms_permuted", ""] == metrics.pms(table, shuffled).value
    merged.decision.weight.data = known.tuned(known.into(50), trained.params)
    assert value[50, "tuned", "top1", ""] == pytest.approx(accuracy(merged, test.pixels, test.labels))


def test_a_merged_run_is_a_run_that_explains(finished: Path, birds: ImageSet, refuses) -> None:
    out = finished.parent / "teacher-share25"
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    top1 = share_run(finished, 25, out)
    assert {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before
    again, test = load_run(out), birds.subset("test")
    assert again.params.run == "teacher-share25" and again.network.prototypes.shape == (2, 8)
    assert top1["tuned"] == pytest.approx(accuracy(again.network, test.pixels, test.labels))
    record, said = json.loads((out / "run.json").read_text()), json.loads((out / "merged.json").read_text())
    assert record["outcome"]["projection_error"] < 1e-4 and len(record["files"]) == 6
    assert said["share"] == 25 and len(set(said["into"])) == 2
    explained = Explainer(out, Explained, birds).explain(test.pixels[0], k=2)
    assert float(explained.contributions.sum()) == pytest.approx(explained.logit, abs=1e-4)
    served = {one.prototype: one.labels for one in explained.evidence}
    assert sorted({label for labels in served.values() for label in labels}) == [0, 1, 2, 3]
    for one in explained.evidence:
        others = [birds.classes[label] for label in one.labels[1:]]
        assert birds.classes[one.labels[0]] in explained.text()
        assert not others or f"merged with some of {', '.join(others)})" in explained.text()
        assert explained.owner(one, True).endswith(f"+{len(others)}" if others else birds.classes[one.labels[0]])
    assert explained.html() and explained.figure().axes
    with refuses("merged already"):
        share_run(out, 50, out.parent / "other")
    with refuses("another run"):
        share_run(finished, 50, finished)
    with refuses("SHARE is 100", "1 to 99"):
        share_run(finished, 100, out)


def test_the_command_says_what_is_missing(capsys, finished: Path) -> None:
    assert main(["", ""]) == 1 and "SHARE=40" in capsys.readouterr().err
    assert main([str(finished), "few"]) == 1 and "percent" in capsys.readouterr().err
    assert main([str(finished.parent / "none"), "40"]) == 1 and "There is no run" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------- verdicts and the page


def rows(seeds: int, student: float = 0.05, baseline: float = 0.15) -> pd.DataFrame:
    """At half the prototypes the student loses so much accuracy, and the baseline so much."""
    found = []
    for seed in range(seeds):
        for role, loss, pms in (("teacher", 0.0, 1.0), ("baseline", baseline, 0.3), ("student", student, 0.6)):
            for share_left in (100, 50):
                values = {"top1": 0.8 - loss * (share_left < 100) * (1 + 0.1 * seed), "prototypes": share_left / 10}
                values |= {"classes": 1.0, "pms": pms, "pms_permuted": 0.2, "aap": 4.0}
                values |= {"ajs_quarter": 0.5, "ajs_quarter_permuted": 0.4}
                for metric, value in values.items():
                    found.append(("s", "a-b", role, "paper", seed, share_left, "tuned", metric, None, value))
                found.append(("s", "a-b", role, "paper", seed, share_left, "merged", "top1", None, 0.5))
    return pd.DataFrame(found, columns=SHARING)


def setting(sharing: pd.DataFrame, flat: bool = True) -> Setting:
    budget = []
    for role in ("baseline", "student"):
        budget.append(("s", "a-b", role, "paper", 0, "tuned", "joint_passes", None, 10.0))
        budget.append(("s", "a-b", role, "paper", 0, "tuned", "top1_validation", None, 0.7))
        budget.append(("s", "a-b", "budget", f"{role}-20", 0, "tuned", "top1_validation", None, 0.7 if flat else 0.8))
    frame, none = pd.DataFrame(budget, columns=COLUMNS), pd.DataFrame()
    claims = pd.DataFrame(columns=["metric", "difference", "delta"])
    return Setting("s", "One <b>", "drawn", "a-b", "paper", {}, frame, claims, none, none, sharing)


def test_who_survives_is_judged_by_the_change_of_accuracy_within_seeds() -> None:
    found = survival.survival(setting(rows(3))).set_index("metric")
    slow = paired(torch.tensor([0.1, 0.11, 0.12]).numpy())
    assert found.loc["top1", ["difference", "low", "high"]].tolist() == pytest.approx([slow.mean, slow.low, slow.high])
    assert found.loc["top1", "verdict"] == "supported"
    assert found.loc["pms", "verdict"] == "no effect that matters"  # both keep what they had
    lost = rows(3)
    worse = (lost["role"] == "baseline") & (lost["metric"] == "pms") & (lost["share"] == 50)
    lost["value"] = lost["value"].mask(worse, 0.2 + 0.01 * lost["seed"])
    kept = survival.survival(setting(lost)).set_index("metric").loc["pms"]
    assert kept["verdict"] == "supported" and kept["difference"] == pytest.approx(0.09 / 0.8)  # corrected for chance
    assert "student 0.50 to 0.50 and baseline 0.12 to 0.01" in survival.survival_sentences([setting(lost)])[0]
    worse = survival.survival(setting(rows(3, 0.15, 0.05))).set_index("metric")
    assert worse.loc["top1", "verdict"] == "contradicted"
    alike = survival.survival(setting(rows(3, 0.05, 0.05))).set_index("metric")
    assert alike.loc["top1", "verdict"] == "no effect that matters"
    assert survival.survival(setting(rows(2))).set_index("metric").loc["top1", "verdict"] == "inconclusive"
    assert survival.survival(setting(rows(3), flat=False)).set_index("metric").loc["top1", "verdict"] == UNDECIDED


def test_sentences_tell_the_verdicts_or_how_to_get_them() -> None:
    (said,) = survival.survival_sentences([setting(rows(3))])
    assert "merged to 50 % of the prototypes" in said and r"One \<b\>" in said
    assert "is *supported* (+0.110, +0.085 to +0.135, 3 seeds)" in said
    (one,) = survival.survival_sentences([setting(rows(1))])
    assert "is *inconclusive* (+0.100, one seed)" in one and "nan" not in one
    (missing,) = survival.survival_sentences([setting(rows(0))])
    assert "make study STUDY=s" in missing and "sharing: [80, 60, 40, 20]" in missing


def test_the_table_and_the_figure_have_every_share_and_role() -> None:
    table = sharing_table(rows(3))
    assert table["prototypes"].tolist() == ["10 (100 %)", "5 (50 %)"] * 3
    student = table[table["network"] == "student"].iloc[1]
    assert student["top-1, merged"] == student["PMS"] == "0.500" and student["top-1, tuned"] == "0.745 (0.740–0.750)"
    assert by_seed(rows(2), "student", "ajs_quarter_corrected", 50).tolist() == pytest.approx([1 / 6, 1 / 6])
    both = survival.tables([setting(rows(2)), replace(setting(rows(0)), title="Two")])
    assert len(both) == 6 and set(both["setting"]) == {r"One \<b\>"}
    figure = sharing_curves({"One": rows(3), "Two": rows(1)})
    accuracy_panel, pms_panel, *_ = figure.axes
    assert len(figure.axes) == 4
    assert [len(ax.lines) for ax in (accuracy_panel, pms_panel)] == [9, 6]  # means, dots, and dotted: before tuning
    assert accuracy_panel.get_xlim()[0] > accuracy_panel.get_xlim()[1]  # fewer prototypes to the right


def test_a_study_names_its_shares(refuses) -> None:
    values = {"study": "s", "title": "S", "images": "drawn", "seeds": [0, 1], "data": {"reader": "birds"}, "recipe": {}}
    values["triples"] = [{"name": "a-b", "teacher": {"network": "small"}, "student": {"network": "small_half"}}]
    assert share_params(Study.model_validate(values)) is None
    params = share_params(Study.model_validate(values | {"sharing": [20, 80]}))
    assert params and params.sharing == [80, 20]
    assert [(trio.triple, trio.seed, trio.student) for trio in params.trios] == [
        ("a-b", seed, f"student-a-b-paper-s{seed}") for seed in (0, 1)
    ]
    with refuses("names a share twice"):
        share_params(Study.model_validate(values | {"sharing": [20, 20]}))
    with refuses("private study"):
        share_params(Study.model_validate(values | {"sharing": [20], "private": True}))
