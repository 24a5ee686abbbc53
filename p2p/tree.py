"""ProtoTree: a soft binary tree that asks at every node whether something in the image is like the node's prototype.

Source: Nauta, van Bree and Seifert, "Neural Prototype Trees for Interpretable Fine-grained Image Recognition", CVPR
2021, "the paper" below; where its released code does otherwise, that is said. Nodes are numbered as in a heap: the
children of node n are 2n + 1 (left, not there) and 2n + 2 (right, there); leaves from left to right. Letters: B images,
K classes, h the depth, P = 2^h − 1 nodes, L = 2^h leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from p2p.errors import UserError
from p2p.head import Decision, Labelled

TINY = 1e-12  # added to class probabilities: an image far from every leaf of its class has a finite gradient
Routing = Literal["sample_max", "greedy"]


class TreeDecision(Decision):
    """The classes' probabilities are a mixture of the leaves' distributions σ(c_l), each weighed by its path π_l.

    The similarity at a node, which has to lie in 0..1, is the probability to go right; π_l is the product along the
    path. Logits are logarithms of class probabilities, so cross-entropy is the negative log-likelihood that the paper
    minimises.

    Args:
        own: (K, P), as `owners` gives it.
    """

    size = "tree_depth"
    classed = False
    alive: Tensor  # (L,) bool, the leaves that pruning has left

    def __init__(self, own: Tensor) -> None:
        super().__init__()
        classes, nodes = own.shape
        self.depth = (nodes + 1).bit_length() - 1
        self.register_buffer("weight", torch.zeros(classes, nodes + 1))  # (K, L): c, before the softmax over classes
        self.register_buffer("alive", torch.ones(nodes + 1, dtype=torch.bool))
        self._start = self.weight

    @classmethod
    def count(cls, classes: int, size: int) -> int:
        return 2**size - 1

    @classmethod
    def owners(cls, classes: int, size: int) -> Tensor:
        """All true: a node's prototype belongs to no class, and may become a patch of any training image."""
        return torch.ones(classes, cls.count(classes, size), dtype=torch.bool)

    @classmethod
    def check(cls, params: Any) -> None:
        if params.prototype_layer != "exponential":
            raise UserError(
                f"'decision' is tree, whose similarities are probabilities, and 'prototype_layer' is "
                f"{params.prototype_layer}; set it to exponential."
            )
        if params.head == "teacher_tuned":
            raise UserError(
                "'head' is teacher_tuned, but a tree is not tuned after the push; set it to teacher or own."
            )
        if params.push == "distinct":
            raise UserError(
                "'push' is distinct, which keeps a class's prototypes apart, and those of a tree have no class; set "
                "it to nearest."
            )

    # ------------------------------------------------------------------------------------------------- the prediction

    def distributions(self) -> Tensor:
        """(K, L) σ(c): the classes' probabilities in every leaf."""
        return torch.softmax(self.weight, 0)

    def sides(self) -> tuple[Tensor, Tensor]:
        """(P,) bool each: whether pruning has left a leaf to the left, and to the right, of every node."""
        below = [self.alive.view(2 ** (level + 1), -1).any(1) for level in range(self.depth)]
        return torch.cat([each[0::2] for each in below]), torch.cat([each[1::2] for each in below])

    def rightward(self, similarities: Tensor) -> Tensor:
        """(B, P) probability to go right; where pruning has left one side alone, all go there."""
        left, right = self.sides()
        return torch.where(left & right, similarities, right.to(similarities.dtype))

    def paths(self, similarities: Tensor) -> Tensor:
        """(B, P) similarities to (B, L) probabilities π of the leaves; each row sums to 1."""
        right = self.rightward(similarities)
        reach = right.new_ones(len(right), 1)
        for level in range(self.depth):
            p = right[:, 2**level - 1 : 2 ** (level + 1) - 1]  # (B, 2^level)
            reach = torch.stack([reach * (1 - p), reach * p], 2).flatten(1)
        return reach

    def forward(self, similarities: Tensor) -> Tensor:  # (B, P) -> (B, K)
        leaves = self.distributions().to(similarities.dtype)
        return torch.log(self.paths(similarities) @ leaves.T + TINY)

    def leaf(self, similarities: Tensor, how: Routing = "sample_max") -> Tensor:
        """(B,) the one leaf that decides where a tree is read as a hard one (the paper's deterministic reasoning).

        Args:
            similarities: (B, P).
            how: "sample_max": the leaf with the most probable path; "greedy": at every node to the likelier side.
        """
        if how == "sample_max":
            return self.paths(similarities).argmax(1)
        right = self.rightward(similarities) > 0.5
        node = torch.zeros(len(right), dtype=torch.int64, device=right.device)
        for _ in range(self.depth):
            node = 2 * node + 1 + right.gather(1, node[:, None])[:, 0].long()
        return node - right.shape[1]

    def steps(self, leaf: int) -> list[tuple[int, bool]]:
        """The nodes that are asked on the way to a leaf, from the root, and whether the way goes right.

        A node that has lost a side to pruning is no question any more, and left out.
        """
        both = torch.logical_and(*self.sides()).tolist()
        node, found = leaf + len(both), []
        while node:
            parent = (node - 1) // 2
            found.append((parent, node == 2 * parent + 2))
            node = parent
        return [step for step in reversed(found) if both[step[0]]]

    def contributions(self, similarities: Tensor, classes: Tensor) -> Tensor:
        """What the probability of a class would lose if a node's prototype were not there at all: s_j ∂ŷ_k / ∂s_j.

        ŷ_k is linear in every single similarity, so this is exact and no approximation.
        """
        s = similarities.double()
        right, (left_side, right_side) = self.rightward(s), self.sides()
        value = self.distributions().double()[classes]  # (B, L): of the class, in what lies below
        gain = []
        for level in reversed(range(self.depth)):
            p = right[:, 2**level - 1 : 2 ** (level + 1) - 1]
            gain.append(value[:, 1::2] - value[:, 0::2])
            value = (1 - p) * value[:, 0::2] + p * value[:, 1::2]
        reach, reached = s.new_ones(len(s), 1), []
        for level in range(self.depth):
            p = right[:, 2**level - 1 : 2 ** (level + 1) - 1]
            reached.append(reach)
            reach = torch.stack([reach * (1 - p), reach * p], 2).flatten(1)
        asked = (left_side & right_side).double()
        return s * torch.cat(reached, 1) * torch.cat(gain[::-1], 1) * asked

    # --------------------------------------------------------------------------------------------------- the leaves

    def begin_pass(self) -> None:
        """Remember the leaves' values: a pass takes all of them away, and adds what its own images say."""
        self._start = self.weight.clone()

    @torch.no_grad()
    def learn(self, similarities: Tensor, labels: Tensor, share: float) -> None:
        """c ← c − share · c_start + Σ_b σ(c) ⊙ y_b π_b ⊘ ŷ_b, a step without gradients (Algorithm 1).

        The paper takes 1/B of the old values away in each of B batches; a batch's share of the images is the same where
        batches are equal, and fair to a smaller last one. Values that rounding has made negative become 0, as in the
        released code.
        """
        paths, leaves = self.paths(similarities), self.distributions()
        own = leaves[labels] * paths  # (B, L): y_b picks the row of the image's class
        found = own / (own.sum(1, keepdim=True) + TINY)  # (B, L): which leaf is responsible for the image
        self.weight.sub_(share * self._start).clamp_(min=0).index_add_(0, labels, found.to(self.weight.dtype))

    def settle(self, own: Tensor, fit: Labelled, held: Labelled, params: Any) -> None:
        self.prune(params.prune_leaves / len(own))

    @torch.no_grad()
    def prune(self, threshold: float) -> None:
        """Take away the leaves in which no class has more than `threshold` probability.

        A node that has lost one side is gone as well: all images go to the other. No class's probability falls by more
        than the threshold, times the probability to reach what was pruned. A tree in which every leaf is that undecided
        is left as it is. (The released code never takes the root away; the paper has no such exception, nor is there
        one here.)

        Args:
            threshold: A little above 1/K; 0.01 for the paper's 200 classes.
        """
        left = self.alive & (self.distributions().amax(0) > threshold)
        if left.any():
            self.alive.copy_(left)

    # ------------------------------------------------------------------------------------------------------ figures

    def facts(self, parts: Iterable[Labelled]) -> dict[str, float]:
        """Leaves and nodes that are left; of both hard readings accuracy, agreement with the soft tree, questions."""
        count, sums = 0, dict[str, float]()
        lengths = torch.tensor([len(self.steps(leaf)) for leaf in range(len(self.alive))])
        for similarities, labels in parts:
            soft, count = self(similarities).argmax(1), count + len(labels)
            for how in ("sample_max", "greedy"):
                leaf = self.leaf(similarities, how)
                hard = self.weight.argmax(0)[leaf]
                now = {f"top1_{how}": hard == labels, f"fidelity_{how}": hard == soft, f"path_{how}": lengths[leaf]}
                sums |= {name: sums.get(name, 0) + float(value.sum()) for name, value in now.items()}
        left, asked = float(self.alive.sum()), float(torch.logical_and(*self.sides()).sum())
        whole = {"leaves_unpruned": float(len(self.alive)), "leaves": left, "nodes": asked}
        return whole | {k: v / count for k, v in sums.items()}
