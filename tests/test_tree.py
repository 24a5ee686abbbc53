"""ProtoTree: prediction, leaves, pruning and projection against slow twins, and a small triple of trees."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from heads import tree

from p2p.evaluation.explainer import Explainer
from p2p.evaluation.runs import finish_run, load_run, top1
from p2p.figures.explain import Explained
from p2p.figures.tree import tree_svg
from p2p.networks import PROTOTYPE_LAYERS, ProtoNet, distance_map
from p2p.projection import find_patches
from p2p.prototypes import class_patches
from p2p.responses import ResponseTable
from p2p.study.params import TrainParams
from p2p.training.build import build_network
from p2p.training.checkpoints import load_tensors
from p2p.training.trainer import Trainer
from p2p.tree import TINY, TreeDecision

pytestmark = pytest.mark.numeric
K, DEPTH, B = 3, 3, 40
P, L = 2**DEPTH - 1, 2**DEPTH


def made(seed: int = 0, leaves: float = 3.0) -> tuple[TreeDecision, torch.Tensor, torch.Tensor]:
    """A tree, similarities (B, P) in 0..1 and labels (B,)."""
    g = torch.Generator().manual_seed(seed)
    decision = tree(torch.rand(K, L, generator=g) * leaves)
    return decision, torch.rand(B, P, generator=g), torch.randint(0, K, (B,), generator=g)


def ways(leaf: int) -> list[tuple[int, int]]:
    """Node and turn (1: right) of every step to a leaf, from the digits of its number."""
    node, found = 0, []
    for digit in format(leaf, f"0{DEPTH}b"):
        found.append((node, int(digit)))
        node = 2 * node + 1 + int(digit)
    return found


def gone(decision: TreeDecision, node: int, level: int) -> bool:
    """Whether no leaf is left below a node."""
    if level == DEPTH:
        return not bool(decision.alive[node - P])
    return gone(decision, 2 * node + 1, level + 1) and gone(decision, 2 * node + 2, level + 1)


def slow_paths(decision: TreeDecision, similarities: np.ndarray) -> np.ndarray:
    """(L,) path probabilities of one image, leaf by leaf in float64."""
    out = np.zeros(L)
    for leaf in range(L):
        if decision.alive[leaf]:
            out[leaf] = 1.0
            for level, (node, turn) in enumerate(ways(leaf)):
                if not gone(decision, 2 * node + 2 - turn, level + 1):  # else nothing is left to choose
                    out[leaf] *= similarities[node] if turn else 1 - similarities[node]
    return out


def slow_distribution(values: torch.Tensor) -> np.ndarray:
    """(K, L) softmax over classes."""
    table = np.exp(values.double().numpy())
    return table / table.sum(0)


def slow_forward(decision: TreeDecision, similarities: torch.Tensor) -> np.ndarray:
    """(B, K) probabilities."""
    leaves = slow_distribution(decision.weight)
    return np.stack([leaves @ slow_paths(decision, one) for one in similarities.double().numpy()])


@pytest.mark.parametrize("pruned", [[], [0], [2, 3], [4, 5, 6], [0, 1, 2, 3, 7]])
def test_the_prediction_is_the_mixture_of_all_leaves(pruned: list[int]) -> None:
    decision, similarities, _ = made()
    decision.alive[pruned] = False
    expected = slow_forward(decision, similarities)
    found = decision(similarities.double())
    np.testing.assert_allclose(found.exp().numpy() - TINY, expected, atol=1e-12)
    np.testing.assert_allclose(decision(similarities).exp().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(expected.sum(1), 1)
    paths = np.stack([slow_paths(decision, one) for one in similarities.double().numpy()])
    np.testing.assert_allclose(decision.paths(similarities.double()).numpy(), paths, atol=1e-12)
    assert decision.leaf(similarities.double()).tolist() == paths.argmax(1).tolist()


def test_the_way_to_a_leaf() -> None:
    decision, _, _ = made()
    for leaf in range(L):
        assert decision.steps(leaf) == [(node, bool(turn)) for node, turn in ways(leaf)]
    decision.alive[[4, 5]] = False  # all that lies below node 5; the question of its parent, 2, goes with it
    assert decision.steps(7) == [(0, True), (6, True)]


def test_greedy_takes_the_likelier_side_at_every_node() -> None:
    decision, similarities, _ = made()
    for one, found in zip(similarities, decision.leaf(similarities, "greedy").tolist(), strict=True):
        node = 0
        while node < P:
            node = 2 * node + (2 if one[node] > 0.5 else 1)
        assert found == node - P
    assert (decision.leaf(similarities) != decision.leaf(similarities, "greedy")).any()  # two readings


def test_hard_and_soft_are_one_where_everything_is_there_or_not() -> None:
    decision, similarities, labels = made()
    similarities = (similarities > 0.5).float()
    soft = decision(similarities)
    for how in ("sample_max", "greedy"):
        hard = decision.distributions()[:, decision.leaf(similarities, how)].T
        torch.testing.assert_close(soft.exp(), hard)
    facts = decision.facts([(similarities[:7], labels[:7]), (similarities[7:], labels[7:])])
    assert facts["fidelity_sample_max"] == facts["fidelity_greedy"] == 1 and facts["path_greedy"] == DEPTH
    right = (soft.argmax(1) == labels).double().mean().item()
    assert facts["top1_sample_max"] == facts["top1_greedy"] == pytest.approx(right)


@pytest.mark.parametrize("pruned", [[], [1, 6]])
def test_a_contribution_is_what_the_class_loses_without_the_prototype(pruned: list[int]) -> None:
    decision, similarities, labels = made()
    decision.alive[pruned] = False
    whole, found = slow_forward(decision, similarities), decision.contributions(similarities, labels)
    for j in range(P):
        without = similarities.clone()
        without[:, j] = 0
        lost = (whole - slow_forward(decision, without))[range(B), labels]
        np.testing.assert_allclose(found[:, j].numpy(), lost, atol=1e-7)


def test_the_leaves_learn_as_the_equation_says() -> None:
    decision, similarities, labels = made()
    decision.alive[3] = False
    start = slow_values = decision.weight.double().numpy().copy()
    decision.begin_pass()
    for part in (range(16), range(16, 32), range(32, B)):
        leaves = slow_distribution(torch.from_numpy(slow_values))
        added = np.zeros((K, L))
        for b in part:
            paths, label = slow_paths(decision, similarities[b].double().numpy()), int(labels[b])
            for leaf in range(L):
                added[label, leaf] += leaves[label, leaf] * paths[leaf] / (leaves[label] @ paths)
        slow_values = np.maximum(0, slow_values - len(part) / B * start) + added
        decision.learn(similarities[list(part)], labels[list(part)], len(part) / B)
    np.testing.assert_allclose(decision.weight.numpy(), slow_values, rtol=1e-4, atol=1e-5)
    assert decision.weight.sum() == pytest.approx(B, rel=0.2)  # every image was shared out among the leaves once


def test_passes_over_the_leaves_raise_the_likelihood() -> None:
    decision, similarities, labels = made()
    similarities[:, 0] = (labels == 1) * 0.9 + 0.05  # the root knows one class
    before = torch.nn.functional.cross_entropy(decision(similarities), labels)
    for _ in range(5):
        decision.begin_pass()
        decision.learn(similarities, labels, 1.0)
    assert torch.nn.functional.cross_entropy(decision(similarities), labels) < 0.8 * before
    assert decision.distributions()[:, 4:].argmax(0).tolist() == [1] * 4


@pytest.mark.parametrize("seed", range(5))
def test_pruning_takes_no_more_from_a_class_than_it_promises(seed: int) -> None:
    decision, similarities, _ = made(seed, leaves=1.5)
    threshold = decision.distributions().amax(0).median().item()
    before, paths = slow_forward(decision, similarities), decision.paths(similarities.double()).numpy()
    decision.prune(threshold)
    assert 0 < decision.alive.sum() < L
    assert (decision.distributions().amax(0) > threshold).tolist() == decision.alive.tolist()
    after = slow_forward(decision, similarities)
    mass = paths[:, ~decision.alive.numpy()].sum(1)  # of what is gone
    assert (after >= before - threshold * mass[:, None] - 1e-9).all()
    assert (np.abs(after - before).sum(1) / 2 <= mass + 1e-9).all()
    np.testing.assert_allclose(after.sum(1), 1)
    asked = [node for node in range(P) if not gone_either(decision, node)]
    assert decision.facts([(similarities, torch.zeros(B).long())])["nodes"] == len(asked)


def gone_either(decision: TreeDecision, node: int) -> bool:
    level = int(math.log2(node + 1)) + 1
    return gone(decision, 2 * node + 1, level) or gone(decision, 2 * node + 2, level)


def test_a_tree_that_knows_nothing_is_not_pruned_away() -> None:
    decision = tree(torch.zeros(K, L))
    decision.prune(2 / K)
    assert decision.alive.all()


def test_the_exponential_layer_is_the_euclidean_distance() -> None:
    layer, z, p = PROTOTYPE_LAYERS["exponential"], torch.randn(2, 5, 3, 3), torch.rand(4, 5)
    slow = [
        [[math.exp(-float((cell - one).double().norm())) for cell in image.flatten(1).T] for one in p] for image in z
    ]
    found = layer.similarity(distance_map(z, p)).flatten(2)
    np.testing.assert_allclose(found.numpy(), np.array(slow), atol=1e-4)
    at_zero = torch.zeros(1, requires_grad=True)
    layer.similarity(at_zero).sum().backward()
    assert at_zero.grad is not None and torch.isfinite(at_zero.grad).all() and layer.similarity(at_zero) > 0.9998


# --------------------------------------------------------------------------------------------------- whole networks


def treed(params: TrainParams, **change: Any) -> TrainParams:
    keys = {"decision": "tree", "prototype_layer": "exponential", "tree_depth": 3, "rounds": 1, "head": "own"}
    return TrainParams.model_validate({**params.model_dump(), **keys, **change})


@pytest.fixture(scope="module")
def place(tiny, tiny_student, birds, tmp_path_factory):
    """Runs "teacher", "baseline" and "student", finished: trees of depth 3."""
    folder = tmp_path_factory.mktemp("trees")
    slower = {"joint_epochs": 6, "lr_trunk": 1e-3, "prune_leaves": 1.5}
    runs = {
        "teacher": treed(tiny, **slower),
        "baseline": treed(tiny, run="baseline", role="baseline", seed=3, **slower),
        "student": treed(tiny_student, **slower),
    }
    for name, params in runs.items():
        teacher = load_run(folder / "teacher").network if params.teacher_run else None
        Trainer(params, birds, folder / name, teacher).run(progress=False)
        finish_run(folder / name, birds, teacher)
    return folder


def test_a_tree_has_a_prototype_a_node_and_of_no_class(tiny, birds) -> None:
    network = build_network(treed(tiny), 4)
    assert isinstance(network, ProtoNet) and network.prototypes.shape == (7, 8) and network.per_class == 7
    assert network.own.all() and not list(network.decision.parameters())
    fit = birds.subset("train")
    patches = class_patches(network, fit.pixels, fit.labels, 0)
    z = network.eval().add_on_map(fit.pixels).detach().flatten(2).transpose(1, 2).flatten(0, 1)
    assert patches.shape == (7, 8) and torch.cdist(patches, z).amin(1).max() < 1e-3  # real patches, of any class


def test_projection_puts_every_prototype_on_the_nearest_patch_of_any_image(tiny, birds) -> None:
    network = build_network(treed(tiny), 4)
    assert isinstance(network, ProtoNet)
    fit = birds.subset("train")
    found = find_patches(network, fit.pixels, fit.labels, 5)
    z = network.eval().add_on_map(fit.pixels).flatten(2).detach()  # (N, D, HW)
    for j, prototype in enumerate(network.prototypes.detach()):
        distances = (z - prototype[None, :, None]).square().sum(1)
        assert distances[found.images[j], found.cells[j]] == pytest.approx(float(distances.min()), abs=1e-5)
    labels = fit.labels[found.images]
    assert torch.equal(network.labels_of(labels), labels)


def test_a_trained_tree_learns_is_pushed_pruned_and_comes_back(place, birds) -> None:
    trained = load_run(place / "teacher")
    network, found = trained.network, trained.projection
    assert isinstance(network, ProtoNet) and isinstance(network.decision, TreeDecision) and found is not None
    fit, test = birds.subset("train"), birds.subset("test")
    out = network(fit.pixels[found.images])
    assert out.distances.diagonal().max() < 1e-4  # a prototype is its training patch
    assert network.decision.weight.sum() == pytest.approx(len(fit), rel=0.3)
    assert trained.decision_before is not None and bool(trained.decision_before.alive.all())
    table = ResponseTable.load(place / "teacher" / "responses.safetensors")
    logits = network(test.pixels).logits
    assert top1(table, network.decision, test.labels, network.layer) == pytest.approx(
        (logits.argmax(1) == test.labels).double().mean().item()
    )
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(len(test)))


def test_what_is_minimised_is_the_likelihood_and_what_is_distilled(place) -> None:
    for name in ("teacher", "student"):
        _, meta = load_tensors(place / name / "checkpoint.safetensors")
        rows = [row for row in meta["history"] if row["phase"] == "joint"]
        for row in rows:
            taught = 10 * row["global"] + 10 * row["ppc"] if name == "student" else 0
            assert row["loss"] == pytest.approx(row["ce"] + taught, rel=1e-4) and "cluster" not in row
        assert min(row["loss"] for row in rows[1:]) < rows[0]["loss"]


def test_a_student_tree_follows_its_teacher(place) -> None:
    history = load_tensors(place / "student" / "checkpoint.safetensors")[1]["history"]
    rows = [row for row in history if "ppc" in row]
    assert rows[-1]["ppc"] < rows[0]["ppc"] and rows[-1]["global"] < rows[0]["global"]


@pytest.mark.parametrize(("head", "equal"), [("teacher", True), ("teacher_joint", False)])
def test_the_teachers_leaves_are_kept_or_learn_along(head, equal, place, tiny_student, birds, tmp_path) -> None:
    teacher = load_run(place / "teacher").network
    params = treed(tiny_student, head=head, joint_epochs=1, warm_epochs=0)
    trainer = Trainer(params, birds, tmp_path, teacher)
    assert torch.equal(trainer.network.decision.weight, teacher.decision.weight)
    trainer.run(progress=False)
    assert torch.equal(trainer.network.decision.weight, teacher.decision.weight) == equal


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prototype_layer": "distance"}, ("prototype_layer", "exponential")),
        ({"push": "distinct"}, ("push", "distinct")),
        ({"head": "teacher_tuned"}, ("head", "teacher_tuned")),
    ],
)
def test_what_a_tree_cannot_do_is_refused(change, words, tiny_student, refuses) -> None:
    with refuses(*words):
        build_network(treed(tiny_student, **change), 4)


# ----------------------------------------------------------------------------------------------- what a person sees


def test_the_way_of_an_image_in_words_and_pictures(place, birds) -> None:
    image = birds.subset("test").pixels[3]
    said = Explainer(place / "student", Explained, birds).explain(image, "bird")
    way, decision = said.path, load_run(place / "student").network.decision
    assert way is not None and said.teacher is not None and said.teacher.path is not None
    similarities = way.similarities[None]
    assert way.leaf == int(decision.leaf(similarities)) and way.there == tuple(t for _, t in decision.steps(way.leaf))
    along = math.prod(
        e.similarity if there else 1 - e.similarity for e, there in zip(way.asked, way.there, strict=True)
    )
    assert way.probability == pytest.approx(along, rel=1e-4)
    torch.testing.assert_close(said.probabilities.float(), decision(similarities)[0].exp(), rtol=1e-4, atol=1e-5)
    text = said.text()
    for one, there in zip(way.asked, way.there, strict=True):
        word, side = (("nothing", "no"), ("something", "yes"))[there]
        assert f"There is {word} like prototype {one.prototype} ({one.similarity:.2f}" in text and f"→ {side}." in text
    page = said.html()
    assert page.count("<svg") == 2 and page.count("<script>") == 1 and "http://www.w3.org/2000/svg" in page
    assert said.figure().get_axes()


def test_the_drawn_tree_has_what_pruning_left(place, birds) -> None:
    explainer = Explainer(place / "teacher", Explained, birds)
    assert explainer.tree is not None
    explainer.tree.decision.alive[:] = True
    whole = ElementTree.fromstring(tree_svg(explainer.tree, birds.classes))
    explainer.tree.decision.alive[[0, 1, 2, 5]] = False
    pruned = ElementTree.fromstring(tree_svg(explainer.tree, birds.classes))
    name = "{http://www.w3.org/2000/svg}"
    for svg, nodes, leaves in ((whole, 7, 8), (pruned, 3, 4)):
        assert len(svg.findall(f".//{name}image")) == nodes and len(svg.findall(f"{name}path")) == 2 * nodes
        words = [each.text or "" for each in svg.findall(f"{name}text")]
        assert sum(word.endswith("%") for word in words) == leaves
    width, height = (float(number) for number in whole.get("viewBox", "").split()[2:])
    for each in whole.iter(f"{name}text"):
        assert -6 <= float(each.get("x", "0")) <= width and -22 <= float(each.get("y", "0")) <= height
