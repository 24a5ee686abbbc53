"""Every loss and its gradient against loops over Python numbers."""

from __future__ import annotations

import math

import pytest
import torch
from bounds import distance_rounding, rounding
from torch import Tensor

from p2p import losses
from p2p.networks import Output, ProtoNet, distance_map, nearest_cells, similarity
from p2p.training.objective import objective

pytestmark = pytest.mark.numeric

B, K, P, D, H, W = 3, 3, 6, 5, 3, 2


def output(**fields: Tensor) -> Output:
    """Of a network of which only some fields matter."""
    return Output(**{**dict.fromkeys(Output._fields, torch.empty(0)), **fields})


def global_explanation(student: Tensor, teacher: Tensor, **switches) -> Tensor:
    return losses.global_explanation(output(prototypes=student), output(prototypes=teacher), **switches)


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow_map(z: Tensor, prototypes: Tensor) -> list[list[list[float]]]:
    """d[b][p][h * W + w], one channel at a time."""
    b, d, h, w = z.shape
    zs, ps = z.double().tolist(), prototypes.double().tolist()
    return [
        [[sum((zs[i][c][y][x] - p[c]) ** 2 for c in range(d)) for y in range(h) for x in range(w)] for p in ps]
        for i in range(b)
    ]


def differences(function, *inputs: Tensor, step: float = 1e-6) -> list[Tensor]:
    """Central differences of a scalar function of float64 tensors."""
    gradients = []
    for tensor in inputs:
        gradient, flat = torch.zeros_like(tensor), tensor.view(-1)
        for i in range(flat.numel()):
            kept = flat[i].item()
            flat[i] = kept + step
            high = float(function(*inputs))
            flat[i] = kept - step
            low = float(function(*inputs))
            flat[i] = kept
            gradient.view(-1)[i] = (high - low) / (2 * step)
        gradients.append(gradient)
    return gradients


# -------------------------------------------------------------------------------------------------- distances


def test_distance_map_and_nearest_cells_against_loops():
    z, prototypes = rand(B, D, H, W), rand(P, D, seed=1)
    slow, bound = slow_map(z, prototypes), distance_rounding(z, prototypes)
    torch.testing.assert_close(
        distance_map(z, prototypes).flatten(2), torch.tensor(slow, dtype=torch.float32), rtol=0, atol=bound
    )
    distances, cells = nearest_cells(z, prototypes)
    for b in range(B):
        for p in range(P):
            assert distances[b, p].item() == pytest.approx(min(slow[b][p]), abs=bound)
            assert slow[b][p][cells[b, p]] <= min(slow[b][p]) + 2 * bound


def test_distance_of_a_patch_to_itself_is_never_negative():
    z = rand(4, 256, 3, 3, dtype=torch.float32)
    prototypes = z[:, :, 1, 2].contiguous()
    distances, cells = nearest_cells(z, prototypes)
    assert (distance_map(z, prototypes) >= 0).all() and (distances >= 0).all()
    assert (distances.diagonal() < distance_rounding(z, prototypes)).all() and (cells.diagonal() == 5).all()


def test_distances_stay_float32_under_autocast():
    z, prototypes = rand(B, 64, H, W, dtype=torch.float32), rand(P, 64, seed=1, dtype=torch.float32)
    plain_map, (plain, cells) = distance_map(z, prototypes), nearest_cells(z, prototypes)
    with torch.autocast("cpu", torch.bfloat16):
        assert (z.flatten(2).transpose(1, 2) @ prototypes.T).dtype == torch.bfloat16  # autocast is really on
        inside_map, (inside, inside_cells) = distance_map(z, prototypes), nearest_cells(z, prototypes)
        half_map = distance_map(z.bfloat16(), prototypes)
    assert inside_map.dtype == inside.dtype == half_map.dtype == torch.float32
    assert torch.equal(inside_map, plain_map) and torch.equal(inside, plain)
    assert torch.equal(inside_cells, cells)
    expected = torch.tensor(slow_map(z.bfloat16(), prototypes), dtype=torch.float32)
    torch.testing.assert_close(half_map.flatten(2), expected, rtol=0, atol=distance_rounding(z, prototypes))


