"""Figures: what is drawn, where and in which colour, from small random inputs; no training."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from p2p import figures
from p2p.data.images import ImageSet
from p2p.errors import UserError
from p2p.evaluation.runs import Trained, respond
from p2p.figures import style as look
from p2p.networks import ProtoNet, distance_map, similarity
from p2p.projection import activation_boxes, find_patches
from p2p.study.params import TrainParams

pytestmark = pytest.mark.numeric

CLASSES = ("001.Red_bird", "002.Blue_bird", "species 3")
SIZE, GRID, PER_CLASS = 32, 4, 2


def image_set(seed: int = 0, each: int = 3) -> ImageSet:
    pixels = torch.randint(0, 256, (3 * each, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(seed)).byte()
    labels = torch.arange(3 * each) % 3
    split = torch.zeros(3 * each, dtype=torch.uint8)
    return ImageSet(pixels, labels, split, CLASSES, tuple(f"bird {n}" for n in range(3 * each)))


def random_run(role: str, seed: int, images: ImageSet) -> Trained:
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 6, 1))

    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float() / 255 * 6 - 3

    network = ProtoNet(nn.Sequential(Scaled(), trunk), 6, 3, PER_CLASS, 5).eval()
    found = find_patches(network, images.pixels, images.labels)
    network.prototypes.data = found.patches.clone()
    extra = {"teacher_run": "t"} if role == "student" else {}
    params = TrainParams(run=role, role=role, **extra)
    return Trained(params, network, found, None, None)


def test_a_name_with_dollars_is_no_mathematics(images: ImageSet) -> None:
    odd = replace(images, classes=("$x$", r"$\frac$ <b>", "a_b$"))
    text = figures.svg(figures.image_sheet(odd.pixels[:3], [odd.classes[k] for k in odd.labels[:3].tolist()]))
    shown = "".join(ElementTree.fromstring(text).itertext())
    assert "$x$" in shown and r"$\frac$ <b>" in shown and "a b$" in shown


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return image_set()


@pytest.fixture(scope="module")
def runs(images: ImageSet) -> dict[str, Trained]:
    return {role: random_run(role, seed, images) for seed, role in enumerate(("teacher", "baseline", "student"))}


def texts(figure: Figure) -> set[str]:
    return {t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text()}


def boxes(ax: mpl.axes.Axes, colour: str | None = None) -> list[tuple[float, float, float, float]]:
    """x0, y0, x1, y1 of the axes' rectangles, of one colour if given."""
    return [
        (p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height())
        for p in ax.patches
        if isinstance(p, Rectangle) and colour in (None, to_hex(p.get_edgecolor()).upper())
    ]


def metric_rows() -> pd.DataFrame:
    """Teacher, baseline, student: three seeds; value = seed for AAP, so mean 1, least 0, most 2."""
    rows = []
    for seed in range(3):
        for role in ("teacher", "baseline", "student"):
            for tau in (0.1, 1.0, inf):
                rows.append((role, "paper", seed, "aap", tau, float(seed)))
                if role != "teacher":
                    rows += [
                        (role, "paper", seed, "ajs", tau, 0.2 * seed),
                        (role, "paper", seed, "ajs_floor", tau, 0.1),
                    ]
            rows.append((role, "paper", seed, "top1", np.nan, 0.5 + 0.1 * seed))
        rows.append(("teacher", "paper", seed, "ajs_second_teacher", inf, 0.7))
        rows.append(("control", "linear", seed, "top1", np.nan, 0.9))
    frame = pd.DataFrame(rows, columns=["role", "variant", "seed", "metric", "tau", "value"])
    return frame.assign(study="quick", triple="a-b", stage="tuned")


def history(rounds: int = 1) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for number in range(rounds):
        for phase, epochs in (("warm", 2 if not number else 0), ("joint", 3)):
            for epoch in range(epochs):
                losses = {"loss": 3.0, "ce": 1.0, "cluster": 0.5, "separation": 0.0, "ppc": 0.2}
                rows.append({"phase": phase, "epoch": epoch + 1, **losses, "accuracy": 0.5, "validation": 0.4})
        rows += [
            {"phase": "push", "epoch": 1, "validation": 0.3},
            {"phase": "decision", "epoch": 1, "validation": 0.6},
        ]
    return pd.DataFrame(rows)


