"""Projection against brute force over every own-class patch of the training images."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from bounds import distance_rounding, rounding
from torch import Tensor

from p2p.networks import similarity
from p2p.projection import (
    Projection,
    activation_boxes,
    distinct_patches,
    find_patches,
    projection_error,
    push,
    same_source,
)
from p2p.prototypes import class_patches
from p2p.training.build import build_network

pytestmark = pytest.mark.numeric
NETWORK = 9 * rounding(96 * 9)  # of an add-on map in float32: nine layers, at most 96 channels of 3×3 weights


@pytest.fixture
def network(tiny):
    """Untrained but for moving BatchNorm statistics, in training mode; its map so uneven that no two patches tie."""
    network = build_network(tiny, 4)
    with torch.no_grad():
        network.addon[2].weight *= 20
    network.train()
    network(torch.rand(8, 3, 32, 32))
    return network


def all_patches(network, pixels: Tensor) -> Tensor:
    """(N, HW, D) add-on vectors of each image on its own, in eval mode."""
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        maps = [network(image[None]).z[0].flatten(1).T for image in pixels]
    return torch.stack(maps)


def test_push_stores_the_nearest_own_class_patch(network, birds):
    train = birds.subset("train")
    patches, before = all_patches(network, train.pixels).double(), network.prototypes.detach().double()
    found = push(network, train.pixels, train.labels, batch_size=5)
    bound = distance_rounding(patches.flatten(0, 1), before, NETWORK)
    for j in range(len(before)):
        own = {}
        for n in range(len(train)):
            if int(train.labels[n]) != j // 2:
                continue
            for cell in range(16):
                own[n, cell] = (patches[n, cell] - before[j]).square().sum().item()
        nearest, (image, cell) = min(own.values()), (int(found.images[j]), int(found.cells[j]))
        assert found.distances[j].item() == pytest.approx(nearest, abs=bound)
        mine = patches[found.images[j], found.cells[j]]
        assert train.labels[found.images[j]] == j // 2
        assert own[image, cell] <= nearest + bound  # no own-class patch is nearer
        torch.testing.assert_close(network.prototypes[j].double(), mine, rtol=0, atol=NETWORK)
        own_map = (patches[image] - mine).square().sum(1).view(4, 4)
        torch.testing.assert_close(
            found.maps[j].double(), own_map, rtol=0, atol=distance_rounding(patches[image], mine[None], NETWORK)
        )
        assert own_map.max() > 1e-2
        assert found.maps[j].flatten()[cell] == 0
    assert torch.equal(network.prototypes, found.patches)


def test_batch_size_changes_nothing(network, birds):
    train = birds.subset("train")
    results = [find_patches(network, train.pixels, train.labels, size) for size in (1, 7, 1000)]
    bound = distance_rounding(all_patches(network, train.pixels).flatten(0, 1), results[0].patches, NETWORK)
    for other in results[1:]:
        assert torch.equal(results[0].images, other.images) and torch.equal(results[0].cells, other.cells)
        torch.testing.assert_close(results[0].patches, other.patches, rtol=0, atol=NETWORK)
        torch.testing.assert_close(results[0].maps, other.maps, rtol=0, atol=bound)


@pytest.mark.parametrize("batch_size", [2, 100])
def test_of_equal_patches_the_first_image_wins(network, birds, batch_size):
    train = birds.subset("train")
    first = find_patches(network, train.pixels, train.labels, batch_size)
    n = len(train)
    twice = find_patches(network, train.pixels.repeat(2, 1, 1, 1), train.labels.repeat(2), batch_size)
    assert torch.equal(first.images, twice.images) and int(twice.images.max()) < n


def test_finding_leaves_the_network_alone(network, birds):
    train = birds.subset("train")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    find_patches(network, train.pixels, train.labels)
    assert network.training and network.addon.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    network.eval()
    found = push(network, train.pixels, train.labels)
    assert not network.training
    changed = {k for k, v in network.state_dict().items() if not torch.equal(before[k], v)}
    assert changed == {"prototypes"}
    assert projection_error(network, train.pixels, found) < 8**0.5 * NETWORK


def test_projection_error(network, birds):
    train = birds.subset("train")
    found = push(network, train.pixels, train.labels)
    for batch_size in (3, 64):
        assert projection_error(network, train.pixels, found, batch_size) < 8**0.5 * NETWORK
    with torch.no_grad():
        network.prototypes[5] += 0.25  # one of many: a mean would hide it
    shift = projection_error(network, train.pixels, found)
    assert shift == pytest.approx(0.25 * 8**0.5, abs=8**0.5 * NETWORK)
    with torch.no_grad():
        network.prototypes[5] -= 0.25
        network.addon[2].bias += 0.1
    assert projection_error(network, train.pixels, found) > 1e-3
    assert network.training


def test_projection_error_sees_drifting_statistics(network, birds):
    """A8: passes in training mode move BatchNorm's statistics, and prototypes are no patches any more."""
    train = birds.subset("train")
    found = push(network, train.pixels, train.labels)
    network.train()
    with torch.no_grad():
        for _ in range(5):
            network(train.pixels[:16])
    assert projection_error(network, train.pixels, found) > 1e-3


