"""Deletion and preservation: against slow twins, at chance, under known damage; their rows, table and figure."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_questions import metric_rows, write
from torch import Tensor

from p2p import curves, figures
from p2p.data.images import load_images
from p2p.evaluation import place_tables, same_places
from p2p.evaluation.measure import Answer
from p2p.evaluation.rows import COLUMNS
from p2p.evaluation.runs import Trained, load_run, respond
from p2p.evaluation.same_parts import Level
from p2p.evaluation.settings import Setting, read_settings
from p2p.evaluation.triple import level_table
from p2p.figures import curves as drawn
from p2p.networks import LinearNet, ProtoNet
from p2p.training.build import build_network

GRID, SIZE, N, K = (2, 3), 12, 5, 4
CELLS = GRID[0] * GRID[1]
PACKED = Path(__file__).parents[1] / "networks" / "birds"


def toy(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pixels (N, 3, S, S) and weights (K, C) of a network that sums how far each cell is from grey."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (N, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return pixels, 6 * torch.randn(K, CELLS, generator=generator).double()


def amounts(pixels: Tensor) -> Tensor:
    """(n, C) mean distance of each cell's pixels from grey, slowly."""
    found = torch.zeros(len(pixels), CELLS, dtype=torch.float64)
    for n in range(len(pixels)):
        for y in range(SIZE):
            for x in range(SIZE):
                cell = y // (SIZE // GRID[0]) * GRID[1] + x // (SIZE // GRID[1])
                away = [abs(int(pixels[n, c, y, x]) - curves.GREY[c]) for c in range(3)]
                found[n, cell] += sum(away) / 3 / 255 / (SIZE * SIZE / CELLS)
    return found


def fast(weight: Tensor) -> curves.Answer:
    """The toy network, as a callable of pixels."""
    grey = torch.tensor(curves.GREY)[None, :, None, None]

    def answer(pixels: Tensor) -> Tensor:
        away = (pixels.double() - grey).abs().mean(1) / 255
        return torch.nn.functional.adaptive_avg_pool2d(away, GRID).flatten(1) @ weight.T

    return answer


# ------------------------------------------------------------------------------------------------ slow twins


def test_the_explanation_is_its_slow_twin(teacher: ProtoNet, birds) -> None:
    pixels = birds.subset("test").pixels[:3]
    classes, found = curves.explain(teacher.eval(), pixels)
    with torch.no_grad():
        out = teacher(pixels)
        assert classes.tolist() == out.logits.argmax(1).tolist()
        height, width = out.z.shape[2:]
        for n in range(3):
            for y in range(height):
                for x in range(width):
                    total = 0.0
                    for j, prototype in enumerate(teacher.prototypes):
                        d = float(((out.z[n, :, y, x] - prototype) ** 2).sum())
                        weight = float(teacher.decision.weight[classes[n], j])
                        total += weight * float(np.log((d + 1) / (d + 1e-4)))
                    assert float(found[n, y * width + x]) == pytest.approx(total, abs=2e-3)
    order = curves.ranking(found)
    for n in range(3):
        assert order[n].tolist() == sorted(range(height * width), key=lambda c, n=n: (-float(found[n, c]), c))


def test_a_tree_is_explained_by_what_its_class_gains_from_each_similarity(tiny, birds) -> None:
    change = {"decision": "tree", "prototype_layer": "exponential", "tree_depth": 3, "weights": "none"}
    torch.manual_seed(0)
    network = build_network(tiny.model_copy(update=change), 4).eval()
    assert isinstance(network, ProtoNet)
    network.decision.weight.normal_(generator=torch.Generator().manual_seed(0))
    network.scale.fill_(0.01)  # untrained features differ little from cell to cell
    pixels = birds.subset("test").pixels[:2]
    classes, found = curves.explain(network, pixels)
    with torch.no_grad():
        out = network(pixels)
    most = network.layer.similarity(out.distances).double()
    slow = torch.zeros_like(found)
    for n in range(2):
        for j, prototype in enumerate(network.prototypes):
            ends = most[n].clone(), most[n].clone()
            ends[0][j], ends[1][j] = 0.25, 0.75  # the probability of a class is linear in every similarity
            low, high = (float(network.decision(one[None]).exp()[0, classes[n]]) for one in ends)
            d = ((out.z[n] - prototype.detach()[:, None, None]) ** 2).sum(0).flatten()
            slow[n] += (high - low) / 0.5 * torch.exp(-torch.sqrt(d + 1e-8)).double()
    assert torch.allclose(found, slow, atol=1e-5) and float(slow.std()) > 1e-4