def budget_rows() -> pd.DataFrame:
    rows = [
        ("a-b", role, passes, seed, passes == 40, 0.5, 0.4, 0.6, 0.7 if role == "student" else np.nan, 0.3, 0.2)
        for role in ("baseline", "student")
        for passes in (3, 40, 80)
        for seed in (0, 1)
    ]
    heads = ["triple", "role", "passes", "seed", "chosen", "top-1, validation", "top-1, after push", "top-1", "R²"]
    return pd.DataFrame(rows, columns=[*heads, "PMS", "PMS, permuted"])


def test_budget_curves_mark_the_passes_of_the_study() -> None:
    figure = figures.budget_curves({"A setting": budget_rows()})
    assert [ax.get_ylabel() for ax in figure.axes] == ["top-1 accuracy (test)", "R² of the add-on map", "PMS"]
    for ax in figure.axes:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "40", "80"]
        assert any(list(line.get_xdata()) == [40, 40] for line in ax.lines)
    colours = {line.get_color() for line in figure.axes[1].lines if len(line.get_xdata()) == 6}
    assert colours == {figures.ROLES["student"]}  # a baseline was never taught: no R²


def test_every_role_has_its_own_colour() -> None:
    assert set(figures.ROLES) == {"teacher", "baseline", "student", "control", "floor", "second teacher"}
    assert len(set(figures.ROLES.values())) == 6


def test_drawing_leaves_the_callers_settings_alone(images: ImageSet) -> None:
    before = dict(mpl.rcParams)
    figures.image_sheet(images.pixels[:2], ["a", "b"])
    assert dict(mpl.rcParams) == before


def test_text_is_at_least_nine_points(images: ImageSet, runs: dict[str, Trained]) -> None:
    drawn = [
        figures.top_k_comparison(runs, images, images.pixels[0], 0, CLASSES, 2),
        figures.tau_curves({"A setting": metric_rows()}),
        figures.seed_dots(metric_rows()),
        figures.training_curves(history(), "run"),
        figures.budget_curves({"A setting": budget_rows()}),
    ]
    for figure in drawn:
        assert figure.get_size_inches()[0] == 8
        assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()) >= 9


def test_saved_svg_is_valid_undated_small_and_the_same_twice(
    tmp_path: Path, images: ImageSet, runs: dict[str, Trained]
) -> None:
    saved = []
    for name in ("a", "b"):
        figures.save(figures.prototype_gallery(runs["teacher"], images, range(6)), tmp_path / f"{name}.svg")
        saved.append((tmp_path / f"{name}.svg").read_bytes())
    assert saved[0] == saved[1]
    assert len(saved[0]) < 500_000 and b"dc:date" not in saved[0]
    assert b"image/jpeg" in saved[0] and b"image/png" not in saved[0]
    ElementTree.fromstring(saved[0])
    assert b"no. 0, Red bird" in saved[0]  # text stays text


def test_large_noisy_images_still_fit() -> None:
    noise = torch.randint(0, 256, (40, 3, 128, 128), generator=torch.Generator().manual_seed(0)).byte()
    assert len(figures.svg(figures.image_sheet(noise, ["noise"] * 40))) < 500_000


def test_image_sheet_colours_parts_as_its_legend_says(images: ImageSet) -> None:
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    masks[0, 4, 6], masks[0, 20, 25] = 1, 2
    figure = figures.image_sheet(images.pixels[:3], ["001.Red_bird", "b", "c"], masks, ("beak", "wing"))
    assert len(figure.axes) == 3 and figure.axes[0].get_title() == "Red bird"
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["beak", "wing"]
    plain, coloured = (np.asarray(image.get_array()) for image in figure.axes[0].images)
    assert np.array_equal(plain, images.pixels[0].permute(1, 2, 0).numpy())
    for (y, x), patch in zip(((4, 6), (20, 25)), legend.get_patches(), strict=True):
        assert coloured[y, x] == pytest.approx(np.array(patch.get_facecolor()[:3]) * 255, abs=1)
    assert np.ptp(coloured[0, 0]) == 0  # grey where no part is


