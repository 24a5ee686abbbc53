"""The audit's switches: each against a slow reference or a property; whose teacher teaches; seeds of variants."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from p2p import losses
from p2p.data.images import ImageSet
from p2p.errors import UserError
from p2p.networks import Output, ProtoNet, distance_map, nearest_cells
from p2p.study.params import TrainParams, check
from p2p.study.study import Study, load_study
from p2p.training.objective import objective
from p2p.training.phases import Phase
from p2p.training.stand_in import stand_in
from p2p.training.trainer import Trainer

pytestmark = pytest.mark.numeric
ROOT = Path(__file__).parents[1]


def change(params: TrainParams, **values: Any) -> TrainParams:
    return TrainParams.model_validate({**params.model_dump(), **values})


def answer(z: torch.Tensor, prototypes: torch.Tensor) -> Output:
    none = torch.empty(0)
    return Output(none, *nearest_cells(z, prototypes), z, none, prototypes)


def test_a18_every_cell_that_ties_is_active():
    torch.manual_seed(0)
    z = torch.rand(3, 4, 2, 3)
    z[0, :, 1, 2] = z[0, :, 0, 1]  # two cells alike
    prototypes = torch.stack([z[0, :, 0, 1], torch.rand(4), torch.rand(4)])
    for tau in (0.2, 100.0):
        expected = torch.zeros(3, 6, dtype=torch.bool)
        for b in range(3):
            for p in prototypes:
                d = [float(distance_map(z[b : b + 1], p[None])[0, 0].flatten()[c]) for c in range(6)]
                for c in range(6):
                    if d[c] == min(d) and d[c] < tau:
                        expected[b, c] = True
        assert torch.equal(losses.tied_patches(z, prototypes, tau), expected)
    first = losses.active_patches(*reversed(nearest_cells(z, prototypes)), 100.0, 6)
    tied = losses.tied_patches(z, prototypes, 100.0)
    assert tied[0, 1] and tied[0, 5] and first[0].sum() == tied[0].sum() - 1
    student = answer(torch.rand(3, 4, 2, 3), prototypes)
    one, all_of = (losses.patch_correspondence(student, answer(z, prototypes), mask_ties=t) for t in ("first", "all"))
    assert one != all_of


def test_a3_a_share_of_the_nearest_distances_makes_patches_active():
    torch.manual_seed(1)
    teacher, student = (answer(torch.rand(4, 5, 3, 3), torch.rand(6, 5)) for _ in range(2))
    order = sorted(teacher.distances.flatten().tolist())  # 24 of them
    for share in (0.25, 0.5):
        place = share * 23  # as quantiles are interpolated
        low = order[int(place)]
        tau = low + (place - int(place)) * (order[int(place) + 1] - low)
        total, count = 0.0, 0
        for b in range(4):
            active = {int(teacher.cells[b, j]) for j in range(6) if float(teacher.distances[b, j]) < tau}
            for c in active:
                total += float((student.z[b, :, c // 3, c % 3] - teacher.z[b, :, c // 3, c % 3]).square().sum())
            count += len(active)
        value = losses.patch_correspondence(student, teacher, tau_share=share)
        assert value.item() == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.cluster, losses.separation])
def test_a19_split_gives_tied_prototypes_equal_gradients(loss):
    distances = torch.tensor([[1.0, 1.0, 3.0, 1.0, 1.0, 3.0]], requires_grad=True)
    own = torch.tensor([[True, True, True, False, False, False]])
    (one,) = torch.autograd.grad(loss(distances, own), distances)
    (split,) = torch.autograd.grad(loss(distances, own, "split"), distances)
    assert sorted(one[0].tolist()) == [0, 0, 0, 0, 0, 1]
    assert sorted(split[0].tolist()) == [0, 0, 0, 0, 0.5, 0.5]
    assert loss(distances, own) == loss(distances, own, "split")


def statistics(network: ProtoNet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if "running" in name}


@pytest.mark.parametrize("mode", ["frozen", "train"])
def test_a21_statistics_drift_in_warm_passes_where_the_trunk_runs_in_train_mode(mode, tiny, birds, tmp_path):
    trainer = Trainer(change(tiny, warm_batchnorm=mode), birds, tmp_path)
    network = trainer.network
    assert isinstance(network, ProtoNet)
    before, weights = statistics(network), [p.clone() for p in network.trunk.parameters()]
    trainer._epoch(trainer.phases[0], 0, 0)
    moved = any(not torch.equal(value, before[name]) for name, value in statistics(network).items())
    assert before and moved == (mode == "train")
    assert all(torch.equal(a, b) for a, b in zip(weights, network.trunk.parameters(), strict=True))


def slow_tuning(network: ProtoNet, trainer: Trainer, index: int, passes: int, train: bool) -> torch.Tensor:
    """The decision layer after passes of Adam, written out; batches are the trainer's."""
    params, weight = trainer.params, network.decision.weight.detach().clone()
    m, v, step = torch.zeros_like(weight), torch.zeros_like(weight), 0
    for epoch in range(passes):
        for inputs, labels, _ in trainer.batches.copied(index, epoch, False):
            network.train(train)
            with torch.no_grad():
                distances = network(inputs).distances
                a = torch.log((distances + 1) / (distances + 1e-4))
            w = weight.clone().requires_grad_()
            outside = torch.where(network.own, 0.0, 1.0)
            (cross_entropy(a @ w.T, labels) + params.lambda_l1 * (w * outside).abs().sum()).backward()
            assert w.grad is not None
            step += 1
            m, v = 0.9 * m + 0.1 * w.grad, 0.999 * v + 0.001 * w.grad**2
            weight = weight - params.lr_decision * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    return weight


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a8_tuning_is_passes_of_adam_and_in_train_mode_prototypes_are_no_longer_patches(mode, tiny, birds, tmp_path):
    params = change(tiny, tuning=mode, tuning_passes=3, joint_copies=2, lr_decision=0.01)
    trainer = Trainer(params, birds, tmp_path)
    trainer._initialise()
    trainer._push()
    network = trainer.network
    assert isinstance(network, ProtoNet)
    reference = slow_tuning(copy.deepcopy(network), trainer, 3, 3, mode == "train")
    before = statistics(network)
    rest = {k: v.clone() for k, v in network.named_parameters() if "decision" not in k}
    trainer._tune(Phase("decision", ("decision",)), 3)
    torch.testing.assert_close(network.decision.weight.detach(), reference, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(rest[k], v) for k, v in network.named_parameters() if k in rest)
    drifted = any(not torch.equal(value, before[name]) for name, value in statistics(network).items())
    assert drifted == (mode == "train")


