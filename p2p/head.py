"""What networks, training and evaluation ask of a decision, the head of a network: the base of `p2p.decision`'s."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Labelled = tuple[Tensor, Tensor]  # similarities (N, P) and labels (N,)


class Decision(nn.Module, ABC):
    """From the prototypes' similarities (B, P) to logits (B, K); here what a decision need not say is answered.

    Attributes:
        size: The key of `TrainParams` that sets how many prototypes there are.
        classed: Whether every prototype belongs to one class, as cluster, separation and L1 loss suppose.
        weight: Its numbers, a row a class.
    """

    size = "prototypes_per_class"
    classed = True
    weight: Tensor  # (K, …)

    @classmethod
    def count(cls, classes: int, size: int) -> int:
        """P, the number of prototypes."""
        return classes * size

    @classmethod
    def owners(cls, classes: int, size: int) -> Tensor:
        """(K, P) bool: class k may have prototype j, whose patch then comes from an image of one of its classes."""
        return torch.arange(cls.count(classes, size)) // size == torch.arange(classes)[:, None]

    @classmethod
    def check(cls, params: Any) -> None:
        """Refuse what this decision cannot do.

        Args:
            params: `TrainParams` of a run.

        Raises:
            UserError: In one sentence.
        """

    @abstractmethod
    def contributions(self, similarities: Tensor, classes: Tensor) -> Tensor:
        """What each prototype adds to a class: its similarity times the derivative of that class's value by it.

        Args:
            similarities: (B, P).
            classes: (B,) the class of each image that is looked at.

        Returns:
            (B, P) float64.
        """

    def begin_pass(self) -> None:
        """A pass over the training images begins."""

    def learn(self, similarities: Tensor, labels: Tensor, share: float) -> None:
        """What is learnt from a batch without gradients, after the step of the optimiser.

        Args:
            similarities: (B, P), as the loss of the batch saw them.
            labels: (B,).
            share: Of all training images that are in the batch.
        """

    def settle(self, own: Tensor, fit: Labelled, held: Labelled, params: Any) -> None:
        """What is left to do when prototypes have become training patches.

        Args:
            own: (K, P), see `owners`.
            fit: Of the training images.
            held: Of the validation images.
            params: `TrainParams` of the run.
        """

    def facts(self, parts: Iterable[Labelled]) -> dict[str, float]:
        """Figures of its own about a trained network, by name, from its answers to the test images."""
        return {}