def test_augmentation_sheet_has_originals_above_their_copies(images: ImageSet) -> None:
    copies = torch.stack([images.pixels[:4].float() / 255, 1 - images.pixels[:4].float() / 255])
    figure = figures.augmentation_sheet(images.pixels[:4], copies, ["a", "b", "c", "d"])
    assert len(figure.axes) == 12
    assert [ax.get_ylabel() for ax in figure.axes[::4]] == ["original", "copy 1", "copy 2"]
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]
    assert np.array_equal(shown[1], shown[5]) and np.array_equal(shown[1], 255 - shown[9])


def test_gallery_draws_each_box_at_its_pixels(images: ImageSet, runs: dict[str, Trained]) -> None:
    found = runs["teacher"].projection
    figure = figures.prototype_gallery(runs["teacher"], images, [4, 1], columns=2)
    assert [ax.get_title() for ax in figure.axes] == ["no. 4, species 3", "no. 1, Red bird"]
    for j, ax in zip((4, 1), figure.axes, strict=True):
        source = images.pixels[found.images[j]].permute(1, 2, 0).numpy()
        assert np.array_equal(np.asarray(ax.images[0].get_array()), source)
        assert list(ax.images[0].get_extent()) == [0, SIZE, SIZE, 0]
        assert tuple(map(float, found.boxes(runs["teacher"].network.layer, SIZE)[j])) in boxes(ax)
        # The heat map is yellowest, which no grey adds to, in the prototype's own cell.
        shown = np.asarray(ax.images[1].get_array()).astype(float)
        heat = shown[..., 1] - shown[..., 2]
        y, x = divmod(int(heat.argmax()), SIZE)
        cell = SIZE // GRID
        assert (y // cell) * GRID + x // cell == found.cells[j]


def test_gallery_refuses_other_images(images: ImageSet, runs: dict[str, Trained]) -> None:
    with pytest.raises(UserError, match="training split"):
        figures.prototype_gallery(runs["teacher"], images.select(torch.arange(8, -1, -1)), [0])


def test_top_k_shows_what_counts_most_and_frames_those_of_the_teacher(
    images: ImageSet, runs: dict[str, Trained]
) -> None:
    k, image = 3, image_set(seed=5).pixels[0]
    figure = figures.top_k_comparison(runs, images, image, 0, CLASSES, k)
    assert len(figure.axes) == 3 * (1 + 2 * k)
    per_row = np.array(figure.axes, dtype=object).reshape(3, 1 + 2 * k)
    tops = {}
    for row, (role, trained) in zip(per_row, runs.items(), strict=True):
        z = trained.network.addon(trained.network.trunk(image[None]))[0].flatten(1).T  # (HW, D)
        d = (z[:, None] - trained.network.prototypes).square().sum(2)  # (HW, P)
        similar = torch.log((d.min(0).values + 1) / (d.min(0).values + 1e-4))
        weight = trained.network.decision.weight
        terms = similar * weight[(weight @ similar).argmax()]  # they add up to the predicted class's logit
        tops[role] = terms.argsort(descending=True)[:k].tolist()
        assert [ax.get_title().split("\n")[0] for ax in row[1::2]] == [
            f"{r + 1}: no. {j}" for r, j in enumerate(tops[role])
        ]
        colour = figures.ROLES[role]
        for rank, (j, ax) in enumerate(zip(tops[role], row[2::2], strict=True)):
            said = ax.get_xlabel(), row[0].get_xlabel().rpartition("logit ")[2]
            adds, logit = (float(part.replace("−", "-")) for part in said)
            assert (adds, logit) == pytest.approx((terms[j].item(), terms.sum().item()), abs=0.006)
            answer = trained.network(image[None])  # the same floats: a pixel may sit on the box's threshold
            maps = distance_map(answer.z, trained.network.prototypes[tops[role]])[0, [rank]]
            where = activation_boxes(similarity(maps), d[:, j].argmin()[None], SIZE)[0]
            assert boxes(ax, colour) == [tuple(map(float, where))]
            assert boxes(ax, colour)[0] in boxes(row[0], colour)
            framed = ax.spines["left"].get_visible()
            assert framed == (role != "teacher" and j in tops["teacher"])
        assert row[0].title.get_text() == "" and row[0].get_title("left").startswith(role)
    dashed = [p for p in per_row[2, 0].patches if to_hex(p.get_edgecolor()).upper() == figures.ROLES["teacher"]]
    assert len(dashed) == k
    assert "boxes of the teacher" in texts(figure)


def test_numbers_of_boxes_on_one_place_stand_at_different_corners() -> None:
    boxes = torch.tensor([[40.0, 40, 80, 80], [41, 40, 80, 80], [40, 42, 80, 80], [40, 40, 82, 81], [2, 2, 20, 20]])
    found = look.corners(boxes, 100)
    assert found[0] == (40, 40) and found[4] == (2, 2)
    for i, (x, y) in enumerate(found):
        assert (x, y) in [(boxes[i, a].item(), boxes[i, b].item()) for a in (0, 2) for b in (1, 3)]
        assert all(max(abs(x - other[0]), abs(y - other[1])) > 9 for other in found[:i])


def test_top_k_of_a_network_with_itself_shares_everything(images: ImageSet, runs: dict[str, Trained]) -> None:
    same = {"teacher": runs["teacher"], "student": runs["teacher"]}
    figure = figures.top_k_comparison(same, images, images.pixels[1], 1, CLASSES, 2)
    assert not any("of 2 prototypes" in text for text in texts(figure))  # all that the class has: nothing to count
    assert any(f"{n} of {n} cells" in text for text in texts(figure) for n in (1, 2))
    one = figures.top_k_comparison(same, images, images.pixels[1], 1, CLASSES, 1)
    assert any("1 of 1 prototypes, 1 of 1 cells" in text for text in texts(one))
    assert all(ax.spines["left"].get_visible() for ax in figure.axes[6:])


def test_matched_patches_put_teacher_left_and_student_right(images: ImageSet, runs: dict[str, Trained]) -> None:
    figure = figures.matched_patches(runs["teacher"], runs["student"], images, [(0, 5, 0.75), (2, 2, 0.5)])
    ax = figure.axes[0]
    assert "same cell in 75%" in ax.get_title() and "Red bird → species 3" in ax.get_title()
    (left,), (right,) = (boxes(ax, figures.ROLES[role]) for role in ("teacher", "student"))
    assert left == tuple(map(float, runs["teacher"].projection.boxes(runs["teacher"].network.layer, SIZE)[0]))
    start = ax.images[1].get_extent()[0]
    assert start > SIZE
    x0, y0, x1, y1 = map(float, runs["student"].projection.boxes(runs["student"].network.layer, SIZE)[5])
    assert right == pytest.approx((x0 + start, y0, x1 + start, y1))
    assert "→" not in figure.axes[1].get_title().split("\n")[1]  # one class, named once


def test_choose_matches_takes_best_median_and_worst() -> None:
    matches = [(i, i, i / 10) for i in range(10)]
    assert [i for i, _, _ in figures.choose_matches(matches, 1)] == [9, 5, 0]
    assert [i for i, _, _ in figures.choose_matches(matches[:2], 1)] == [1, 0]


def test_nearest_patches_are_in_order_with_the_matched_cell(images: ImageSet, runs: dict[str, Trained]) -> None:
    (table,) = respond(runs["student"].network, images.pixels)
    figure = figures.nearest_patches(runs["student"], table, images.pixels, [1, 4], n=3)
    assert len(figure.axes) == 6 and figure.axes[3].get_ylabel() == "no. 4"
    order = sorted(range(len(images)), key=lambda n: float(table.distances[n, 4]))[:3]
    for n, ax in zip(order, figure.axes[3:], strict=True):
        assert np.array_equal(np.asarray(ax.images[0].get_array()), images.pixels[n].permute(1, 2, 0).numpy())
        y, x = divmod(int(table.cells[n, 4]), GRID)
        assert boxes(ax, figures.ROLES["student"]) == [(x * 8, y * 8, x * 8 + 8, y * 8 + 8)]


def test_tau_curves_average_seeds_and_end_in_infinity() -> None:
    figure = figures.tau_curves({"A setting": metric_rows()})
    aap, ajs = figure.axes
    for ax in (aap, ajs):
        assert [t.get_text() for t in ax.get_xticklabels()] == ["0.1", "1", "∞"]
        assert list(ax.get_xticks()) == [0, 1, 2] and "τ" in ax.get_xlabel()
    assert aap.get_ylabel() == "AAP (cells per image)"
    assert [line.get_color() for line in aap.lines] == [figures.ROLES[r] for r in ("teacher", "baseline", "student")]
    assert all(list(line.get_ydata()) == [1, 1, 1] for line in aap.lines)
    band = aap.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0, 2)
    assert [line.get_linestyle() for line in ajs.lines] == ["-", "-", "--", ":"]
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names == ["teacher", "baseline", "student", "floor", "second teacher"]
    assert "∞" in figures.svg(figure)