def test_gradient_of_nearest_distances():
    z, prototypes, weight = rand(B, D, H, W), rand(P, D, seed=1), rand(B, P, seed=2)

    def slow(z: Tensor, prototypes: Tensor) -> float:
        table = slow_map(z, prototypes)
        return sum(weight[b, p].item() * min(table[b][p]) for b in range(B) for p in range(P))

    expected = differences(slow, z, prototypes)
    z, prototypes = z.float().requires_grad_(), prototypes.float().requires_grad_()
    (nearest_cells(z, prototypes)[0] * weight).sum().backward()
    torch.testing.assert_close(z.grad.double(), expected[0], rtol=0, atol=rounding(P * H * W, 2 * P))
    torch.testing.assert_close(prototypes.grad.double(), expected[1], rtol=0, atol=rounding(B * H * W, 2 * B * H * W))


def test_gradient_of_the_distance_map():
    z, prototypes, weight = rand(2, 3, 2, 2), rand(4, 3, seed=1), rand(2, 4, 4, seed=2)

    def slow(z: Tensor, prototypes: Tensor) -> float:
        return (torch.tensor(slow_map(z, prototypes), dtype=torch.float64) * weight).sum().item()

    expected = differences(slow, z, prototypes)
    z, prototypes = z.float().requires_grad_(), prototypes.float().requires_grad_()
    (distance_map(z, prototypes).flatten(2) * weight).sum().backward()
    torch.testing.assert_close(z.grad.double(), expected[0], rtol=0, atol=rounding(P * H * W, 2 * P))
    torch.testing.assert_close(prototypes.grad.double(), expected[1], rtol=0, atol=rounding(B * H * W, 2 * B * H * W))


def test_similarity():
    d = [0.0, 1e-4, 0.3, 7.0]
    expected = [math.log((x + 1) / (x + 1e-4)) for x in d]
    assert similarity(torch.tensor(d, dtype=torch.float64)).tolist() == pytest.approx(expected, rel=1e-12)
    assert similarity(torch.tensor([0.0])).item() == pytest.approx(-math.log(1e-4), rel=rounding(4))
    x = rand(5).requires_grad_()
    assert torch.autograd.gradcheck(similarity, x)


# ------------------------------------------------------------------------------------------- ProtoPNet losses


