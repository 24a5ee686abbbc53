"""The decision: from the prototypes' similarities to logits, and how it learns after a push."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from p2p.head import Decision, Labelled
from p2p.tree import TreeDecision


class LinearDecision(Decision):
    """logits = W a: one weight for each class and prototype, +1 for the own class and −0.5 otherwise at the start.

    Source: ProtoPNet (Chen et al., NeurIPS 2019), §2.1.

    Args:
        own: (K, P) bool, prototype j belongs to class k.
    """

    def __init__(self, own: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.where(own, 1.0, -0.5))  # (K, P)

    @classmethod
    def of(cls, weight: Tensor) -> LinearDecision:
        """The decision with these weights, (K, P)."""
        decision = cls(torch.zeros_like(weight, dtype=torch.bool))
        decision.weight.data = weight
        return decision

    def forward(self, similarities: Tensor) -> Tensor:  # (B, P) -> (B, K)
        return nn.functional.linear(similarities, self.weight.to(similarities.dtype))

    def contributions(self, similarities: Tensor, classes: Tensor) -> Tensor:
        """The terms W_kj s_j of the class's logit; their sum over prototypes is the logit."""
        return similarities.double() * self.weight.detach().double()[classes]

    def settle(self, own: Tensor, fit: Labelled, held: Labelled, params: Any) -> None:
        """The weights that suit the pushed prototypes, see `solve_decision_layer`."""
        start = self.weight.detach().clone()
        l1, iterations = params.lambda_l1, params.decision_iterations
        self.weight.data = solve_decision_layer(start, own, *fit, held, l1, iterations)


DECISIONS: dict[str, type[Decision]] = {"linear": LinearDecision, "tree": TreeDecision}


@torch.no_grad()
def solve_decision_layer(
    weight: Tensor,
    own: Tensor,
    activations: Tensor,
    labels: Tensor,
    validation: tuple[Tensor, Tensor] | None = None,
    l1: float = 1e-4,
    iterations: int = 200,
) -> Tensor:
    """Minimise CE(A Wᵀ, y) + l1 ‖W ⊙ (1 − own)‖₁ over W by accelerated proximal gradient (FISTA), from `weight`.

    With trunk, add-on and prototypes frozen the problem is convex and the activations never change, so one pass over
    the images replaces the ten passes after every push of the released code. The proximal step sets weights exactly
    to zero where the L1 term wins.

    Args:
        weight: (K, P) start.
        own: (K, P) bool, prototype j belongs to class k; these weights are not penalised.
        activations: (N, P) similarities of the training images.
        labels: (N,) classes.
        validation: Activations and labels of held-out images; of all iterates the one with the lowest validation
            cross-entropy is returned (the start counts), because pushed prototypes fit their source images too well.
        l1: Weight of the L1 term.
        iterations: Proximal steps.

    Returns:
        (K, P) the solution.
    """
    a, n = activations.float(), len(activations)
    target = torch.nn.functional.one_hot(labels, weight.shape[0]).float()
    # Lipschitz constant of the gradient: λmax(AᵀA) / 2N, by power iteration
    v = a.mean(0)
    for _ in range(30):
        v = a.T @ (a @ (v / v.norm()))
    step = 1.0 / (0.5 * v.norm() / n * 1.02)
    threshold = torch.where(own, 0.0, step * l1)

    def score(w: Tensor) -> Tensor:
        assert validation is not None
        return cross_entropy(validation[0].float() @ w.T, validation[1])

    w = y = weight.clone()
    momentum, best, chosen = 1.0, None, weight.clone()
    if validation is not None:
        best = score(w)
    for _ in range(iterations):
        gradient = (torch.softmax(a @ y.T, 1) - target).T @ a / n  # (K, P)
        moved = y - step * gradient
        new = moved.sign() * (moved.abs() - threshold).clamp(min=0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        y = new + (momentum - 1) / following * (new - w)
        w, momentum = new, following
        if best is not None:
            now = score(w)
            better = now < best  # stays on the device: no host synchronisation in the loop
            best, chosen = torch.where(better, now, best), torch.where(better, w, chosen)
    return chosen if validation is not None else w