def test_mixed_settings_are_refused_not_averaged() -> None:
    two = pd.concat([metric_rows(), metric_rows().assign(triple="c-d")])
    for draw in (lambda rows: figures.tau_curves({"A setting": rows}), figures.seed_dots):
        with pytest.raises(UserError, match="'triple'.*a-b, c-d"):
            draw(two)
    with pytest.raises(UserError, match="no rows of pms"):
        figures.seed_dots(metric_rows(), ["pms"])


def test_seed_dots_have_a_dot_a_seed() -> None:
    figure = figures.seed_dots(metric_rows(), ["top1", "ajs"])
    top1, ajs = figure.axes
    assert [t.get_text() for t in top1.get_yticklabels()] == ["teacher", "baseline", "student", "linear"]
    dots = [line for line in top1.lines if line.get_marker() == "o"]
    assert [line.get_color() for line in dots] == [
        figures.ROLES[r] for r in ("teacher", "baseline", "student", "control")
    ]
    assert sorted(dots[0].get_xdata()) == pytest.approx([0.5, 0.6, 0.7])
    means = [line for line in top1.lines if line.get_marker() != "o"]
    assert list(means[0].get_xdata()) == pytest.approx([0.6, 0.6])
    assert ajs.get_xlabel() == "AJS at τ = ∞" and top1.get_xlabel() == "top-1 accuracy"
    levels = {
        line.get_label(): line.get_xdata()[0] for line in ajs.lines if line.get_label() in ("floor", "second teacher")
    }
    assert levels == {"floor": pytest.approx(0.1), "second teacher": pytest.approx(0.7)}


