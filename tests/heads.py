"""Decisions made for tests."""

from __future__ import annotations

from torch import Tensor, ones

from p2p.decision import LinearDecision
from p2p.tree import TreeDecision


def linear(weight: Tensor) -> LinearDecision:
    """A linear decision of these weights (K, P)."""
    decision = LinearDecision(ones(weight.shape).bool())
    decision.weight.data = weight
    return decision


def tree(values: Tensor) -> TreeDecision:
    """A tree with these values c (K, L) in its leaves."""
    decision = TreeDecision(TreeDecision.owners(len(values), values.shape[1].bit_length() - 1))
    decision.weight.copy_(values)
    return decision