@pytest.mark.parametrize("keep", [False, True])
def test_curves_and_areas_are_their_slow_twins(keep: bool) -> None:
    pixels, weight = toy()
    order = curves.random_ranking(N, CELLS, torch.Generator().manual_seed(1))
    logits = curves.answers(fast(weight), pixels, order, GRID, keep, steps=4)
    assert curves.counts(CELLS, 4) == [0, 2, 3, 5, 6] and curves.counts(3) == [0, 1, 2, 3]
    before = [max(range(K), key=lambda k, n=n: float(amounts(pixels)[n] @ weight[k])) for n in range(N)]
    labels = torch.arange(N) % K
    chances = curves.probability(logits, torch.tensor(before))
    hits = curves.right(logits, labels)
    for t, count in enumerate([0, 2, 3, 5, 6]):
        for n in range(N):
            first = set(order[n, :count].tolist())
            gone = set(range(CELLS)) - first if keep else first
            image = pixels[n].clone()
            for cell in gone:
                y, x = cell // GRID[1] * 6, cell % GRID[1] * 4
                for c in range(3):
                    image[c, y : y + 6, x : x + 4] = curves.GREY[c]
            said = [float(amounts(image[None])[0] @ weight[k]) for k in range(K)]
            share = np.exp(said[before[n]]) / sum(np.exp(said))
            assert float(chances[t, n]) == pytest.approx(share, rel=1e-6)
            assert hits[t, n] == (int(np.argmax(said)) == labels[n])
    x = [count / CELLS for count in (0, 2, 3, 5, 6)]
    slow = [sum((x[t + 1] - x[t]) * float(chances[t, n] + chances[t + 1, n]) / 2 for t in range(4)) for n in range(N)]
    assert curves.area(chances, CELLS, 4).tolist() == pytest.approx(slow)


def test_a_pixel_is_hidden_with_the_cell_in_which_its_middle_lies() -> None:
    pixels = torch.zeros(1, 3, 7, 7, dtype=torch.uint8)
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[0, 4] = True
    found = (curves.hidden(pixels, mask, (3, 3))[0, 0] == curves.GREY[0]).nonzero()
    middle = [i for i in range(7) if 7 / 3 <= i + 0.5 < 14 / 3]
    assert found.tolist() == [[y, x] for y in middle for x in middle]


# ------------------------------------------------------------------------------------------------ chance and damage


