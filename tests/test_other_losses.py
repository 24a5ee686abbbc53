"""The losses of other papers: each against its formula in loops over Python numbers, and what must not change it."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from p2p import other_losses as losses
from p2p.errors import UserError
from p2p.losses import DISTILLATION
from p2p.networks import Output
from p2p.study.effect import idle_keys
from p2p.study.params import TrainParams
from p2p.study.study import load_study
from p2p.training.trainer import Trainer

pytestmark = pytest.mark.numeric

B, D, H, W, K = 5, 4, 3, 2, 6
NAMES = ("rkd", "logits", "features", "attention")


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answer(seed: int, b: int = B, d: int = D) -> Output:
    empty = torch.empty(0)
    z, logits = rand(b, d, H, W, seed=seed), 8 * rand(b, K, seed=seed + 50) - 4
    return Output(logits, empty, empty, z, empty, empty)


# ------------------------------------------------------------------------------- the slow twins, from the papers


def features(out: Output) -> list[list[float]]:
    return [[sum(sum(row) for row in channel) / (H * W) for channel in image] for image in out.z.tolist()]


def length(v: list[float]) -> float:
    return math.sqrt(sum(x * x for x in v))


def minus(a: list[float], b: list[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


def huber(x: float, y: float) -> float:
    return 0.5 * (x - y) ** 2 if abs(x - y) <= 1 else abs(x - y) - 0.5


def slow_distances(student: Output, teacher: Output) -> float:
    """Park et al.: over ordered pairs of different images; μ is their mean distance."""
    sides = []
    for side in (features(student), features(teacher)):
        raw = {pair: length(minus(side[pair[0]], side[pair[1]])) for pair in permutations(range(len(side)), 2)}
        mu = sum(raw.values()) / len(raw)
        sides.append({pair: value / mu for pair, value in raw.items()})
    return sum(huber(sides[0][pair], sides[1][pair]) for pair in sides[0]) / len(sides[0])


def slow_angles(student: Output, teacher: Output) -> float:
    """Park et al.: over ordered triplets of different images, the cosine of the angle at the middle one."""
    total, triplets = 0.0, list(permutations(range(len(student.z)), 3))
    for i, j, k in triplets:
        cosines = []
        for side in (features(student), features(teacher)):
            one, other = minus(side[i], side[j]), minus(side[k], side[j])
            cosines.append(sum(a * b for a, b in zip(one, other, strict=True)) / length(one) / length(other))
        total += huber(*cosines)
    return total / len(triplets)


def slow_rkd(student: Output, teacher: Output) -> float:
    return slow_distances(student, teacher) + 2 * slow_angles(student, teacher)


def softened(logits: list[float], t: float) -> list[float]:
    parts = [math.exp(x / t) for x in logits]
    return [part / sum(parts) for part in parts]


def slow_logits(student: Output, teacher: Output, t: float = 4.0) -> float:
    """Hinton et al.: T² Σ_k q_k log(q_k / p_k), q the teacher's."""
    total = 0.0
    for mine, theirs in zip(student.logits.tolist(), teacher.logits.tolist(), strict=True):
        total += sum(q * math.log(q / p) for p, q in zip(softened(mine, t), softened(theirs, t), strict=True))
    return t * t * total / len(student.logits)


