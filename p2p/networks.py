"""Prototypical part networks over any trunk of `p2p.trunks`.

An image passes the *trunk* (a CNN without its classifier), the *add-on* layers, the *prototype layer*, which measures
how near each learnt prototype comes to each cell of the grid, and the *decision layer*, which sums up the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from p2p.decision import DECISIONS
from p2p.errors import pick
from p2p.head import Decision


class Pixels(Protocol):
    """Images (N, 3, S, S) uint8: a tensor, or a `p2p.data.streaming.Stream` that reads them where they are touched."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Tensor: ...

    def split(self, size: int, /) -> Iterable[Tensor]: ...


class Output(NamedTuple):
    """What one forward pass yields; what a network does not have, or nobody asked for, is an empty tensor."""

    logits: Tensor  # (B, K)
    distances: Tensor  # (B, P) squared L2 to the nearest cell
    cells: Tensor  # (B, P) int64, index h·W + w of that cell
    z: Tensor  # (B, D, H, W) add-on map
    features: Tensor  # (B, C, H, W) trunk output
    prototypes: Tensor  # (P, D)


class ProtoNet(nn.Module):
    """ProtoPNet: logits = W · log((d + 1) / (d + ε)), d the smallest squared distance of each prototype to the grid.

    Source: ProtoPNet (Chen et al., NeurIPS 2019), as used by Proto2Proto (CVPR 2022). Other prototype layers and
    decisions: `PROTOTYPE_LAYERS` here and `p2p.decision.DECISIONS`.

    Args:
        trunk: Maps normalised images to (B, C, H, W).
        channels: C.
        classes: K.
        per_class: Prototypes of each class; P = K · per_class, prototype j belongs to class j // per_class. Of another
            decision than the linear one, what it makes of it: a tree's depth (`p2p.head.Decision.owners`).
        depth: D, channels of the add-on map and length of a prototype.
        layer: Name of the prototype layer, see `PROTOTYPE_LAYERS`.
        head: Name of the decision, see `p2p.decision.DECISIONS`.
    """

    own: Tensor  # (K, P) bool, prototype j belongs to class k
    scale: Tensor  # (), what trunk outputs are divided by; 1 unless `p2p.prototypes.normalise_features` sets it

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        classes: int,
        per_class: int = 10,
        depth: int = 128,
        layer: str = "distance",
        head: str = "linear",
    ) -> None:
        super().__init__()
        self.trunk, self.layer = trunk, pick(PROTOTYPE_LAYERS, layer, "prototype_layer")
        self.addon = nn.Sequential(nn.Conv2d(channels, depth, 1), nn.ReLU(), nn.Conv2d(depth, depth, 1), nn.Sigmoid())
        for part in self.addon:
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(part.bias)
        kind = pick(DECISIONS, head, "decision")
        own = kind.owners(classes, per_class)
        self.prototypes = nn.Parameter(torch.rand(own.shape[1], depth))  # (P, D)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("own", own, persistent=False)  # (K, P): prototype j belongs to class k
        self.decision: Decision = kind(own)

    @property
    def per_class(self) -> int:
        """How many prototypes a class has; where they belong to no class, all of them."""
        return int(self.own[0].sum())

    def labels_of(self, sources: Tensor) -> Tensor:
        """(P,) the class of each prototype; where it has none that of its source image, of which `sources` are (P,)."""
        return self.own.float().argmax(0).to(sources.device) if self.decision.classed else sources

    def head(self, features: Tensor) -> Output:  # (B, C, H, W) trunk output
        with torch.autocast(features.device.type, enabled=False):  # ε = 1e-4 leaves no room for half precision
            z, prototypes = self.describe(features), self.layer.prepare(self.prototypes)
            distances, cells = nearest_cells(z, prototypes)
            return Output(self.decision(self.layer.similarity(distances)), distances, cells, z, features, prototypes)

    def describe(self, features: Tensor) -> Tensor:
        """(B, C, H, W) trunk output to the add-on map z (B, D, H, W) in float32, as the prototype layer wants it."""
        return self.layer.prepare(self.addon(features.float() / self.scale))

    def add_on_map(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) images to z (B, D, H, W) in float32."""
        return self.describe(self.trunk(images))

    def forward(self, images: Tensor) -> Output:
        return self.head(self.trunk(images))


class LinearNet(nn.Module):
    """The same trunk with an ordinary classifier (average pool, one linear layer): what interpretability costs."""

    scale: Tensor  # (), as in `ProtoNet`

    def __init__(self, trunk: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.trunk, self.decision = trunk, nn.Linear(channels, classes)
        self.register_buffer("scale", torch.ones(()))

    def head(self, features: Tensor) -> Output:
        none = features.new_empty(0)
        return Output(self.decision(features.mean((2, 3)) / self.scale), none, none, none, features, none)

    def forward(self, images: Tensor) -> Output:
        return self.head(self.trunk(images))


def distance_map(z: Tensor, prototypes: Tensor) -> Tensor:
    """Squared L2 distance of every prototype to every cell, d = max(0, ‖z‖² − 2 z·p + ‖p‖²), in float32.

    Args:
        z: (B, D, H, W) add-on map.
        prototypes: (P, D).

    Returns:
        (B, P, H, W) squared L2.
    """
    b, _, h, w = z.shape
    raw, p2 = _distances_without_p2(z, prototypes)
    return (raw + p2[:, None]).relu().view(b, -1, h, w)


def nearest_cells(z: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Each prototype's nearest cell and its distance.

    ‖p‖² is the same for all cells, so it is added after the minimum: one (B, P, H·W) tensor instead of three.

    Args:
        z: (B, D, H, W) add-on map.
        prototypes: (P, D).

    Returns:
        distances (B, P) squared L2, float32, and cells (B, P) int64 in 0..H·W−1.
    """
    raw, p2 = _distances_without_p2(z, prototypes)
    smallest, cells = raw.min(dim=2)
    return (smallest + p2).relu(), cells


