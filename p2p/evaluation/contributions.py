"""What each prototype adds to a logit: similarity times weight of the decision layer; and which of them decide.

The logit of class k is Σ_j W_kj s_j (ProtoPNet, §2.1), so the terms of the sum say how much each prototype counts. A
prototype that is similar to the image counts little where its weight is small.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from p2p.networks import PrototypeLayer
from p2p.responses import ResponseTable, spans


def contributions(similarities: Tensor, decision: Tensor, classes: Tensor) -> Tensor:
    """The terms of a logit, in double precision.

    Args:
        similarities: (B, P).
        decision: (K, P), the decision layer's weights.
        classes: (B,) the class of each image whose logit is looked at.

    Returns:
        (B, P); their sum over prototypes is the logit.
    """
    return similarities.double() * decision.detach().double()[classes]


class Deciding(NamedTuple):
    """The prototypes that count most in each image, for the class that the network takes it for."""

    predicted: Tensor  # (N,) int64
    prototypes: Tensor  # (N, k) int64, largest contribution first
    cells: Tensor  # (N, k) int64, where each is found
    contributions: Tensor  # (N, k) float64


def deciding(table: ResponseTable, decision: Tensor, layer: PrototypeLayer, k: int) -> Deciding:
    """The k prototypes with the largest contribution to the predicted class's logit, of every image of a table.

    Args:
        table: Answers of a network, N images and P prototypes.
        decision: (K, P), its decision layer.
        layer: Its prototype layer.
        k: At most P.
    """
    weight, parts = decision.detach().cpu(), list[tuple[Tensor, ...]]()
    for span in spans(*table.distances.shape):
        similarities = layer.similarity(table.distances[span].float()).double()
        predicted = (similarities @ weight.double().T).argmax(1)
        value, chosen = top(contributions(similarities, weight, predicted), k)
        parts.append((predicted, chosen, table.cells[span].gather(1, chosen).long(), value))
    return Deciding(*(torch.cat(column) for column in zip(*parts, strict=True)))


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row (B, P) and where they are; of equal ones the first."""
    order = values.sort(dim=1, descending=True, stable=True)
    return order.values[:, :k], order.indices[:, :k]
