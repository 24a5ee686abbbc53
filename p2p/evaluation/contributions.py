"""What each prototype adds to a class, as its decision says it (`Decision.contributions`); and which of them decide.

Of the linear decision the logit of class k is Σ_j W_kj s_j (ProtoPNet, §2.1), so the terms of the sum say how much each
prototype counts: one that is similar to the image counts little where its weight is small.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from p2p.head import Decision
from p2p.networks import PrototypeLayer
from p2p.responses import ResponseTable, spans


class Deciding(NamedTuple):
    """The prototypes that count most in each image, for the class that the network takes it for."""

    predicted: Tensor  # (N,) int64
    prototypes: Tensor  # (N, k) int64, largest contribution first
    cells: Tensor  # (N, k) int64, where each is found
    contributions: Tensor  # (N, k) float64


def deciding(table: ResponseTable, decision: Decision, layer: PrototypeLayer, k: int) -> Deciding:
    """The k prototypes with the largest contribution to the predicted class, of every image of a table.

    Args:
        table: Answers of a network, N images and P prototypes.
        decision: Of the network.
        layer: Its prototype layer.
        k: At most P.
    """
    decision, parts = on_cpu(decision), list[tuple[Tensor, ...]]()
    for span in spans(*table.distances.shape):
        similarities = layer.similarity(table.distances[span].float()).double()
        predicted = decision(similarities).argmax(1)
        value, chosen = top(decision.contributions(similarities, predicted), k)
        parts.append((predicted, chosen, table.cells[span].gather(1, chosen).long(), value))
    return Deciding(*(torch.cat(column) for column in zip(*parts, strict=True)))


def on_cpu(decision: Decision) -> Decision:
    """A decision to read tables with, which lie on the CPU; the network's own stays where it is."""
    return deepcopy(decision).cpu().requires_grad_(False)


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row (B, P) and where they are; of equal ones the first."""
    order = values.sort(dim=1, descending=True, stable=True)
    return order.values[:, :k], order.indices[:, :k]