def _distances_without_p2(z: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast(z.device.type, enabled=False):  # ε = 1e-4 leaves no room for half precision or TF32
        x, p = z.float().flatten(2), prototypes.float()  # (B, D, HW), (P, D)
        x2 = (x * x).sum(1, keepdim=True)  # (B, 1, HW), once, not once per prototype
        raw = torch.baddbmm(x2, p.expand(x.shape[0], *p.shape), x, alpha=-2)  # (B, P, HW)
        return raw, (p * p).sum(1)


def similarity(distances: Tensor, epsilon: float = 1e-4) -> Tensor:
    """log((d + 1) / (d + ε)): 0 far away, −log ε at distance zero (ProtoPNet, eq. in §2.1)."""
    return torch.log((distances + 1) / (distances + epsilon))


def unit(x: Tensor) -> Tensor:
    """Vectors along axis 1, (B, D, …) or (P, D), scaled to length 1."""
    return nn.functional.normalize(x, dim=1)


def as_they_are(x: Tensor) -> Tensor:
    return x


def exponential(distances: Tensor) -> Tensor:
    """exp(−d) of the Euclidean distance, from squared L2: 1 where a prototype is found as it is (ProtoTree, CVPR 2021).

    The constant keeps the root's gradient finite; at distance zero it leaves 0.9999.
    """
    return torch.exp(-torch.sqrt(distances + 1e-8))


class PrototypeLayer(NamedTuple):
    """How cells and prototypes are compared: both prepared, then by squared L2, then turned into evidence."""

    prepare: Callable[[Tensor], Tensor]  # of z (B, D, H, W) and of prototypes (P, D), along axis 1
    similarity: Callable[[Tensor], Tensor]  # of squared L2 distances of what is prepared, any shape


PROTOTYPE_LAYERS = {
    "distance": PrototypeLayer(as_they_are, similarity),
    # of unit vectors ‖u − v‖² = 2 − 2 cos, so nearest cells, push and response tables serve both layers
    "cosine": PrototypeLayer(unit, lambda distances: 1 - distances / 2),
    "exponential": PrototypeLayer(as_they_are, exponential),  # in 0..1, as a tree needs it
}
