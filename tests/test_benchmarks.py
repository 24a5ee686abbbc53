"""The benchmarks compare the same work: classic, sets and CaBRNet agree with p2p, and the statistics are right."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from bounds import alike, distance_rounding, rounding
from torch import Tensor

from benchmarks import __main__ as command
from benchmarks import cabrnet_peer, classic, end_to_end, inputs, sets, stages, steps, summary, timing
from p2p import metrics
from p2p.device import has_bfloat16
from p2p.networks import ProtoNet, distance_map
from p2p.projection import find_patches, push
from p2p.study.checksums import checksums, damaged, seal
from p2p.study.params import TrainParams
from p2p.study.speed_params import SpeedParams
from p2p.training.objective import objective
from p2p.trunks import build_trunk

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
FORWARD = (22, 512 * 9)  # layers of ResNet-18 and add-on, products of the longest sum
BACKWARD = (44, 512 * 9)
HALF_STEP = "training step, bfloat16 trunk"
needs_cabrnet = pytest.mark.skipif(bool(cabrnet_peer.missing()), reason=cabrnet_peer.missing() or "is there")


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """12 random images of 64 px, of 4 classes in turn."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 3, 64, 64), generator=generator).to(torch.uint8)
    return pixels, torch.arange(12) % 4


def network(name: str = "resnet18") -> ProtoNet:
    """4 classes, 3 prototypes each, 16 channels, 2×2 cells; its trunk outputs are scaled."""
    torch.manual_seed(1)
    trunk, channels = build_trunk(name, 64, 2)
    net = ProtoNet(trunk, channels, 4, 3, 16)
    net.scale.fill_(1.7)
    return net.eval()


# ------------------------------------------------------------------------------------------------- the same work


@pytest.mark.numeric
def test_classic_distances_are_those_of_the_prototype_layer() -> None:
    z, prototypes = torch.rand(3, 8, 2, 5), torch.rand(6, 8)
    weights = prototypes[:, :, None, None]
    slow = torch.stack([((z - p.view(1, 8, 1, 1)) ** 2).sum(1) for p in prototypes], 1)
    bound = distance_rounding(z, prototypes)
    torch.testing.assert_close(classic.distances(z, weights, torch.ones_like(weights)), slow, rtol=0, atol=bound)
    torch.testing.assert_close(distance_map(z, prototypes), slow, rtol=0, atol=bound)