def test_half_of_the_classes_are_taught(tiny_student, teacher):
    torch.manual_seed(2)
    student = copy.deepcopy(teacher).train()
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 3, 1, 2])
    seen = teacher(images)
    half = change(tiny_student, taught_classes="half", distillation={"ppc": 10.0})
    _, parts = objective(student(images), labels, student, half, seen)
    out = student(images)
    few = [out._replace(**{k: getattr(out, k)[[0, 2]] for k in ("z", "cells", "distances")}), None]
    few[1] = seen._replace(**{k: getattr(seen, k)[[0, 2]] for k in ("z", "cells", "distances")})
    assert parts["ppc"].item() == pytest.approx(losses.patch_correspondence(*few).item(), rel=1e-5)
    _, none = objective(out, torch.full((4,), 3), student, half, seen)
    assert "ppc" not in none


def test_who_stands_in_the_teachers_place(tiny, tiny_student, teacher):
    kept = {k: v.clone() for k, v in teacher.state_dict().items()}
    shuffled = stand_in(change(tiny_student, teaches="shuffled"), teacher, tiny)
    assert not torch.equal(shuffled.prototypes, teacher.prototypes)
    rows = [sorted(map(tuple, each.prototypes.tolist())) for each in (shuffled, teacher)]
    assert rows[0] == rows[1]
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(shuffled(images).z, teacher(images).z)
    random = stand_in(change(tiny_student, teaches="random"), teacher, tiny)
    assert random.prototypes.shape == teacher.prototypes.shape and not torch.equal(random(images).z, teacher(images).z)
    other = stand_in(change(tiny_student, teaches="other", other_teacher_run="t"), teacher, tiny, random)
    assert other is random and stand_in(tiny_student, teacher, tiny) is teacher
    assert all(torch.equal(kept[k], v) for k, v in teacher.state_dict().items())


def test_prototypes_may_be_copied_from_the_teacher(tiny_student, birds: ImageSet, teacher, tmp_path, refuses):
    params = change(tiny_student, prototype_init="teacher", distillation={}, head="own")
    trainer = Trainer(params, birds, tmp_path, teacher)
    trainer._initialise()
    assert isinstance(trainer.network, ProtoNet) and torch.equal(trainer.network.prototypes, teacher.prototypes)
    with refuses("prototype_init 'teacher'", "teacher_run"):
        check(TrainParams, {"prototype_init": "teacher"}, "here")


def test_a_switch_at_its_default_is_no_part_of_a_runs_identity(tiny):
    assert not {"tuning", "teaches", "mask_ties", "tau_share"} & tiny.model_dump().keys()
    assert change(tiny, tuning="train").model_dump()["tuning"] == "train"


@pytest.mark.parametrize("names", [("audit-side-birds", "audit-controls-birds"), ("audit-side-cub-20", "audit-cub-20")])
def test_the_audit_studies(names):
    studies = [load_study(ROOT / "params" / f"{name}.yaml") for name in names]
    runs = {name: run for study in studies for name, run in study.runs().items()}
    first = studies[0].seeds[0]
    teacher = next(r for r in runs.values() if r.role == "teacher" and r.seed == first and r.schedule == "lean")
    today = runs[f"student-official-official-today-s{first}"]
    assert today.teacher_run == f"teacher-official-s{first}" and today.tuning == today.warm_batchnorm == "train"
    assert (today.global_norm, today.mask_source, today.ppc_norm) == ("mean_abs", "student", "batch")
    students = [r for r in runs.values() if r.role == "student" and r.seed == first and r.teacher_run == teacher.run]
    other = next(r for r in students if r.teaches == "other")
    assert other.other_teacher_run in runs and other.other_teacher_run != teacher.run
    assert not any("official" in r.variant for r in students)
    assert len(load_study(ROOT / "params" / f"{names[-1]}.yaml", rehearse=True).seeds) == 2  # one is another's teacher


def test_variants_with_few_seeds_and_triples_of_their_own():
    values: dict[str, Any] = {
        "study": "s",
        "title": "S",
        "images": "drawn",
        "seeds": [0, 1],
        "data": {"reader": "birds"},
        "recipe": {},
        "triples": [{"name": "t", "teacher": {"network": "small"}, "student": {"network": "small_sixth"}}],
        "variants": {"paper": {}, "few": {"mask_source": "all"}},
        "variant_seeds": {"few": [1]},
    }
    study = check(Study, values, "file")
    assert [r.seed for r in study.runs().values() if r.variant == "few"] == [1]
    evaluations = study.evaluations()
    assert set(evaluations["t-s0"].student_runs) == {"paper"} and "few" in evaluations["t-s1"].student_runs
    for wrong in ({"few": [7]}, {"none": [0]}, {"paper": [0]}):
        with pytest.raises(UserError, match="variant_seeds"):
            check(Study, values | {"variant_seeds": wrong}, "file")