def slow_features(student: Output, teacher: Output) -> float:
    pairs = list(zip(student.z.flatten().tolist(), teacher.z.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


def slow_attention(student: Output, teacher: Output) -> float:
    """Zagoruyko and Komodakis: the maps Σ_d z_d², each of length 1, and the length of their difference."""
    total = 0.0
    for mine, theirs in zip(student.z.tolist(), teacher.z.tolist(), strict=True):
        sides = []
        for z in (mine, theirs):
            q = [sum(channel[y][x] ** 2 for channel in z) for y in range(H) for x in range(W)]
            sides.append([value / length(q) for value in q])
        total += length(minus(*sides))
    return total / len(student.z)


SLOW = {"rkd": slow_rkd, "logits": slow_logits, "features": slow_features, "attention": slow_attention}


@pytest.mark.parametrize("name", NAMES)
def test_each_loss_is_its_formula(name: str) -> None:
    student, teacher = answer(0), answer(1)
    found = DISTILLATION[name].loss(student, teacher).item()
    assert found == pytest.approx(SLOW[name](student, teacher), abs=1e-10) and found > 1e-3


def test_the_two_terms_of_rkd_and_the_temperature() -> None:
    student, teacher = answer(0), answer(1)
    assert losses.relational_distances(student, teacher).item() == pytest.approx(
        slow_distances(student, teacher), abs=1e-10
    )
    assert losses.relational_angles(student, teacher).item() == pytest.approx(slow_angles(student, teacher), abs=1e-10)
    for t in (1.0, 2.5):
        found = losses.logits(student, teacher, temperature=t).item()
        assert found == pytest.approx(slow_logits(student, teacher, t), abs=1e-10)


def test_hubers_straight_part_is_reached() -> None:
    """Distances in units of their mean may differ by more than 1."""
    z = torch.zeros(3, 1, 1, 1, dtype=torch.float64)
    near, far = z.clone(), z.clone()
    near[1], near[2], far[1], far[2] = 0.01, 1, 1, 0.01
    student, teacher = answer(0)._replace(z=near), answer(0)._replace(z=far)
    expected = sum(huber(a, b) for a, b in ((0.015, 1.5), (1.5, 0.015), (1.485, 1.485))) / 3
    assert losses.relational_distances(student, teacher).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_when_the_student_is_the_teacher_and_the_gradient_is_right(name: str) -> None:
    loss, teacher = DISTILLATION[name].loss, answer(1)
    same = teacher._replace(z=teacher.z.clone().requires_grad_(), logits=teacher.logits.clone().requires_grad_())
    value = loss(same, teacher)
    assert value.item() == pytest.approx(0, abs=1e-12)
    value.backward()
    assert all(each.grad is None or torch.isfinite(each.grad).all() for each in (same.z, same.logits))
    field = "logits" if name == "logits" else "z"
    start = getattr(answer(0), field).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(answer(0)._replace(**{field: x}), teacher), start)


def test_what_must_not_matter() -> None:
    student, teacher = answer(0), answer(1)
    larger = student._replace(z=3.7 * student.z)
    for loss in (losses.relational_distances, losses.relational_angles, losses.attention):
        assert loss(larger, teacher).item() == pytest.approx(loss(student, teacher).item(), abs=1e-12)
    moved = student._replace(z=student.z + rand(1, D, 1, 1, seed=9))  # relations are between images
    assert losses.relational(moved, teacher).item() == pytest.approx(
        losses.relational(student, teacher).item(), abs=1e-12
    )
    raised = student._replace(logits=student.logits + 5 * rand(B, 1, seed=9))  # a constant for each image
    assert losses.logits(raised, teacher).item() == pytest.approx(losses.logits(student, teacher).item(), abs=1e-12)
    for each in (losses.feature_maps, losses.attention):
        assert each(moved, teacher).item() != pytest.approx(each(student, teacher).item(), rel=1e-3)


def test_student_and_teacher_may_differ_in_depth_where_the_formula_lets_them() -> None:
    student, teacher = answer(0, d=3), answer(1, d=7)
    assert losses.relational(student, teacher).item() == pytest.approx(slow_rkd(student, teacher), abs=1e-10)
    assert losses.attention(student, teacher).item() == pytest.approx(slow_attention(student, teacher), abs=1e-10)


@pytest.mark.parametrize("b", [1, 2])
def test_a_batch_too_small_for_relations_costs_nothing(b: int) -> None:
    """The last batch of a pass may hold two images: one distance, which is its own mean, and no angle."""
    student = answer(0, b=b)
    z = student.z.clone().requires_grad_()
    value = losses.relational(student._replace(z=z), answer(1, b=b))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12) and torch.isfinite(z.grad).all()


def test_two_images_on_one_place_give_a_finite_gradient() -> None:
    z = rand(4, D, H, W)
    z[1] = z[0]
    z.requires_grad_()
    value = losses.relational(answer(0)._replace(z=z), answer(1, b=4))
    value.backward()
    assert value.item() > 0 and z.grad.abs().max() < 100


# ----------------------------------------------------------------------------------------- in training, in a study


@pytest.mark.parametrize("name", NAMES)
def test_a_student_learns_by_it_alone_and_its_trunk_hears_of_it(name: str, tiny_student, birds, teacher, tmp_path):
    params = tiny_student.model_copy(update={"distillation": {name: 2.0}, "rounds": 1, "head": "own"})
    trainer = Trainer(params, birds, tmp_path, teacher)
    trainer.run(progress=False)
    rows = [row for row in trainer.history if name in row]
    assert [row["phase"] for row in rows] == ["warm", "warm", "joint", "joint"]  # with cached answers and without
    for row in rows:
        plain = row["ce"] + row["cluster"] - 0.08 * row["separation"] + 1e-4 * row["l1"]
        assert row["loss"] == pytest.approx(plain + 2 * row[name], rel=1e-4)
    assert set(trainer.batches.kept) == {"z", *DISTILLATION[name].reads} - {"prototypes"}
    network = trainer.network.train()
    images = birds.subset("train").pixels[:4]
    DISTILLATION[name].loss(network(images), teacher(images)).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.trunk.parameters())


def test_the_temperature_is_idle_without_logits_and_changes_no_finished_run() -> None:
    plain = TrainParams(role="student", teacher_run="t", distillation={"global": 10.0})
    assert "temperature" in idle_keys(plain) and "temperature" not in plain.model_dump()
    taught = TrainParams(role="student", teacher_run="t", distillation={"logits": 1.0}, temperature=2.0)
    assert "temperature" not in idle_keys(taught) and taught.model_dump()["temperature"] == 2.0


def test_a_temperature_without_its_loss_is_refused(tmp_path) -> None:
    text = """\
study: mine
title: Mine
images: synthetic birds
seeds: [0]
data: {reader: birds}
recipe: {grid: 8}
triples: [{name: a, teacher: {network: small}, student: {network: small_sixth}}]
variants:
  paper: {}
  odd: {distillation: {global: 10.0, rkd: 5.0}, temperature: 2.0}
"""
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="'temperature' in variant 'odd' is without effect"):
        load_study(file)
    file.write_text(text.replace("rkd: 5.0", "logits: 5.0"))
    odd = load_study(file).runs()["student-a-odd-s0"]
    assert odd.temperature == 2.0 and odd.distillation == {"global": 10.0, "logits": 5.0}