@pytest.mark.numeric
def test_classic_logits_loss_and_gradients_are_ours(images: tuple[Tensor, Tensor]) -> None:
    net, (pixels, labels) = network(), images
    plain = classic.ClassicNet(net).eval()
    params = TrainParams(lambda_cluster=0.8, lambda_separation=0.08, lambda_l1=1e-3)
    (batch,) = stages.batches(pixels, labels, 12)
    out = net(pixels)
    logits, smallest = plain(batch[0])
    assert alike(logits, out.logits, *FORWARD) and alike(smallest, out.distances, *FORWARD)
    ours, _ = objective(out, labels, net, params, None)
    theirs = plain.loss(logits, smallest, labels, (0.8, 0.08, 1e-3))
    assert alike(ours, theirs, *FORWARD)
    ours.backward()
    theirs.backward()
    assert net.prototypes.grad is not None and plain.prototypes.grad is not None
    assert alike(net.prototypes.grad, plain.prototypes.grad[:, :, 0, 0], *BACKWARD)
    for mine, other in zip(net.trunk.parameters(), plain.trunk.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None
        assert alike(mine.grad, other.grad, *BACKWARD)


@pytest.mark.numeric
def test_classic_push_finds_our_patches(images: tuple[Tensor, Tensor]) -> None:
    net, (pixels, labels) = network(), images
    ours = find_patches(net, pixels, labels, 5)
    theirs = classic.push(classic.ClassicNet(net), stages.batches(pixels, labels, 5))
    assert theirs.images.tolist() == ours.images.tolist() and theirs.cells.tolist() == ours.cells.tolist()
    assert alike(torch.from_numpy(theirs.patches), ours.patches, *FORWARD)


@pytest.mark.numeric
def test_a_network_steps_alike_for_ours_and_classic() -> None:
    """One step from the same weights and images leads to the same prototypes: the same work is timed."""
    given = steps.setting("resnet18", steps.Shape(4, 2, 8, 64, 2, 6), 1, CPU)
    plain = classic.ClassicNet(given.network)
    before = given.network.prototypes.detach().clone()
    n = given.network
    steps.our_step(n, steps.adam(n.trunk, n.addon, n.prototypes, n.decision, fused=True), given)
    theirs = steps.adam(plain.trunk, plain.addon, plain.prototypes, plain.decision, fused=False)
    p = given.params
    classic.training_step(plain, theirs, given.normalised, (p.lambda_cluster, p.lambda_separation, p.lambda_l1))
    assert (n.prototypes - before).abs().max() > 1e-3
    # Adam's first step has the size of the rate, 3e-3, whatever the gradient: rounding may bend it a little
    torch.testing.assert_close(n.prototypes, plain.prototypes[:, :, 0, 0], atol=2e-4, rtol=0)
    torch.testing.assert_close(n.decision.weight, plain.decision.weight)


@pytest.mark.parametrize("units", [True, False])
def test_half_precision_is_timed_where_the_cpu_has_units_for_it(units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "has_bfloat16", lambda device: units)
    rows = steps.training_step("resnet18", steps.Shape(4, 2, 8, 64, 2, 2), 1, 1, CPU)
    assert {row["work"] for row in rows} == {"training step"} | ({HALF_STEP} if units else set())


def test_a_distillation_step_asks_the_teacher_once_and_is_set_beside_the_untaught_network() -> None:
    rows = steps.distillation_step("mobilenet_v2", "squeezenet1_1", steps.Shape(4, 2, 8, 64, 2, 2), 4, 1, CPU)
    assert {row["work"] for row in rows} == {"distillation step"}
    peers = ["teacher asked at every step", "released way, teacher under autograd", steps.UNTAUGHT]
    assert [row["peer"] for row in rows] == peers
    frame = pd.DataFrame(rows).assign(peer_s=[3.0, 4.0, 1.0], ours_s=1.5)
    assert summary.best_peer(frame)["peer"].tolist() == peers[:1]  # who is not taught is no peer


@pytest.mark.numeric
def test_sets_give_our_metrics() -> None:
    teacher, student = stages.tables(40, 9, 3)
    taus = (0.5, 2.0, inf)
    pairs = [(table.cells.numpy().astype("int64"), table.distances.numpy()) for table in (teacher, student)]
    assert sets.aap(*pairs[0], taus) == pytest.approx(metrics.aap(teacher, taus).tolist())
    assert sets.ajs(pairs[0], pairs[1], taus) == pytest.approx(metrics.ajs(teacher, student, taus).tolist())
    kept = [sets.responses(cells, 9) for cells, _ in pairs]
    every = [(i, j) for i in range(9) for j in range(9)]
    found = torch.tensor(sets.pair_similarities(*kept, every, 40, metrics.ALPHAS))
    value = sets.match(found.double().T.reshape(10, 9, 9).numpy())
    assert value == pytest.approx(metrics.pms(teacher, student).value, abs=rounding(90))


@pytest.mark.numeric
def test_tuning_moves_the_decision_layer_alone_and_lowers_the_objective(images: tuple[Tensor, Tensor]) -> None:
    net, (pixels, labels) = network(), images
    found, scores = stages.decisions(net, "resnet18", pixels, labels, 1, 200, CPU)
    assert scores["ours"] < scores["start"] and scores["classic, 20 passes"] < scores["start"]
    assert {row["peer"] for row in found} >= {"classic, 10 passes", "classic, 20 passes"}
    assert found[0]["peer_s"] < found[1]["peer_s"]  # type: ignore[operator]  # ten of the same twenty passes


@pytest.mark.numeric
def test_objective_is_cross_entropy_and_l1_of_the_foreign_weights() -> None:
    weight, own = torch.tensor([[1.0, -0.5], [0.25, 2.0]]), torch.eye(2).bool()
    activations, labels = torch.tensor([[1.0, 0.0], [0.5, 3.0]]), torch.tensor([0, 1])
    slow = 0.0
    for a, y in zip(activations, labels, strict=True):
        logits = [sum(float(w * x) for w, x in zip(row, a, strict=True)) for row in weight]
        slow -= float(torch.tensor(logits).log_softmax(0)[y]) / 2
    assert stages.objective(weight, own, activations, labels) == pytest.approx(
        slow + 1e-4 * 0.75, abs=rounding(8, slow + 6)
    )


# -------------------------------------------------------------------------------------------------------- CaBRNet


@needs_cabrnet
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.numeric
def test_cabrnet_answers_as_we_do_with_our_weights(name: str, legacy: bool, images: tuple[Tensor, Tensor]) -> None:
    net, (pixels, labels) = network(name), images
    (batch,) = stages.batches(pixels, labels, 12)
    model = cabrnet_peer.build(net, name, legacy).eval()
    with torch.no_grad():
        out = net(pixels)
        logits, smallest = model(batch[0])
        everywhere = model.distances(batch[0])
        ours = distance_map(net.add_on_map(pixels), net.prototypes)
    assert alike(smallest, out.distances, *FORWARD) and alike(logits, out.logits, *FORWARD)
    assert alike(everywhere, ours, *FORWARD)


@needs_cabrnet
@pytest.mark.numeric
def test_cabrnet_projects_to_our_patches(images: tuple[Tensor, Tensor]) -> None:
    net, (pixels, labels) = network(), images
    model = cabrnet_peer.build(net, "resnet18")
    model.project(cabrnet_peer.Loader([pixels], labels, 5), device="cpu")
    push(net, pixels, labels, 5)
    assert alike(model.classifier.prototypes[:, :, 0, 0], net.prototypes, *FORWARD)


@needs_cabrnet
@pytest.mark.numeric
def test_cabrnet_trains_what_its_schedule_says(images: tuple[Tensor, Tensor]) -> None:
    net, (pixels, labels) = network(), images
    model = cabrnet_peer.build(net, "resnet18")
    manager = cabrnet_peer.optimizers(model)
    loaders = {"train_set": cabrnet_peer.Loader([pixels], labels, 6)}
    trunk = model.extractor.convnet.conv1.weight.detach().clone()
    head = model.classifier.last_layer.weight.detach().clone()
    for epoch, moves in ((cabrnet_peer.WARM, False), (cabrnet_peer.JOINT, True)):
        manager.freeze(epoch=epoch)
        before = model.classifier.prototypes.detach().clone()
        model._train_epoch(loaders, manager, device="cpu", epoch_idx=epoch)
        assert not torch.equal(before, model.classifier.prototypes)
        assert torch.equal(trunk, model.extractor.convnet.conv1.weight) != moves
        assert torch.equal(head, model.classifier.last_layer.weight)


@needs_cabrnet
@pytest.mark.numeric
def test_without_same_weights_only_the_trunk_is_shared() -> None:
    net = network("mobilenet_v2")
    model = cabrnet_peer.build(net, "mobilenet_v2", same_weights=False)
    assert isinstance(net.trunk, torch.nn.Sequential)
    ours = net.trunk[1:].state_dict().values()
    theirs = model.extractor.convnet.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(model.classifier.prototypes[:, :, 0, 0], net.prototypes)


@pytest.mark.numeric
def test_loader_hands_out_every_image_once_a_pass_and_the_copies_in_turn() -> None:
    labels = torch.arange(5)
    copies = [torch.full((5, 3, 2, 2), 10 * c).to(torch.uint8) + labels[:, None, None, None].byte() for c in range(2)]
    loader = cabrnet_peer.Loader(copies, labels, 2, shuffle=0)
    plain = cabrnet_peer.Loader(copies, labels, 5)
    orders = []
    for turn in range(3):
        (expected,) = [x for x, _ in plain]
        given = list(loader)
        assert [len(x) for x, _ in given] == [2, 2, 1] and len(loader) == 3
        order = torch.cat([y for _, y in given])
        assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
        torch.testing.assert_close(torch.cat([x for x, _ in given]), expected[order])
        orders.append(order.tolist())
        assert turn == loader.passes - 1
    assert orders[0] != orders[1]


# ------------------------------------------------------------------------------------------------------ statistics


def test_contenders_take_turns_and_are_charged_their_own_time() -> None:
    now, calls = [0.0], []

    def work(name: str, cost: float) -> None:
        calls.append(name)
        now[0] += cost

    contenders = {"ours": lambda: work("a", 1.0), "peer": lambda: work("b", 3.0), "third": lambda: work("c", 0.5)}
    seconds = timing.interleave(contenders, 3, CPU, clock=lambda: now[0])
    assert seconds == {"ours": (1.0,) * 3, "peer": (3.0,) * 3, "third": (0.5,) * 3}
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"  # a warm-up, then rounds that begin with another


def test_peers_run_in_the_precision_that_torch_defaults_to() -> None:
    seen: dict[str, bool] = {}

    def note(name: str) -> None:
        seen[name] = torch.backends.cudnn.allow_tf32

    before = torch.backends.cudnn.allow_tf32
    timing.interleave({"ours": lambda: note("ours"), "peer": lambda: note("peer")}, 1, CPU)
    assert seen == {"ours": False, "peer": True} and torch.backends.cudnn.allow_tf32 == before


def test_ratio_and_its_interval() -> None:
    rows = timing.compare("push", "P=3", CPU, {"ours": (1.0, 2.0, 4.0), "x": (3.0, 4.0, 20.0), "y": (1.0, 1.0, 1.0)})
    assert [list(row) for row in rows] == [timing.COLUMNS] * 2
    x, y = rows
    assert (x["ours_s"], x["peer_s"], x["ratio"]) == (2.0, 4.0, 2.0)
    assert (x["ratio_low"], x["ratio_high"], x["repeats"]) == (2.0, 5.0, 3)
    assert (y["ratio"], y["ratio_low"], y["ratio_high"]) == (0.5, 0.25, 1.0)
    (single,) = timing.compare("push", "P=3", CPU, {"ours": (2.0,), "x": (3.0,)})
    assert single["ratio"] == 1.5 and single["ratio_low"] is None and single["ratio_high"] is None


def test_ratio_of_medians_lies_in_its_interval() -> None:
    generator = torch.Generator().manual_seed(3)
    for rounds in (2, 3, 4, 5, 7):
        for _ in range(50):
            ours, peer = (tuple((torch.rand(rounds, generator=generator) + 0.1).tolist()) for _ in range(2))
            (row,) = timing.compare("w", "s", CPU, {"ours": ours, "p": peer})
            assert row["ratio_low"] <= row["ratio"] + 1e-9 and row["ratio"] <= row["ratio_high"] + 1e-9  # type: ignore[operator]


def test_processor_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nmodel name\t: Some  CPU  @ 2 GHz\n")
    assert timing.processor(file) == "Some CPU @ 2 GHz"
    assert timing.processor(tmp_path / "none")


def measured() -> pd.DataFrame:
    """Rows as the page has them, with round numbers."""
    rows = [
        ("training step", "r K=2", 2.0, "classic", 3.0, 1.5, 1.4, 1.6),
        ("training step", "r K=2", 2.0, "CaBRNet 1.2", 2.2, 1.1, 1.0, 1.2),
        ("trunk alone", "r K=2", 1.0, "classic", 1.1, 1.1, 1.0, 1.2),
        ("push", "m K=2", 4.0, "classic", 2.0, 0.5, 0.4, 0.6),
        ("push, search alone", "m K=2", 1.0, "classic", 5.0, 5.0, 4.0, 6.0),
        ("end to end", "m K=2", None, "CaBRNet 1.2", 9.0, None, None, None),
    ]
    return pd.DataFrame([(w, s, "cpu", 3, *rest) for w, s, *rest in rows], columns=timing.COLUMNS)


def test_targets_stand_against_the_fastest_peer() -> None:
    frame = summary.reached(measured(), summary.targets(gpu=False))
    assert frame["fastest peer"].tolist() == ["CaBRNet 1.2", "classic", "CaBRNet 1.2"]
    assert frame["ratio"].tolist() == ["1.10 (1.00–1.20)", "0.50 (0.40–0.60)", "not reached"]
    assert frame["target"].tolist() == ["1.2", "20", "3"] and set(frame["met"]) == {"no"}
    assert summary.targets(gpu=True)["training step"] == 2


def test_common_work_bounds_the_ratio() -> None:
    frame = summary.common_work(measured()).set_index("work")
    assert frame.loc["training step", "trunk's share of our time"] == "50%"
    assert frame.loc["training step", "ratio if the rest cost nothing"] == "2.20"
    assert frame.loc["push", "trunk's share of our time"] == "75%"
    assert frame.loc["push", "ratio if the rest cost nothing"] == "0.67"


def test_a_faster_peer_is_named() -> None:
    (sentence,) = summary.slower(measured())
    assert "classic is faster" in sentence and "*push*" in sentence and sentence.endswith("0.50 (0.40–0.60).")


def test_parts_not_measured_keep_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    measured().to_csv(path, index=False)
    rows = timing.compare("training step", "new", CPU, {"ours": (1.0,), "x": (2.0,)})
    frame = summary.merge(rows, path, ["steps"])
    assert frame["work"].tolist() == ["training step", "push", "push, search alone", "end to end"]
    assert frame["shape"].tolist()[0] == "new"
    assert summary.merge(rows, tmp_path / "none.csv", ["steps"])["work"].tolist() == ["training step"]


def test_recorded_ratios_of_other_shapes_are_labelled() -> None:
    now = measured().assign(device="cpu").iloc[[0, 3]]
    recorded = measured().iloc[[0]]
    shown = command.beside(now, recorded)
    assert shown["note"].tolist() == ["", "not recorded"] and shown["recorded"].tolist()[0] == "1.50 (1.40–1.60)"
    other = command.beside(now.assign(shape="q K=9"), recorded)
    assert other["note"].tolist()[0] == "not comparable: r K=2, cpu"


# ------------------------------------------------------------------------------------------------------ end to end


def test_first_to_reach() -> None:
    points = [end_to_end.Point(1.0, 0.2, "a"), end_to_end.Point(2.0, 0.6, "b"), end_to_end.Point(3.0, 0.6, "c")]
    assert end_to_end.first_to_reach(points, 0.6) == points[1]
    assert end_to_end.first_to_reach(points, 0.61) is None


def test_end_to_end_row_is_timed_to_the_best_of_the_peer(birds, tiny: TrainParams) -> None:  # type: ignore[no-untyped-def]
    race = {
        "ours": [end_to_end.Point(2.0, 0.5, ""), end_to_end.Point(4.0, 0.7, "")],
        "ours, short run": [end_to_end.Point(1.0, 0.6, "")],
        "peer": [end_to_end.Point(5.0, 0.4, ""), end_to_end.Point(12.0, 0.6, ""), end_to_end.Point(20.0, 0.6, "")],
    }
    row, short = end_to_end.rows(race, tiny, birds, CPU)
    assert (row["ours_s"], row["peer_s"], row["ratio"]) == (4.0, 12.0, 3.0) and "0.600" in str(row["shape"])
    assert (short["work"], short["ratio"]) == ("end to end, short run", 12.0)
    race["ours"].pop()
    row, _ = end_to_end.rows(race, tiny, birds, CPU)
    assert row["peer_s"] == 12.0 and "ours_s" not in row
    assert end_to_end.rows({**race, "peer": []}, tiny, birds, CPU) == []


def test_our_points_are_the_decision_phases_of_a_run(birds, tiny: TrainParams) -> None:  # type: ignore[no-untyped-def]
    points = end_to_end.ours(tiny, birds)
    assert len(points) == tiny.rounds and points[0].seconds < points[1].seconds


def test_recipe_takes_changes_and_refuses_what_no_peer_has(refuses) -> None:  # type: ignore[no-untyped-def]
    change = {"network": "mobilenet_v2", "grid": 2}
    found = inputs.recipe(SpeedParams(recipe="params/quick.yaml", recipe_changes=change))
    assert found.role == "teacher" and (found.network, found.grid) == ("mobilenet_v2", 2)
    with refuses("no torchvision trunk"):
        inputs.recipe(SpeedParams(recipe="params/quick.yaml"))
    with refuses("recipe_changes", "gird"):
        inputs.recipe(SpeedParams(recipe="params/quick.yaml", recipe_changes={"gird": 2}))


def test_photographs_are_ordered_by_class_and_hold_no_test_image() -> None:
    change = {"network": "mobilenet_v2", "grid": 2, "bird_train_per_class": 8, "bird_test_per_class": 3}
    values = inputs.recipe(SpeedParams(recipe="params/quick.yaml", recipe_changes=change))
    pixels, labels = inputs.photographs(values, 3, 15, CPU)
    assert labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 and pixels.shape == (15, 3, 64, 64)


# -------------------------------------------------------------------------------------------------------- the page

TINY = SpeedParams(
    device="cpu",
    recipe="params/quick.yaml",
    recipe_changes={
        **{"network": "mobilenet_v2", "grid": 2, "class_count": 3, "prototypes_per_class": 2, "prototype_depth": 8},
        **{"bird_train_per_class": 10, "bird_test_per_class": 2, "warm_epochs": 1, "joint_epochs": 1, "rounds": 1},
    },
    trunks=["resnet18"],
    **{"size": 64, "grid": 2, "classes": 4, "prototypes_per_class": 2, "prototype_depth": 8, "batch_size": 4},  # type: ignore[arg-type]
    repeats=2,
    push_classes=[3],
    push_images=12,
    push_repeats=2,
    decision_images=6,
    decision_iterations=10,
    decision_repeats=2,
    **{"metric_images": 50, "metric_prototypes": 12, "sample_images": 20, "sample_pairs": 20, "metric_repeats": 2},  # type: ignore[arg-type]
    short_changes={"joint_epochs": 0},
    cap_seconds=3,
    copies=1,
)


def test_page_runs_and_leaves_its_results(tmp_path: Path) -> None:
    out = tmp_path / "results" / "speed" / "09_speed.ipynb"
    values = TINY.model_dump() | {"results": str(tmp_path / "results")}
    for parts in (SpeedParams().parts, ["metrics"]):
        done = subprocess.run(
            [sys.executable, ROOT / "notebooks" / "execute.py", ROOT / "notebooks" / "09_speed.py", out]
            + ["--parameters", json.dumps({**values, "parts": parts})],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        frame = pd.read_csv(out.parent / "speed.csv")
        assert list(frame) == timing.COLUMNS and (frame[["ours_s", "peer_s"]].dropna() > 0).all().all()
        peers = {"classic"} if cabrnet_peer.missing() else {"classic", "CaBRNet 1.2"}
        assert peers <= set(frame[frame.work == "training step"].peer)
        works = set(summary.WORKS) - set(summary.PARTS["end_to_end"])
        works -= set() if has_bfloat16(CPU) else {HALF_STEP}
        # a slow machine may end CaBRNet before its first projection
        assert works <= set(frame.work) <= works | set(summary.PARTS["end_to_end"])
        scaled = frame[frame.work.isin(["AAP", "AJS", "PMS"])]
        assert scaled["shape"].str.contains("scaled from a sample of 20").all()
    sealed = {"speed.csv", "objectives.json", "provenance.json", "study.json", "findings.md", "09_speed.ipynb"}
    assert set(checksums(out.parent, "09_speed")) - {"end_to_end.csv"} == sealed
    assert damaged(out.parent, "09_speed") == []
    facts = json.loads((out.parent / "study.json").read_text())
    assert facts["study"] == "speed" and {"title", "order", "intro", "images"} <= set(facts)
    assert "not met" in (out.parent / "findings.md").read_text()
    last = nbformat.read(out, as_version=4).cells[-1]
    assert "remove-input" in last.metadata.tags and any("Provenance" in str(o) for o in last.outputs)


def test_command_prints_its_ratios_beside_the_recorded_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--tiny", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "| training step" in text and "| PMS" in text and "recorded" in text


def test_damaged_recorded_ratios_are_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speed.csv").write_text("work\nPMS\n")
    seal(tmp_path, "09_speed", ["speed.csv"])
    (tmp_path / "speed.csv").write_text("work\n")
    monkeypatch.setattr(command, "RECORDED", tmp_path / "speed.csv")
    monkeypatch.setattr(command, "measure", lambda *given: 1 / 0)
    assert command.main([]) == 1
    assert "speed.csv is damaged" in (said := capsys.readouterr().err) and "make speed" in said
