"""The classic formulation, restated plainly by us: what ProtoPNet's way of working costs, with the same weights.

‖x‖² comes from a convolution with P filters of ones, x·p from another, the smallest distance from a max-pool of the
negated map; cluster and separation costs come from masked maxima; the push looks at one prototype at a time in numpy;
the decision layer is trained by passes over the images. Left out, in favour of this side: reading and writing images,
and the up-sampled heat map that is drawn for every candidate of the push.
Sources: ProtoPNet (Chen et al., NeurIPS 2019), Proto2Proto (CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from p2p.networks import ProtoNet, similarity

Batch = tuple[Tensor, Tensor]  # normalised images (B, 3, S, S), labels (B,)


def trunk_copy(network: ProtoNet) -> nn.Sequential:
    """The trunk without its normalisation, in the default memory layout, with weights of its own."""
    assert isinstance(network.trunk, nn.Sequential)
    return deepcopy(network.trunk[1:]).to(memory_format=torch.contiguous_format)


def distances(z: Tensor, prototypes: Tensor, ones: Tensor) -> Tensor:
    """(B, P, H, W) squared L2 of z (B, D, H, W) to prototypes (P, D, 1, 1); ones (P, D, 1, 1)."""
    x2 = functional.conv2d(z**2, ones)
    p2 = (prototypes**2).sum((1, 2, 3)).view(-1, 1, 1)
    return functional.relu(x2 + (p2 - 2 * functional.conv2d(z, prototypes)))


class ClassicNet(nn.Module):
    """A `ProtoNet` computed the classic way; it takes normalised images."""

    ones: Tensor  # (P, D, 1, 1)
    own: Tensor  # (P, K) float

    def __init__(self, network: ProtoNet) -> None:
        super().__init__()
        self.trunk, self.addon = trunk_copy(network), deepcopy(network.addon)
        self.prototypes = nn.Parameter(network.prototypes.detach().clone()[:, :, None, None])
        self.decision = deepcopy(network.decision)
        self.register_buffer("ones", torch.ones_like(self.prototypes.data))
        self.register_buffer("own", network.own.T.float())
        self.scale = float(network.scale)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D, H, W) and its distances (B, P, H, W)."""
        z = self.addon(self.trunk(images) / self.scale)
        return z, distances(z, self.prototypes, self.ones)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and smallest distances (B, P)."""
        _, d = self.maps(images)
        smallest = -functional.max_pool2d(-d, kernel_size=d.shape[2:]).flatten(1)
        return self.decision(similarity(smallest)), smallest

    def loss(self, logits: Tensor, smallest: Tensor, labels: Tensor, lambdas: tuple[float, float, float]) -> Tensor:
        """CE + λ₁ cluster − λ₂ separation + λ₃ L1, both costs as maxima of (D − d) under a mask."""
        mask, most = self.own[:, labels].T, self.prototypes.shape[1]
        near = most - ((most - smallest) * mask).max(1).values
        far = most - ((most - smallest) * (1 - mask)).max(1).values
        l1 = (self.decision.weight * (1 - self.own.T)).norm(p=1)
        ce = functional.cross_entropy(logits, labels)
        return ce + lambdas[0] * near.mean() - lambdas[1] * far.mean() + lambdas[2] * l1


def training_step(
    net: ClassicNet, optimizer: torch.optim.Optimizer, batches: Sequence[Batch], lambdas: tuple[float, float, float]
) -> float:
    """Steps over the batches, reading the loss after each, as the published loops do."""
    net.train()
    total = 0.0
    for images, labels in batches:
        logits, smallest = net(images)
        loss = net.loss(logits, smallest, labels, lambdas)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


@dataclass(frozen=True)
class Pushed:
    """What a push found: source image (P,), cell (P,), patch (P, D) and the map of distances there (P, H, W)."""

    images: NDArray[np.int64]
    cells: NDArray[np.int64]
    patches: NDArray[np.float32]
    maps: NDArray[np.float32]


@torch.no_grad()
def push(net: ClassicNet, batches: Sequence[Batch]) -> Pushed:
    """The nearest own-class patch of every prototype: for each batch, a loop over the prototypes."""
    net.eval()
    return search(net, ((*net.maps(images), labels) for images, labels in batches))


def search(net: ClassicNet, maps: Iterator[tuple[Tensor, Tensor, Tensor]]) -> Pushed:
    """The loop itself, over (z, distances, labels) of each batch."""
    p, d = net.prototypes.shape[:2]
    owner = net.own.argmax(1).tolist()
    best = np.full(p, np.inf)
    images, cells, patches = np.zeros(p, np.int64), np.zeros(p, np.int64), np.zeros((p, d), np.float32)
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * p
    start = 0
    for z_map, distance_map, labels in maps:
        z, dist = z_map.cpu().numpy(), distance_map.cpu().numpy()
        of_class: dict[int, list[int]] = {}
        for n, label in enumerate(labels.tolist()):
            of_class.setdefault(label, []).append(n)
        for j in range(p):
            own = of_class.get(owner[j])
            if own is None:
                continue
            candidates = dist[own, j]  # (n, H, W)
            smallest = candidates.min()
            if smallest < best[j]:
                i, h, w = (int(at) for at in np.unravel_index(candidates.argmin(), candidates.shape))
                best[j], images[j], cells[j] = smallest, start + own[i], h * candidates.shape[2] + w
                patches[j], found[j] = z[own[i], :, h, w], candidates[i].copy()
        start += len(labels)
    return Pushed(images, cells, patches, np.stack(found))


def tune_decision(net: ClassicNet, batches: Sequence[Batch], passes: int, l1: float) -> Iterator[int]:
    """Train the decision layer by Adam at 1e-4, yielding after each pass over the images.

    The network stays in eval mode: published loops leave batch normalisation in training mode, which moves the
    patches away from their prototypes and would spoil the objective compared here.
    """
    net.eval()
    optimizer = torch.optim.Adam(net.decision.parameters(), lr=1e-4)
    for parameter in (*net.trunk.parameters(), *net.addon.parameters(), net.prototypes):
        parameter.requires_grad_(False)
    for done in range(passes):
        for images, labels in batches:
            logits, _ = net(images)
            penalty = (net.decision.weight * (1 - net.own.T)).norm(p=1)
            loss = functional.cross_entropy(logits, labels) + l1 * penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        yield done + 1