def test_boxes_hold_the_peak(network, birds):
    train = birds.subset("train")
    found = find_patches(network, train.pixels, train.labels)
    for percentile in (80.0, 95.0, 99.5):
        boxes = found.boxes(network.layer, 32, percentile)
        assert boxes.shape == (8, 4) and boxes.dtype == torch.int64
        for j, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            y, x = divmod(int(found.cells[j]), 4)
            assert 0 <= x0 <= (x + 0.5) * 8 < x1 <= 32
            assert 0 <= y0 <= (y + 0.5) * 8 < y1 <= 32
    small, large = (found.boxes(network.layer, 32, percentile) for percentile in (99.0, 70.0))
    area = [((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])).sum() for b in (small, large)]
    assert area[0] < area[1]


def test_a_box_covers_its_own_blob_only():
    maps = torch.full((1, 8, 8), 5.0)
    maps[0, 1, 1] = maps[0, 6, 6] = 0.0  # two equal peaks; the prototype's cell is the second
    x0, y0, x1, y1 = activation_boxes(similarity(maps), torch.tensor([6 * 8 + 6]), 64)[0].tolist()
    assert 40 <= x0 <= 52 <= x1 <= 64 and 40 <= y0 <= 52 <= y1 <= 64


def test_class_patches_are_own_class_patches(network, birds):
    train = birds.subset("train")
    patches = all_patches(network, train.pixels)
    chosen = class_patches(network, train.pixels, train.labels, seed=4)
    assert chosen.shape == network.prototypes.shape and network.training
    for j, row in enumerate(chosen):
        own = patches[train.labels == j // 2].flatten(0, 1)
        assert (own - row).norm(dim=1).min() < 8**0.5 * NETWORK
    again = class_patches(network, train.pixels, train.labels, seed=4)
    other = class_patches(network, train.pixels, train.labels, seed=5)
    assert torch.equal(chosen, again) and not torch.equal(chosen, other)


def test_class_patches_of_fewer_patches_than_prototypes(tiny, birds):
    """A rehearsal on one image a class: some prototypes start alike, none is missing."""
    params = tiny.model_copy(update={"prototypes_per_class": 20})
    network = build_network(params, 4)
    train = birds.subset("train")
    one = torch.stack([(train.labels == k).nonzero()[0, 0] for k in range(4)])
    chosen = class_patches(network, train.pixels[one], train.labels[one], seed=0)
    assert chosen.shape == network.prototypes.shape


def test_a_distinct_push_is_the_best_one_without_a_patch_twice(network, birds):
    """Against every assignment of the patches of one class, tried one by one; both prototypes want the same patch."""
    train = birds.subset("train")
    with torch.no_grad():
        network.prototypes[:] = network.prototypes[::2].repeat_interleave(2, 0)
    nearest = find_patches(network, train.pixels, train.labels)
    assert nearest.distinct() == 4
    found = distinct_patches(network, train.pixels, train.labels)
    assert found.distinct() == 8
    for k in range(4):
        own = (train.labels == k).nonzero()[:, 0]
        patches = all_patches(network, train.pixels[own]).double()
        cost = (
            (network.prototypes[2 * k : 2 * k + 2].detach().double()[:, None] - patches.flatten(0, -2)).square().sum(2)
        )
        best = min(float(cost[0, a] + cost[1, b]) for a in range(cost.shape[1]) for b in range(cost.shape[1]) if a != b)
        assert found.distances[2 * k : 2 * k + 2].sum().item() == pytest.approx(best, rel=1e-4, abs=1e-5)
        assert (train.labels[found.images[2 * k : 2 * k + 2]] == k).all()
    before = network.prototypes.detach().clone()
    pushed = push(network, train.pixels, train.labels, how="distinct")
    assert torch.equal(network.prototypes, pushed.patches) and not torch.equal(before, pushed.patches)
    assert projection_error(network, train.pixels, pushed) < 1e-4
    assert (pushed.maps.flatten(1).gather(1, pushed.cells[:, None]) < 1e-5).all()


def test_distinct_patches_need_patches_enough(network, birds, refuses):
    one = birds.subset("train").select(torch.tensor([0]))
    network.own = torch.ones(1, 17, dtype=torch.bool)
    network.prototypes = torch.nn.Parameter(torch.rand(17, 8))
    with refuses("16 patches for 17 prototypes", "prototypes_per_class"):
        distinct_patches(network, one.pixels, torch.zeros(1, dtype=torch.int64))


def test_same_source_counts_patches_and_images_and_knows_chance():
    def projection(images: list[int], cells: list[int]) -> Projection:
        none = torch.zeros(len(images), 1)
        return Projection(torch.tensor(images), torch.tensor(cells), none[:, 0], none, none[:, None])

    teacher, student = projection([0, 0, 5, 6], [1, 2, 3, 4]), projection([0, 1, 5, 6], [1, 2, 9, 4])
    found = same_source(teacher, student, 2)
    assert (found.patch, found.image) == (0.5, 0.75)  # number 0 and 3; and 2, whose cell differs
    orders = itertools.product(*[list(itertools.permutations((a, a + 1))) for a in (0, 2)])
    shuffled = [
        same_source(teacher, projection([[0, 1, 5, 6][j] for j in order], [[1, 2, 9, 4][j] for j in order]), 2)
        for order in (sum(pair, ()) for pair in orders)
    ]
    assert found.patch_chance == pytest.approx(sum(s.patch for s in shuffled) / 4)
    assert found.image_chance == pytest.approx(sum(s.image for s in shuffled) / 4)