@pytest.mark.parametrize("rounds", [1, 2])
def test_training_curves_mark_phases_push_and_decision(rounds: int) -> None:
    figure = figures.training_curves(history(rounds), "a run")
    loss, accuracy = figure.axes
    assert loss.get_yscale() == "log" and loss.get_xlabel() == accuracy.get_xlabel() == "epoch"
    drawn = {line.get_label(): line for line in loss.lines if not line.get_label().startswith("_")}
    assert set(drawn) == {"total", "cross-entropy", "cluster", "PPC"}  # separation is zero, global is absent
    assert list(drawn["total"].get_xdata()) == list(range(1, 3 * rounds + 3))
    labels = {t.get_text() for t in accuracy.get_legend().get_texts()}
    assert labels >= {"validation", "after push", "after decision", "warm phase", "joint phase"}
    points = {line.get_label(): line for line in accuracy.lines}
    assert list(points["after push"].get_xdata()) == [5.5, 8.5][:rounds]
    assert list(points["after decision"].get_ydata()) == [0.6] * rounds
    assert "a run" in texts(figure)


def test_a_students_curves_show_how_far_it_has_followed() -> None:
    rows = history().assign(r2=[-3, -1, 0, 0.2, 0.4, None, None], r2_validation=[-2, -1, 0, 0.1, 0.3, 0.3, 0.3])
    followed = figures.training_curves(rows).axes[2]
    points = {line.get_label(): list(line.get_ydata()) for line in followed.lines}
    assert points["training (augmented)"] == [-3, -1, 0, 0.2, 0.4] and points["validation"] == [-2, -1, 0, 0.1, 0.3]
    assert followed.get_ylim() == (-1.02, 1.02) and "R²" in followed.get_ylabel()  # what is far below 0 is cut off


def test_training_curves_of_a_network_without_prototypes() -> None:
    plain = history().query("phase == 'joint'")[["phase", "epoch", "ce", "loss", "accuracy", "validation"]]
    figure = figures.training_curves(plain)
    assert "after push" not in texts(figure) and "cross-entropy" in texts(figure)
