"""Measures of parts: against slow twins written from their definitions, under known damage, and at chance."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from p2p import parts
from p2p.data.images import load_images
from p2p.data.redraw import interventions
from p2p.data.species import PARTS
from p2p.evaluation import same_parts
from p2p.evaluation.judged import misplaced, renumbered
from p2p.evaluation.runs import respond
from p2p.metrics import permute_images
from p2p.responses import ResponseTable
from p2p.study.params import ImagesParams

GRID, SIZE, N, P, Q, K = (3, 4), 24, 60, 8, 5, 4
LABELS = torch.arange(N) % K
OWN = torch.arange(P)[None] // (P // K) == torch.arange(K)[:, None]


def world(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """points (N, Q, 3), visible (N, Q), cells (N, P), distances (N, P)"""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(N, Q, 3, generator=generator) * SIZE
    points[..., 2] = (torch.rand(N, Q, generator=generator) < 0.7).float()
    cells = torch.randint(GRID[0] * GRID[1], (N, P), generator=generator).to(torch.int16)
    return points, points[..., 2] > 0, cells, torch.rand(N, P, generator=generator)


def slow_meets(point: Tensor, cell: int, window: float) -> bool:
    x, y = (cell % GRID[1] + 0.5) * SIZE / GRID[1], (cell // GRID[1] + 0.5) * SIZE / GRID[0]
    half = window * SIZE / 2
    return bool(point[2] > 0) and abs(float(point[0]) - x) <= half and abs(float(point[1]) - y) <= half


# ---------------------------------------------------------------------------------------------------- truth


def test_the_parts_near_a_cell_are_those_of_a_slow_search() -> None:
    points, *_ = world()
    found = parts.inside(points, GRID, SIZE, 0.4)
    for n, c, q in product(range(N), range(12), range(Q)):
        assert bool(found[n, c, q]) == slow_meets(points[n, q], c, 0.4)


def test_the_part_of_a_cell_is_the_nearest_point_or_the_one_with_most_pixels() -> None:
    points, *_ = world()
    (found,) = parts.part_at(points, GRID, SIZE, [0.4])
    middle = parts.centres(GRID, SIZE)
    for n, c in product(range(N), range(12)):
        near = [q for q in range(Q) if slow_meets(points[n, q], c, 0.4)]
        away = {q: float((points[n, q, :2] - middle[c]).norm()) for q in near}
        assert found[n, c] == (min(away, key=away.__getitem__) if away else -1)
    masks = torch.randint(0, 12, (6, SIZE, SIZE), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    masks[masks > Q] = 0
    masks[:, 12:] = 0
    masks[:, 11, :3] = 1
    for window, found in zip((0.25, 0.5), parts.part_at(points[:6], GRID, SIZE, (0.25, 0.5), masks), strict=True):
        half = window * SIZE / 2
        for n, c in product(range(6), range(12)):
            x, y = middle[c].tolist()
            seen = masks[n, max(0, round(y - half)) : round(y + half), max(0, round(x - half)) : round(x + half)]
            counts = [int((seen == q + 1).sum()) for q in range(Q)]
            enough = sum(counts) >= parts.COVERED * SIZE * SIZE / 12
            assert found[n, c] == (int(np.argmax(counts)) if enough else -1)
        assert (found == -1).any() and (found >= 0).any()


def test_left_and_right_are_one_part() -> None:
    names = ("back", "left eye", "left leg", "right eye", "right leg", "tail")
    group, merged = parts.merged_sides(names)
    assert group.tolist() == [0, 1, 2, 1, 2, 3] and merged == ["back", "eye", "leg", "tail"]


# ------------------------------------------------------------------------------------- slow twins of the measures


def slow_consistency(points: Tensor, cells: Tensor, window: float, threshold: float) -> float:
    good = []
    for j in range(P):
        images = [n for n in range(N) if OWN[LABELS[n], j]]
        shares = []
        for q in range(Q):
            shown = [n for n in images if points[n, q, 2] > 0]
            met = [n for n in shown if slow_meets(points[n, q], int(cells[n, j]), window)]
            shares.append(len(met) / len(shown) if shown else 0.0)
        good.append(max(shares) >= threshold)
    return float(np.mean(good))


def test_consistency_stability_and_purity_are_their_slow_twins() -> None:
    points, visible, cells, distances = world()
    _, _, noisy, _ = world(1)
    noisy = torch.where(torch.rand(N, P, generator=torch.Generator().manual_seed(2)) < 0.6, cells, noisy)
    near, pairs = parts.inside(points, GRID, SIZE, 0.5), parts.own_pairs(LABELS, OWN)
    for threshold, value in zip(
        (0.2, 0.3, 0.4), parts.consistency(near, visible, cells, pairs, (0.2, 0.3, 0.4)), strict=True
    ):
        assert value == pytest.approx(slow_consistency(points, cells, 0.5, threshold))
    stable = []
    for j in range(P):
        same = []
        for n in (n for n in range(N) if OWN[LABELS[n], j]):
            sets = [{q for q in range(Q) if slow_meets(points[n, q], int(of[n, j]), 0.5)} for of in (cells, noisy)]
            same.append(sets[0] == sets[1])
        stable.append(np.mean(same))
    assert parts.stability(near, cells, noisy, pairs) == pytest.approx(float(np.mean(stable)))
    pure = []
    for j in range(P):
        nearest = sorted(range(N), key=lambda n: float(distances[n, j]))[:7]
        shares = []
        for q in range(Q):
            met = [slow_meets(points[n, q], int(cells[n, j]), 0.5) for n in nearest if points[n, q, 2] > 0]
            shares.append(np.mean(met) if met else 0.0)
        pure.append(max(shares))
    assert parts.purity(near, visible, cells, distances, 7) == pytest.approx(float(np.mean(pure)))


def slow_transfer(at_t: Tensor, at_s: Tensor, distances: Tensor, share: float, order: list[int]) -> float:
    each = []
    for i, j in enumerate(order):
        chosen = sorted(range(N), key=lambda n: float(distances[n, i]))[: round(share * N)]
        on = [n for n in chosen if at_t[n, i] >= 0]
        if on:
            each.append(np.mean([bool(at_t[n, i] == at_s[n, j]) for n in on]))
    return float(np.mean(each))


def test_part_transfer_is_its_slow_twin_and_its_chance_the_mean_over_exchanged_prototypes() -> None:
    generator = torch.Generator().manual_seed(3)
    at_t, at_s = (torch.randint(-1, 3, (N, P), generator=generator).to(torch.int16) for _ in range(2))
    at_t[:, 0] = -1  # one that never lies on a part
    *_, distances = world()
    found = parts.part_transfer(at_t, at_s, distances, 0.2)
    assert found.value == pytest.approx(slow_transfer(at_t, at_s, distances, 0.2, list(range(P))))
    assert torch.isnan(found.each[0]) and not found.each[1:].isnan().any()
    turns = [[(i + shift) % P for i in range(P)] for shift in range(P)]  # each pair of prototypes once
    every = np.mean([slow_transfer(at_t, at_s, distances, 0.2, order) for order in turns])
    assert found.chance == pytest.approx(float(every))
    group = torch.arange(P) // 2
    pairs = [list(range(P)), [i ^ 1 for i in range(P)]]
    within = np.mean([slow_transfer(at_t, at_s, distances, 0.2, order) for order in pairs])
    assert parts.part_transfer(at_t, at_s, distances, 0.2, group).chance == pytest.approx(float(within))


def test_same_images_and_interventions_are_their_slow_twins() -> None:
    *_, first = world()
    *_, second = world(1)
    group = torch.arange(P) // 2

    def overlap(i: int, j: int) -> float:
        nearest = [set(sorted(range(N), key=lambda n: float(of[n, k]))[:12]) for of, k in ((first, i), (second, j))]
        return len(nearest[0] & nearest[1]) / 12

    found = parts.same_images(first, second, 0.2, group)
    assert found.value == pytest.approx(np.mean([overlap(i, i) for i in range(P)]))
    assert found.chance == pytest.approx(np.mean([(overlap(i, i) + overlap(i, i ^ 1)) / 2 for i in range(P)]))
    changes = first - 0.5, first * 0.4 + second - 0.7
    found = parts.intervention_agreement(*changes)
    table = np.corrcoef(changes[0].T.numpy(), changes[1].T.numpy())[:P, P:]
    assert found.value == pytest.approx(np.diag(table).mean(), abs=1e-6)
    assert found.chance == pytest.approx(table.mean(), abs=1e-6)
    still = changes[0].clone()
    still[:, 0] = 0
    assert torch.isnan(parts.intervention_agreement(still, changes[1]).each[0])
    assert parts.intervention_agreement(changes[0], 3 * changes[0]).value == pytest.approx(1)


def test_decisions_and_pointing_are_their_slow_twins() -> None:
    generator = torch.Generator().manual_seed(4)
    before_t, before_s = (torch.randint(3, (N,), generator=generator) for _ in range(2))
    after_t, after_s = (torch.randint(3, (4, N), generator=generator) for _ in range(2))
    counted = []
    for i, n in product(range(4), range(N)):
        moved = [bool(after_t[i, n] != before_t[n]), bool(after_s[i, n] != before_s[n])]
        if any(moved):
            counted.append(all(moved) and bool(after_t[i, n] == after_s[i, n]))
    assert parts.decision_agreement(before_t, after_t, before_s, after_s) == pytest.approx(np.mean(counted))
    assert parts.decision_agreement(before_t, after_t, before_t, after_t) == 1
    assert np.isnan(parts.decision_agreement(before_t, before_t[None], before_s, before_s[None]))
    at, falls = torch.randint(-1, Q, (N, P), generator=generator), torch.randn(Q, N, P, generator=generator) - 1
    right = []
    for n, j in product(range(N), range(P)):
        if at[n, j] >= 0:
            most = max(range(Q), key=lambda q: float(falls[q, n, j]))
            right.append(most == int(at[n, j]) and float(falls[most, n, j]) > 0)
    assert parts.pointing(at, falls) == pytest.approx(np.mean(right))


# ------------------------------------------------------------------------------------- damage, on drawn birds


PARAMS = ImagesParams(
    reader="birds", size=32, class_count=4, bird_train_per_class=8, bird_test_per_class=30, bird_hardness=1.0
)


@pytest.fixture(scope="module")
def truth() -> same_parts.Truth:
    found = same_parts.read_truth(load_images(PARAMS).subset("test"), (8, 8), PARAMS, 0)
    assert found is not None
    return found


def ideal(truth: same_parts.Truth) -> ResponseTable:
    """A network of which prototype j sits on the middle of part j % Q wherever it is seen, and nearest where it is."""
    near = truth.near[32].float()  # (N, C, Q)
    seen = truth.visible
    cells = torch.where(seen, near.argmax(1), 0).repeat(1, 2)
    noise = torch.rand(cells.shape, generator=torch.Generator().manual_seed(0))
    distances = torch.where(seen.repeat(1, 2), 0.1, 5.0) + 0.05 * noise
    return ResponseTable(cells.to(torch.int16), distances, (8, 8))


def measures(table: ResponseTable, teacher: ResponseTable, truth: same_parts.Truth) -> dict[str, float]:
    own = torch.arange(12)[None] // 3 == torch.arange(4)[:, None]
    pairs = parts.own_pairs(truth.labels, own)
    near = truth.near[72]
    return {
        "consistency": float(parts.consistency(near, truth.visible, table.cells, pairs)[0]),
        "stability": parts.stability(near, teacher.cells, table.cells, pairs),
        "purity": parts.purity(truth.pure[32], truth.pure_visible, table.cells, table.distances, 10),
        "part transfer": parts.part_transfer(truth.found(teacher), truth.found(table), teacher.distances).value,
        "same images": parts.same_images(teacher.distances, table.distances).value,
    }


def test_each_falls_under_known_damage_and_reaches_chance(truth: same_parts.Truth) -> None:
    table, generator = ideal(truth), torch.Generator().manual_seed(0)
    whole = measures(table, table, truth)
    assert min(whole.values()) > 0.9
    curve = pd.DataFrame([measures(misplaced(table, s, generator), table, truth) for s in (0, 0.3, 0.6, 1)])
    for name in ("consistency", "stability", "purity", "part transfer"):
        assert curve[name].is_monotonic_decreasing and curve[name].iloc[-1] < 0.5 * curve[name].iloc[0], name
    numbers = [measures(renumbered(table, s, generator), table, truth) for s in (0, 0.5, 1)]
    transfer = [values["part transfer"] for values in numbers]
    assert transfer[0] > transfer[1] > transfer[2]
    assert [values["consistency"] for values in numbers] == [numbers[0]["consistency"]] * 3  # the network's own
    other = permute_images(table, generator)
    assert measures(other, table, truth)["same images"] < 0.3
    at = truth.found(table)
    orders = [torch.randperm(12, generator=generator) for _ in range(400)]
    drawn = [parts.part_transfer(at, at[:, order], table.distances).value for order in orders]
    assert parts.part_transfer(at, at, table.distances).chance == pytest.approx(np.mean(drawn), abs=0.02)


def test_interventions_change_one_part_and_nothing_else() -> None:
    images = load_images(PARAMS).subset("test").select(torch.arange(12))
    found = list(interventions(PARAMS, images))
    assert [(one.kind, one.part) for one in found] == [(k, q) for k in ("removed", "exchanged") for q in range(6)]
    assert images.masks is not None
    for one in found:
        moved = (one.pixels != images.pixels).any(1)
        seen = images.masks == one.part + 1
        assert moved.any(), (one.kind, PARTS[one.part])
        if one.kind == "removed":
            around = torch.nn.functional.max_pool2d(seen.float()[:, None], 5, 1, 2)[:, 0] > 0  # soft edges, thin tips
            assert moved[around].sum() > 0.95 * moved.sum() and moved[seen].float().mean() > 0.9, PARTS[one.part]


def test_an_evaluation_has_the_rows_where_parts_are_known(truth: same_parts.Truth, tiny, birds, teacher) -> None:
    images = birds.subset("test")
    known = same_parts.read_truth(images, (4, 4), tiny, 0)
    assert known is not None
    (table,) = respond(teacher, images.pixels)
    table = misplaced(table, 1.0, torch.Generator().manual_seed(0))  # so that some prototype of it lies on a part
    seen = same_parts.look(teacher, table, known, 16)
    rows = list(same_parts.own_part_rows(("teacher", "paper"), seen, known, 0))
    rows += same_parts.shared_part_rows(("student", "paper"), seen, seen, known, 0)
    values = {name: value for *_, name, tau, value in rows if tau == ""}
    assert set(same_parts.NAMES) <= set(values)
    assert values["same_images"] == 1 and values["intervention"] == pytest.approx(1) and values["decisions"] == 1
    assert values["part_transfer"] == 1 > values["part_transfer_chance"] > 0
    assert len(rows) == len({row[:5] for row in rows}) and all(np.isfinite(row[5]) for row in rows)
    again = list(same_parts.own_part_rows(("teacher", "paper"), same_parts.look(teacher, table, known, 16), known, 0))
    assert again == rows[: len(again)]  # noise and choice of images are drawn by seed
    assert same_parts.read_truth(replace(images, parts=None, masks=None), (4, 4), tiny, 0) is None
    points = same_parts.read_truth(replace(images, masks=None), (4, 4), tiny.model_copy(update={"reader": "cub"}), 0)
    assert points is not None and not points.changed  # as of CUB: points alone, nothing to redraw
    seen = same_parts.look(teacher, table, points, 16)
    names = {row[3] for row in same_parts.own_part_rows(("teacher", "paper"), seen, points, 0)}
    names |= {row[3] for row in same_parts.shared_part_rows(("student", "paper"), seen, seen, points, 0)}
    assert {"consistency", "part_transfer"} <= names and not {"pointing", "intervention", "decisions"} & names
