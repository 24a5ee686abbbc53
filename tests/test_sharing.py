"""Merging prototypes against a slow version that goes step by step, and what is written and drawn of it."""

from __future__ import annotations

import copy

import pytest
import torch

from p2p.networks import ProtoNet
from p2p.sharing import count_at, disagreement, joined, merge_order, merged_into, share


def slow_merge(activations: torch.Tensor, keep: int, percent: float) -> list[int]:
    """In steps: all pairs of those that are there are compared anew, and the most similar ones are merged."""
    stands_for = {j: [j] for j in range(activations.shape[1])}
    while len(stands_for) > keep:
        pairs = []
        for i in stands_for:
            for j in stands_for:
                if i < j:
                    difference = sum((a - b) ** 2 for a, b in zip(activations[:, i], activations[:, j], strict=True))
                    pairs.append((1 / float(difference), i, j))
        pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
        for _, stays, goes in pairs[: max(1, int(percent / 100 * len(pairs)))]:
            if stays in stands_for and goes in stands_for and len(stands_for) > keep:
                stands_for[stays] += stands_for.pop(goes)
    return [next(stays for stays, members in stands_for.items() if j in members) for j in range(activations.shape[1])]


@pytest.mark.numeric
@pytest.mark.parametrize("percent", [0.0, 5.0, 20.0, 60.0])
@pytest.mark.parametrize("keep", [1, 3, 7, 12])
def test_merging_is_that_of_any_step(percent, keep):
    activations = torch.rand(9, 12, generator=torch.Generator().manual_seed(keep), dtype=torch.float64)
    activations[:, 7] = activations[:, 2] + 1e-3  # a pair that goes first
    order = merge_order(activations)
    assert order[0].tolist() == [7, 2] and len(order) == 11
    assert merged_into(order, keep).tolist() == slow_merge(activations, keep, percent)


@pytest.mark.numeric
def test_disagreement_is_of_every_pair_and_prototypes_that_agree_go_first():
    activations = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    activations[:, 4] = activations[:, 1]
    found = disagreement(activations)
    slow = [float(((activations[:, i] - activations[:, j]) ** 2).sum()) for i in range(5) for j in range(i + 1, 5)]
    assert found.tolist() == pytest.approx(slow, rel=1e-5) and found.min() == 0
    assert merge_order(activations)[0].tolist() == [4, 1]


def test_shares_are_numbers_of_prototypes(refuses):
    assert [count_at(percent, 40) for percent in (100, 80, 20, 1)] == [40, 32, 8, 1]
    order = merge_order(torch.rand(4, 3))
    assert merged_into(order, 3).tolist() == [0, 1, 2]
    for keep in (0, 4):
        with refuses(str(keep), "1 to 3"):
            merged_into(order, keep)


@pytest.mark.numeric
def test_a_merged_network_sums_weights_and_serves_the_classes_of_all(teacher: ProtoNet, birds):
    images = birds.subset("test").pixels
    before = copy.deepcopy(teacher.state_dict())
    out = teacher(images)
    into = torch.tensor([0, 1, 0, 3, 4, 1, 0, 7])  # prototypes 0, 2 and 6 are one, and 1 and 5
    merged = share(teacher, into)
    again = merged(images)
    kept = [0, 1, 3, 4, 7]
    assert torch.equal(again.distances, out.distances[:, kept]) and torch.equal(again.cells, out.cells[:, kept])
    # every prototype still votes, with the activation of the one that stands for it
    activations = teacher.layer.similarity(out.distances)
    slow = torch.stack([sum(teacher.decision.weight[:, j] * row[into[j]] for j in range(8)) for row in activations])
    torch.testing.assert_close(again.logits, slow)
    assert [merged.own[:, j].nonzero()[:, 0].tolist() for j in range(5)] == [[0, 1, 3], [0, 2], [1], [2], [3]]
    assert merged.own.float().argmax(0).tolist() == teacher.own.float().argmax(0)[kept].tolist()  # the patch's own
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert torch.equal(joined(teacher.own.float(), torch.arange(8)), teacher.own.float())