def of(answer: curves.Answer, pixels: Tensor, order: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N,) places of an order."""
    classes, cells = answer(pixels).argmax(1), order.shape[1]
    found = [
        curves.area(curves.probability(curves.answers(answer, pixels, order, grid, keep), classes), cells)
        for keep in (False, True)
    ]
    return curves.places(*found)


def test_places_are_zero_over_all_orders_and_highest_for_the_true_one() -> None:
    pixels, weight = toy(2)
    answer = fast(weight)
    classes = answer(pixels).argmax(1)
    speaks = weight[classes] * amounts(pixels) - (weight.mean(0) * amounts(pixels))  # against the other classes
    orders = [torch.tensor(order).expand(N, -1) for order in permutations(range(CELLS))]
    every = torch.stack([of(answer, pixels, order, GRID) for order in orders])  # (720, N)
    assert every.mean(0).tolist() == pytest.approx([0.0] * N, abs=1e-9)
    true = of(answer, pixels, curves.ranking(speaks), GRID)
    assert bool((true > 0).all()) and float((every <= true + 1e-9).double().mean()) > 0.9
    assert of(answer, pixels, curves.ranking(speaks).flip(1), GRID).tolist() == pytest.approx((-true).tolist())


@pytest.fixture(scope="module")
def student():
    """A trained network of the repository, with 64 birds that it knows how to tell apart."""
    trained = load_run(PACKED / "student-small_eighth")
    few = trained.params.model_copy(update={"bird_train_per_class": 4, "bird_test_per_class": 8})
    return trained.network, load_images(few).subset("test").pixels


def test_places_fall_when_prototypes_are_permuted_or_maps_are_shifted(student) -> None:
    network, pixels = student
    generator = torch.Generator().manual_seed(0)
    classes, speaks = curves.explain(network, pixels)

    def value(values: Tensor) -> float:
        with torch.inference_mode():
            return float(of(lambda some: network(some).logits, pixels, curves.ranking(values), (8, 8)).mean())

    whole = value(speaks)
    assert whole > 0.15
    swapped = load_run(PACKED / "student-small_eighth").network
    order = torch.randperm(len(swapped.prototypes), generator=generator)
    swapped.decision.weight.data = swapped.decision.weight[:, order]  # other prototypes are named, with the same maps
    assert value(curves.explain(swapped, pixels)[1]) < 0.6 * whole
    shifted = [value(speaks.view(-1, 8, 8).roll((s, s), (1, 2)).flatten(1)) for s in (0, 2, 4)]
    assert shifted[0] > shifted[1] > shifted[2] and shifted[2] < 0.3 * whole
    noisy = []
    for share in (0.0, 0.5, 1.0):
        wrong = torch.rand(speaks.shape, generator=generator) < share
        noisy.append(value(torch.where(wrong, speaks[:, torch.randperm(64, generator=generator)], speaks)))
    assert noisy[0] > noisy[1] > noisy[2]
    other = speaks[torch.arange(64).roll(5)]
    assert value(other) < whole  # the explanation of another image
    assert classes.unique().numel() > 4


# ------------------------------------------------------------------------------------------------ rows


def answers_of(network: ProtoNet, tiny, images, roles: tuple[str, ...]) -> list[Answer]:
    (table,) = respond(network, images.pixels)
    trained = Trained(tiny, network, None, None, None)
    return [Answer(role, "paper", {}, {"tuned": table}, trained) for role in roles]


def frame_of(rows: list) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["role", "variant", "stage", "metric", "tau", "value"])
    return frame.assign(study="s", triple="t", seed=0)[COLUMNS]


def test_an_evaluation_has_the_rows_with_and_without_parts(tiny, birds, teacher) -> None:
    images = birds.subset("test")
    found = answers_of(teacher, tiny, images, ("teacher", "student", "budget"))
    linear = LinearNet(teacher.trunk, 1, 4)
    found.append(Answer("control", "linear", {}, {}, replace(found[0].trained, network=linear)))
    levels = [Level(("control", "random"), "_floor", teacher, found[0].tables["tuned"])]
    rows = list(same_places.place_rows(found, levels, images, 0))
    assert len(rows) == len({row[:5] for row in rows}) and all(np.isfinite(row[5]) for row in rows)
    assert {row[:2] for row in rows} == {("teacher", "paper"), ("student", "paper"), ("control", "random")}
    values = {(row[0], row[3]): row[5] for row in rows if row[4] == ""}
    assert {name for role, name in values if role == "teacher"} >= {*same_places.AREA_HEADS, "own_places"}
    assert values["student", "teacher_places"] == values["student", "own_places"] == values["teacher", "own_places"]
    assert values["control", "teacher_places_floor"] == values["student", "teacher_places"]  # the same network
    assert values["student", "places_gap"] == 0 and ("teacher", "teacher_places") not in values
    for role in ("teacher", "student"):
        less = values[role, "preservation"] - values[role, "deletion"]
        assert values[role, "own_places"] == pytest.approx(less)
        curve = {row[4]: row[5] for row in rows if row[0] == role and row[3] == "deletion_over_share"}
        assert sorted(curve) == [count / 16 for count in curves.counts(16)]
        area = np.trapezoid([curve[share] for share in sorted(curve)], sorted(curve))
        assert values[role, "deletion"] == pytest.approx(area)
        end = {row[3]: row[5] for row in rows if row[0] == role and row[4] == 1.0}
        assert end["deletion_over_share"] == end["random_order_over_share"]  # all is grey, in any order
    assert "preservation_permuted_over_share" not in {row[3] for row in rows}
    plain = replace(images, parts=None, masks=None)
    assert list(same_places.place_rows(found, levels, plain, 0)) == rows  # photographs have them; drawn by seed
    assert list(same_places.place_rows(found, levels, plain, 1)) != rows
    assert level_table(frame_of(rows)).empty  # they have a table of their own


def test_images_are_spread_over_the_classes(birds, monkeypatch) -> None:
    images = birds.subset("test")
    monkeypatch.setattr(same_places, "SHOWN", 8)
    pixels, labels = same_places.chosen(images, 3)
    assert labels.bincount().tolist() == [2, 2, 2, 2] and len(pixels) == 8
    monkeypatch.setattr(same_places, "SHOWN", 100)
    assert len(same_places.chosen(images, 3)[1]) == len(images)


# ------------------------------------------------------------------------------------------------ page


def place_rows(seeds: int) -> pd.DataFrame:
    rows = []
    values = {"teacher": (0.5, None), "student": (0.4, 0.3), "baseline": (0.2, 0.1)}
    for seed in range(seeds):
        for role, (own, theirs) in values.items():

            def add(name: str, value: float, tau: float | None = None, role: str = role, seed: int = seed) -> None:
                rows.append(("s", "a-b", role, "paper", seed, "tuned", name, tau, value))

            for name in ("deletion", "preservation", "deletion_top1", "preservation_top1"):
                add(name, own)
                add(f"{name}_chance", 0.35)
                for share in (0.0, 0.25, 1.0):
                    add(f"{name}_over_share", own + share / 10, share)
                    if theirs is not None and "top1" not in name:
                        add(f"{name}_teacher_over_share", theirs, share)
            for name in ("random_order", "random_order_top1"):
                for share, value in ((0.0, 0.9), (0.25, 0.8), (1.0, 0.1)):
                    add(f"{name}_over_share", value, share)
            add("own_places", own)
            if theirs is not None:
                add("teacher_places", theirs + 0.01 * seed * (role == "student"))
                add("places_gap", own - theirs)
                add("teacher_places_permuted", 0.1)
        rows.append(("s", "a-b", "control", "random", seed, "tuned", "teacher_places_floor", None, -1e-6))  # shown as 0
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def settings(tmp_path: Path) -> list[Setting]:
    write(tmp_path / "drawn", "Drawn", 1, pd.concat([metric_rows(3), place_rows(3)]))
    write(tmp_path / "photos", "Photos", 2, pd.concat([metric_rows(2), place_rows(2)]))
    write(tmp_path / "older", "Older", 3, metric_rows(3))
    return read_settings(tmp_path)


def test_the_page_has_an_answer_a_table_and_names_older_evaluations(settings: list[Setting]) -> None:
    first, second = place_tables.answer(settings)
    low = np.array([0.2, 0.21, 0.22]).mean() / 0.9 - 4.3027 * 0.01 / 0.9 / 3**0.5
    assert first.startswith("**Drawn: The student leans on its teacher's places more than")
    assert "student +0.31 (own +0.40, the teacher's of other images +0.10) and baseline +0.10" in first
    assert f"+0.233, 95 % interval +{low:.3f} to" in first and "not decided" in second
    table = place_tables.places_table(settings, same_places.PLACE_HEADS)
    of_drawn = table[table["setting"] == "Drawn"].set_index("network")
    others = [f"*{role}, other images*" for role in ("baseline", "student")]
    assert list(of_drawn.index) == ["teacher", "baseline", "student", "random network", *others]
    assert of_drawn.loc["student", "teacher's places"] == "0.310 (0.300–0.320)"
    assert of_drawn.loc["random network", "teacher's places"] == "0.000 (0.000–0.000)"
    assert of_drawn.loc["*baseline, other images*", "teacher's places"] == "0.100"
    assert set(table["setting"]) == {"Drawn", "Photos"}
    areas = place_tables.places_table(settings, same_places.AREA_HEADS).set_index(["setting", "network"])
    assert areas.loc[("Photos", "*teacher, random order*"), "deletion"] == "0.350"
    assert ("Photos", "random network") not in areas.index
    assert "Older" in place_tables.older(settings) and "Photos" not in place_tables.older(settings)
    assert place_tables.older(settings[:2]) == "" and place_tables.answer(settings[2:]) == []
    assert place_tables.places_table(settings[2:], same_places.AREA_HEADS).empty


def test_the_figure_has_every_curve_and_random_order_turned_for_preservation(settings: list[Setting]) -> None:
    figure = drawn.hiding(settings[:2])
    assert len(figure.axes) == 8 and [len(ax.lines) for ax in figure.axes[:4]] == [6, 6, 4, 4]
    hidden, kept = (figure.axes[i].lines[0] for i in (0, 1))
    assert hidden.get_xdata().tolist() == [0, 0.25, 1] and kept.get_xdata().tolist() == [1, 0.75, 0]
    assert kept.get_ydata().tolist() == pytest.approx([0.9, 0.8, 0.1])
    assert "<svg" in figures.svg(figure)