def own_of(labels: list[int]) -> Tensor:
    return torch.tensor([[j // (P // K) == label for j in range(P)] for label in labels])


def test_cluster_and_separation():
    distances, labels = rand(B, P), [2, 0, 1]
    per_class, table = P // K, distances.tolist()
    near, far = 0.0, 0.0
    for b, label in enumerate(labels):
        near += min(table[b][j] for j in range(P) if j // per_class == label) / B
        far += min(table[b][j] for j in range(P) if j // per_class != label) / B
    own = own_of(labels)
    assert losses.cluster(distances, own).item() == pytest.approx(near, rel=1e-12)
    assert losses.separation(distances, own).item() == pytest.approx(far, rel=1e-12)
    assert near != far
    distances.requires_grad_()
    assert torch.autograd.gradcheck(lambda d: losses.cluster(d, own), distances)
    assert torch.autograd.gradcheck(lambda d: losses.separation(d, own), distances)


def test_of_tied_prototypes_one_gets_the_gradient():
    """A19: an even split would move two prototypes that were pushed onto one patch alike for ever."""
    for loss, own in ((losses.cluster, True), (losses.separation, False)):
        distances = torch.tensor([[0.5, 0.5, 0.9]], requires_grad=True)
        loss(distances, torch.full((1, 3), own)).backward()
        assert distances.grad.tolist() == [[1, 0, 0]]


def test_decision_l1_leaves_own_class_weights_alone():
    weight, own = rand(K, P) - 0.5, own_of([0, 1, 2])
    expected = sum(abs(weight[k, j].item()) for k in range(K) for j in range(P) if j // (P // K) != k)
    assert losses.decision_l1(weight, own).item() == pytest.approx(expected, rel=1e-12)
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: losses.decision_l1(w, own), weight)
    losses.decision_l1(weight, own).backward()
    assert (weight.grad[own] == 0).all() and (weight.grad[~own].abs() == 1).all()


# ----------------------------------------------------------------------------------------- Proto2Proto losses


@pytest.mark.parametrize("norm", ["l2", "mean_abs"])
def test_global_explanation(norm):
    student, teacher = rand(P, D), rand(P, D, seed=1)
    rows = [
        [s - t + 1e-6 for s, t in zip(*pair, strict=True)]
        for pair in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    if norm == "l2":
        expected = sum(math.sqrt(sum(x * x for x in row)) for row in rows) / P
    else:
        expected = sum(abs(x) for row in rows for x in row) / (P * D)
    assert global_explanation(student, teacher, global_norm=norm).item() == pytest.approx(expected, rel=1e-12)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: global_explanation(s, teacher, global_norm=norm), student)


def test_global_explanation_is_torchs_pairwise_distance_and_finite_at_zero():
    student, teacher = rand(P, D), rand(P, D, seed=1)
    expected = torch.nn.functional.pairwise_distance(student, teacher).mean()
    assert global_explanation(student, teacher).item() == pytest.approx(expected.item(), rel=1e-12)
    coded = torch.nn.functional.pairwise_distance(student[..., None, None], teacher[..., None, None]).mean()
    assert global_explanation(student, teacher, global_norm="mean_abs").item() == pytest.approx(coded.item())
    same = teacher.clone().requires_grad_()
    global_explanation(same, teacher).backward()
    assert torch.isfinite(same.grad).all()


def test_global_explanation_at_step_zero_and_its_sixteen_times_smaller_gradient():
    """A2: two U[0, 1) sets with D = 256 start at 6.52, or at 0.333 as coded under torch 1.10 and later."""
    student, teacher = rand(2000, 256).requires_grad_(), rand(2000, 256, seed=1)
    values, norms = {}, {}
    for norm in ("l2", "mean_abs"):
        value = global_explanation(student, teacher, global_norm=norm)
        (gradient,) = torch.autograd.grad(value, student)
        values[norm], norms[norm] = value.item(), gradient.norm(dim=1).mean().item()
    assert values["l2"] == pytest.approx(6.52, abs=0.02)
    assert values["mean_abs"] == pytest.approx(0.3333, abs=0.002)
    assert norms["l2"] / norms["mean_abs"] == pytest.approx(16, rel=1e-3)


@pytest.mark.parametrize("tau", [0.05, 0.4, 0.7, 100.0])
def test_active_patches(tau):
    grid, cells, distances = 7, (rand(B, 40) * 5).long(), rand(B, 40, seed=1)
    active = losses.active_patches(cells, distances, tau, grid)
    expected = [
        {c for c, d in zip(*row, strict=True) if d < tau}
        for row in zip(cells.tolist(), distances.tolist(), strict=True)
    ]
    assert [set(row.nonzero().flatten().tolist()) for row in active] == expected
    assert active.shape == (B, grid) and active.dtype == torch.bool


def test_active_patches_threshold_is_strict_and_tau_train_100_holds_nobody_back():
    """A3."""
    cells, distances = torch.tensor([[3, 1]]), torch.tensor([[0.5, 0.25]])
    assert losses.active_patches(cells, distances, 0.5, 4).tolist() == [[False, True, False, False]]
    cells, distances = (rand(B, P) * 9).long(), 99 * rand(B, P, seed=1)
    every = torch.zeros(B, 9, dtype=torch.bool).scatter(1, cells, True)
    assert torch.equal(losses.active_patches(cells, distances, 100.0, 9), every)
    few = losses.active_patches(cells, distances, distances.quantile(0.3).item(), 9)
    assert 0 < few.sum() < every.sum()


def seen(z: Tensor, active: Tensor) -> Output:
    """A teacher's answer with exactly these active patches (B, H·W): a prototype for each cell, near where active."""
    cells = torch.arange(active.shape[1]).expand(active.shape)
    return output(z=z, cells=cells, distances=torch.where(active, 1.0, 200.0))


@pytest.mark.parametrize("norm", ["patch", "image", "batch"])
def test_patch_correspondence(norm):
    student, teacher = rand(B, D, H, W), rand(B, D, H, W, seed=1)
    active = rand(B, H * W, seed=2) < torch.tensor([[0.9], [0.0], [0.4]])  # the second image has none
    errors = [
        [
            sum((student[b, c, i // W, i % W] - teacher[b, c, i // W, i % W]).item() ** 2 for c in range(D))
            for i in range(H * W)
            if active[b, i]
        ]
        for b in range(B)
    ]
    total, count = sum(map(sum, errors)), sum(map(len, errors))
    expected = {
        "patch": total / count,
        "image": sum(sum(e) / max(1, len(e)) for e in errors) / B,
        "batch": total / (2 * count + 1),
    }
    assert len({round(value, 6) for value in expected.values()}) == 3 and not errors[1]

    def ppc(student: Tensor, active: Tensor = active) -> Tensor:
        return losses.patch_correspondence(output(z=student), seen(teacher, active), ppc_norm=norm)

    value = ppc(student)
    assert value.item() == pytest.approx(expected[norm], rel=1e-12)
    student.requires_grad_()
    assert torch.autograd.gradcheck(ppc, student)
    ppc(student).backward()
    moved = student.grad.abs().sum(1).flatten(1) > 0
    assert torch.equal(moved, active)  # other patches are free
    none = torch.zeros_like(active)
    assert ppc(student, none).item() == 0


# -------------------------------------------------------------------------------- their sum, and its switches


@pytest.fixture
def scene(tiny_student):
    """A network, its output on three images, the teacher's answer, and the student's parameters."""
    torch.manual_seed(0)
    network = ProtoNet(torch.nn.Identity(), 6, K, per_class=P // K, depth=D)
    out = network.head(torch.rand(B, 6, H, W))
    z = torch.rand(B, D, H, W)
    active = torch.zeros(B, H * W, dtype=torch.bool)
    active[:, 0] = True
    answer = seen(z, active)._replace(prototypes=torch.rand(P, D))
    return network, out, torch.tensor([2, 0, 1]), answer, tiny_student


def test_objective_is_the_weighted_sum(scene):
    network, out, labels, answer, params = scene
    weights = {"lambda_cluster": 0.7, "lambda_separation": 0.3, "lambda_l1": 0.01}
    params = params.model_copy(update={**weights, "distillation": {"global": 2.0, "ppc": 3.0}})
    own = network.own[labels]
    ce = -out.logits.double().log_softmax(1)[range(B), labels].mean()
    plain = (
        ce
        + 0.7 * losses.cluster(out.distances, own)
        - 0.3 * losses.separation(out.distances, own)
        + 0.01 * losses.decision_l1(network.decision.weight, network.own)
    ).item()
    taught = (2 * losses.global_explanation(out, answer) + 3 * losses.patch_correspondence(out, answer)).item()
    bound = rounding(B * D * H * W, abs(plain) + 2 * 0.3 * out.distances.max().item() + taught)  # separation: −0.3 d
    alone, parts = objective(out, labels, network, params, None)
    assert alone.item() == pytest.approx(plain, abs=bound)
    assert set(parts) == {"ce", "cluster", "separation", "l1"}
    both, parts = objective(out, labels, network, params, answer)
    assert both.item() == pytest.approx(plain + taught, abs=bound)
    assert set(parts) == {"ce", "cluster", "separation", "l1", "global", "ppc", "active"}
    distilled, _ = objective(out, labels, network, params, answer, distil_only=True)  # A14
    assert distilled.item() == pytest.approx(taught, abs=bound)


def test_a1_mask_source(scene):
    network, out, labels, answer, params = scene
    for source in ("teacher", "student"):
        _, parts = objective(out, labels, network, params.model_copy(update={"mask_source": source}), answer)
        error, active = (out.z - answer.z).square().sum(1).flatten(1), answer.distances < 100
        if source == "student":
            active = torch.zeros_like(active).scatter(1, out.cells, True)
            assert not torch.equal(active, answer.distances < 100)
        assert parts["ppc"].item() == pytest.approx(error[active].mean().item(), rel=rounding(B * D * H * W))
        assert parts["active"].item() == pytest.approx(active.double().mean().item())


def test_a2_a3_a4_reach_the_objective(scene):
    network, out, labels, answer, params = scene

    def parts_with(**change) -> dict[str, float]:
        _, parts = objective(out, labels, network, params.model_copy(update=change), answer)
        return {name: value.item() for name, value in parts.items()}

    plain = parts_with()
    difference = network.prototypes - answer.prototypes + 1e-6
    assert plain["global"] == pytest.approx(difference.square().sum(1).sqrt().mean().item(), rel=rounding(P * D))
    assert parts_with(global_norm="mean_abs")["global"] == pytest.approx(
        difference.abs().mean().item(), rel=rounding(P * D)
    )
    tau = out.distances.median().item()
    near = torch.zeros(B, H * W, dtype=torch.bool)
    for b in range(B):
        for j in range(P):
            near[b, out.cells[b, j]] |= bool(out.distances[b, j] < tau)
    error = (out.z - answer.z).square().sum(1).flatten(1)
    found = parts_with(mask_source="student", tau_train=tau)["ppc"]
    assert found == pytest.approx(error[near].mean().item(), rel=rounding(B * D * H * W))
    assert found != pytest.approx(parts_with(mask_source="student")["ppc"], rel=1e-3)
    active = answer.distances < 100
    total, count = error[active].sum().item(), active.sum().item()
    assert parts_with(ppc_norm="batch")["ppc"] == pytest.approx(total / (2 * count + 1), rel=rounding(B * D * H * W))


def test_ppc_on_all_cells(scene):
    _, out, _, answer, _ = scene
    error = (out.z - answer.z).square().sum(1)
    every = losses.patch_correspondence(out, answer, mask_source="all")
    assert every.item() == pytest.approx(error.mean().item(), rel=rounding(B * D * H * W))
