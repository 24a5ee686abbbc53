"""Birds: an image stands alone, is redrawn with all else equal, truly masked; no part gives a class away."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from bounds import rounding

from p2p.data.birds import Birds, _layers, _uniforms, draw
from p2p.data.species import PARTS, VARIANTS, class_table, look_alikes
from p2p.data.strokes import Layer, paint, stroke_array
from p2p.errors import UserError

pytestmark = pytest.mark.numeric

TABLE = class_table(8, seed=0)


def birds(count: int = 40, size: int = 48, start: int = 0, **options) -> Birds:
    labels = torch.arange(count) % 8
    return draw(labels, torch.arange(start, start + count), TABLE, size, seed=3, **options)


def same(one: Birds, other: Birds) -> bool:
    fields = ("pixels", "masks", "parts", "boxes")
    return all(torch.equal(getattr(one, field), getattr(other, field)) for field in fields)


def grown(mask: torch.Tensor, by: int) -> torch.Tensor:
    """Mask (B, S, S) and every pixel within `by` of it."""
    return torch.nn.functional.max_pool2d(mask.float()[:, None], 2 * by + 1, 1, by)[:, 0] > 0


def changes_stay_near(changed: torch.Tensor, mask: torch.Tensor, strays: int = 0) -> bool:
    """Changes lie on the mask and its soft outline; sharp tips and gaps at crossings lie a little off.

    Where leaves lie over a part, single pixels (`strays`) of it shine through their soft edges and are in no mask.
    """
    near, far = changed[~grown(mask, 2)].sum(), changed[~grown(mask, 5)].sum()
    return bool(near < (0.01 if strays else 0.005) * changed.sum()) and int(far) <= strays


# --- classes


@pytest.mark.parametrize("classes", [4, 5, 6, 7, 8, 9, 11, 50, 200])
def test_classes_differ_in_two_parts_and_share_every_variant(classes):
    table = class_table(classes, seed=1).tolist()
    for i, row in enumerate(table):
        for other in table[:i]:
            assert sum(a != b for a, b in zip(row, other, strict=True)) >= 2
    for q, part in enumerate(PARTS):
        column = [row[q] for row in table]
        assert set(column) <= set(range(len(VARIANTS[part])))
        assert len(set(column)) >= 2 and min(column.count(variant) for variant in set(column)) >= 2


def test_eight_classes_use_every_variant_and_pairs_are_far_apart():
    for seed in range(5):
        table = class_table(8, seed)
        assert all(len(set(table[:, q].tolist())) == len(VARIANTS[part]) for q, part in enumerate(PARTS))
        differ = (table[:, None] != table[None]).sum(-1) + 9 * torch.eye(8, dtype=torch.int64)
        assert differ.min() >= 4


def test_class_table_is_deterministic_and_seeded():
    assert torch.equal(class_table(20, 5), class_table(20, 5))
    assert not torch.equal(class_table(20, 5), class_table(20, 6))
    assert class_table(1, 0).shape == (1, len(PARTS)) and class_table(1024, 0).unique(dim=0).shape[0] == 1024


@pytest.mark.parametrize("classes", [2, 5, 8, 16, 40, 200])
def test_look_alikes_differ_in_a_beak_or_a_crest_alone(classes):
    table = look_alikes(classes, seed=1)
    assert table.shape == (classes, len(PARTS)) and len(table.unique(dim=0)) == classes
    for i in range(0, classes - 1, 2):
        (q,) = (table[i] != table[i + 1]).nonzero().flatten().tolist()
        assert PARTS[q] == ("beak", "crest")[i // 2 % 2]
    assert torch.equal(table[::2], class_table(-(-classes // 2), seed=1))


# --- random numbers and strokes, against slow references


def test_uniforms_are_splitmix64():
    full = 2**64 - 1

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & full
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & full
        return x ^ (x >> 31)

    golden, got = 0x9E3779B97F4A7C15, _uniforms(11, np.array([0, 7, 123456789]), 5)
    for row, index in zip(got, (0, 7, 123456789), strict=True):
        key = mix((mix((11 + golden) & full) ^ index) + golden & full)
        for slot, value in enumerate(row, 1):
            assert value == (mix(key + golden * slot & full) >> 11) / 2**53
    many = _uniforms(0, np.arange(4000), 8)
    assert abs(many.mean(0) - 0.5).max() < 0.02 and abs(np.corrcoef(many.T) - np.eye(8)).max() < 0.06


def test_a_stroke_covers_what_its_definition_says():
    stroke, size = (-0.5, -0.2, 0.45, 0.3, 0.2, 0.05, 0.06, 0.15), 40
    canvas, base = torch.zeros(1, 3, size, size), torch.zeros(1, size, size)
    mask = base.byte()
    paint(canvas, mask, base, Layer(stroke_array([stroke]), np.ones((1, 3)), code=7, rim=0.0))
    ax, ay, bx, by, ra, rb, bulge, bend = stroke
    length = math.hypot(bx - ax, by - ay)
    ex, ey = (bx - ax) / length, (by - ay) / length
    for i in range(size):
        for j in range(size):
            x, y = (2 * j + 1) / size - 1 - ax, (2 * i + 1) / size - 1 - ay
            u, v = x * ex + y * ey, y * ex - x * ey
            t = min(max(u / length, 0.0), 1.0)
            radius = ra + t * (rb - ra) + 4 * bulge * t * (1 - t)
            distance = math.hypot(u - t * length, v - bend * t * t) - radius
            alpha = min(max(0.5 - distance * size / 2, 0.0), 1.0)
            assert canvas[0, 0, i, j].item() == pytest.approx(alpha, abs=rounding(16, size / 2))
            assert mask[0, i, j].item() == (7 if alpha > 0.5 else 0) or abs(alpha - 0.5) < rounding(16, size / 2)


# --- images


@pytest.mark.parametrize("size", [37, 64])
def test_an_image_does_not_depend_on_its_batch(size):
    together = birds(70, size)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    shuffled = draw(order % 8, order, TABLE, size, seed=3)
    assert torch.equal(shuffled.pixels, together.pixels[order])
    assert torch.equal(shuffled.masks, together.masks[order])
    for i in (0, 13, 69):
        alone = draw(torch.tensor([i % 8]), torch.tensor([i]), TABLE, size, seed=3)
        for field in ("pixels", "masks", "parts", "boxes"):
            assert torch.equal(getattr(alone, field)[0], getattr(together, field)[i])


def test_seed_and_index_change_the_image_and_shapes_are_as_documented():
    one, other = birds(8), draw(torch.arange(8), torch.arange(8), TABLE, 48, seed=4)
    assert (one.pixels != other.pixels).flatten(1).any(1).all()
    assert (one.pixels != birds(8, start=8).pixels).flatten(1).any(1).all()
    assert one.pixels.shape == (8, 3, 48, 48) and one.pixels.dtype == torch.uint8
    assert one.masks.shape == (8, 48, 48) and one.masks.dtype == torch.uint8
    assert one.parts.shape == (8, len(PARTS), 3) and one.parts.dtype == torch.float32
    assert one.boxes.shape == (8, 4) and one.boxes.dtype == torch.float32
    empty = draw(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), TABLE, 48, seed=3)
    assert empty.pixels.shape == (0, 3, 48, 48) and empty.parts.shape == (0, len(PARTS), 3)


@pytest.mark.parametrize("hardness", [0.0, 1.0])
@pytest.mark.parametrize("part", PARTS)
def test_removing_a_part_changes_that_part_and_nothing_else(part, hardness):
    code = PARTS.index(part) + 1
    full, cut = birds(hardness=hardness), birds(without=part, hardness=hardness)
    had = full.masks == code
    changed = (full.pixels != cut.pixels).any(1)
    assert changes_stay_near(changed, had, strays=4 if hardness else 0)
    assert changed[had].float().mean() > 0.98  # the mask is where the part really shows
    assert not (cut.masks == code).any() and (cut.parts[:, code - 1] == 0).all()
    assert torch.equal(full.masks[~had], cut.masks[~had])


@pytest.mark.parametrize("part", PARTS)
def test_exchanging_a_part_is_drawing_another_class_and_changes_nothing_else(part):
    q = PARTS.index(part)
    for variant in range(len(VARIANTS[part])):
        full, new = birds(16), birds(16, exchange={part: variant})
        table = TABLE.clone()
        table[:, q] = variant
        assert same(new, draw(torch.arange(16) % 8, torch.arange(16), table, 48, seed=3))
        kept = TABLE[torch.arange(16) % 8, q] == variant
        changed = (full.pixels != new.pixels).any(1)
        assert not changed[kept].any() and changed[~kept].flatten(1).any(1).all()
        assert changes_stay_near(changed, (full.masks == q + 1) | (new.masks == q + 1))


def test_nuisances_do_not_tell_the_class():
    index = torch.arange(24)
    one, other = (draw(torch.full((24,), label), index, TABLE, 48, seed=3) for label in (0, 1))
    elsewhere = ~grown((one.masks > 0) | (other.masks > 0), 2)
    assert elsewhere.float().mean() > 0.4
    assert not ((one.pixels != other.pixels).any(1) & elsewhere).any()


def test_parts_and_boxes_against_a_slow_reference():
    drawn = birds(12)
    for b in range(12):
        for q in range(len(PARTS)):
            ys, xs = np.nonzero(drawn.masks[b].numpy() == q + 1)
            if len(xs) >= 3:
                centre = [xs.mean() + 0.5, ys.mean() + 0.5, 1]
                assert drawn.parts[b, q].tolist() == pytest.approx(centre, abs=rounding(len(xs), 48))
            else:
                assert drawn.parts[b, q].tolist() == [0, 0, 0]
        x0, y0, x1, y1 = drawn.boxes[b].tolist()
        ys, xs = np.nonzero(drawn.masks[b].numpy())
        assert 0 <= x0 <= xs.min() and xs.max() < x1 <= 48 and 0 <= y0 <= ys.min() and ys.max() < y1 <= 48
        assert (x1 - x0) * (y1 - y0) < 48 * 48


def test_every_variant_is_big_enough_to_see_at_64_pixels_and_looks_its_own():
    for q, part in enumerate(PARTS):
        means = []
        for variant in range(len(VARIANTS[part])):
            drawn = birds(40, 64, exchange={part: variant})
            area = (drawn.masks == q + 1).flatten(1).sum(1).float()
            assert area.median() >= 25 and drawn.parts[:, q, 2].mean() >= 0.9
            where = (drawn.masks == q + 1)[:, None].expand(-1, 3, -1, -1)
            means.append(torch.stack([drawn.pixels[:, c][where[:, c]].float().mean() for c in range(3)]))
        gaps = torch.cdist(torch.stack(means), torch.stack(means)) + 999 * torch.eye(len(means))
        assert gaps.min() > 25


def test_mirror_and_occlusion_happen_as_often_as_they_should():
    drawn = draw(torch.zeros(400, dtype=torch.int64), torch.arange(400), TABLE, 32, seed=0)
    beak, tail = drawn.parts[:, PARTS.index("beak")], drawn.parts[:, PARTS.index("tail")]
    both = (beak[:, 2] > 0) & (tail[:, 2] > 0)
    assert both.float().mean() > 0.9
    assert 0.4 < (beak[both, 0] > tail[both, 0]).float().mean() < 0.6
    *_, leaf = _layers(TABLE[[0] * 400].numpy(), iter(_uniforms(0, np.arange(400), 96).T), None)
    assert 0.2 < (leaf.strokes[:, 0, 0] < 2).mean() < 0.3  # the leaf in front of the bird, where it is in the frame
    assert leaf.code == 0


def test_hardness_turns_shrinks_hides_and_litters():
    """Of one class, image by image: a hard bird is smaller and turned more, and loose parts lie outside every mask."""
    labels, index = torch.zeros(200, dtype=torch.int64), torch.arange(200)
    plain, hard = (draw(labels, index, TABLE, 64, seed=0, hardness=h) for h in (0.0, 1.0))
    area = [(b.boxes[:, 2] - b.boxes[:, 0]) * (b.boxes[:, 3] - b.boxes[:, 1]) for b in (plain, hard)]
    assert area[1].mean() < 0.9 * area[0].mean()
    hidden = [1 - b.parts[:, :, 2].mean().item() for b in (plain, hard)]
    assert hidden[0] < hidden[1] < 0.2
    layers = list(_layers(TABLE[[0] * 200].numpy(), iter(_uniforms(0, np.arange(200), 128).T), None, 0.5))
    loose = [layer for layer in layers if layer.code == 0 and layer.accent is not None]
    assert len(loose) == 4  # a beak, a crest, a foot and a tail
    for layer in loose:
        assert 0.4 < (np.abs(layer.strokes[:, 0, 0]) < 3).mean() < 0.6  # half of them in the frame
    assert (hard.masks > 0).flatten(1).any(1).all()
    again = draw(labels[3:5], index[3:5], TABLE, 64, seed=0, hardness=1.0)
    assert torch.equal(again.pixels, hard.pixels[3:5])  # whatever the batch


def test_a_cpu_without_vector_units_draws_the_same_birds(tmp_path):
    """As `test_a_gpu_draws_the_same_birds`, on any machine."""
    program = "import sys, torch, test_birds; torch.save(test_birds.birds(16, 64).pixels, sys.argv[1])"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, tmp_path / "birds.pt"], env=environment, check=True)
    plain = torch.load(tmp_path / "birds.pt")
    assert (plain.int() - birds(16, 64).pixels.int()).abs().max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_birds():
    on_gpu = birds(16, 64, device="cuda")
    assert (on_gpu.pixels.cpu().int() - birds(16, 64).pixels.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"without": "ear"}, "ear"),
        ({"exchange": {"ear": 0}}, "ear"),
        ({"exchange": {"beak": 9}}, "beak"),
        ({"size": 4}, "size 4"),
        ({"labels": torch.tensor([8])}, "0 to 7"),
        ({"labels": torch.tensor([0, 1])}, "one index per label"),
    ],
)
def test_mistakes_are_told(options, word):
    zero = torch.tensor([0])
    with pytest.raises(UserError, match=word):
        draw(**{"labels": zero, "index": zero, "table": TABLE, "size": 32, "seed": 0, **options})


@pytest.mark.parametrize("classes", [0, 1025])
def test_an_impossible_number_of_classes_is_told(classes):
    with pytest.raises(UserError, match="1 to 1024"):
        class_table(classes, 0)
