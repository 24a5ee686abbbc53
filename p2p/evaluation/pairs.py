"""Which prototypes of two networks found each other, and what both point at in an image."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from p2p.evaluation.contributions import Deciding
from p2p.metrics import ResponseTable, coincidences, pms


def matched_pairs(teacher: ResponseTable, student: ResponseTable) -> tuple[Tensor, Tensor]:
    """The matching behind PMS at α = 1.

    Args:
        teacher, student: Tables (N, P) of the same images.

    Returns:
        partner (P,): the student prototype that each teacher prototype is paired with.
        share (P,): of the images, those in which the two sit on the same cell.
    """
    partner = pms(teacher, student).matching[-1]
    counts = coincidences(teacher, student).gather(1, partner[:, None])[:, 0]
    return partner, counts.double() / len(teacher.cells)


def same_number(partner: Tensor) -> float:
    """Share of the teacher's prototypes that are paired with the prototype of their own number; partner (P,)."""
    return (partner == torch.arange(len(partner))).double().mean().item()


def same_number_sentence(shares: dict[str, float]) -> str:
    """How many pairs of the matching have one number; shares: role: see `same_number`."""
    parts = ", ".join(f"{share:.0%} ({role})" for role, share in shares.items())
    return f"Of the teacher's prototypes, matched with the prototype of the same number: {parts}."


def shared(teacher: Deciding, other: Deciding) -> tuple[Tensor, Tensor]:
    """What two networks have in common in the k prototypes that count most in an image.

    Args:
        teacher, other: Of the same N images, k prototypes each.

    Returns:
        (N,) share of the teacher's k that are among the other's by number; (N,) share of them that lie on a cell on
        which one of the other's k lies, too.
    """
    by_number, by_place = (
        (mine[:, :, None] == theirs[:, None, :]).any(2).double().mean(1)
        for mine, theirs in ((teacher.prototypes, other.prototypes), (teacher.cells, other.cells))
    )
    return by_number, by_place


def top_overlap(teacher: Deciding, other: Deciding) -> tuple[float, float]:
    """`shared`, on average over images."""
    by_number, by_place = shared(teacher, other)
    return by_number.mean().item(), by_place.mean().item()


def typical_image(teacher: Deciding, student: Deciding, labels: Tensor) -> int:
    """A test image to show, chosen by rule: of those that both networks get right, the one in the middle when ordered
    by the share of the teacher's deciding places that are the student's, too; where they get none right, of all.

    Args:
        teacher, student: Of the same N images.
        labels: (N,).
    """
    right = (teacher.predicted == labels) & (student.predicted == labels)
    candidates = (right if right.any() else torch.ones_like(right)).nonzero()[:, 0]
    order = shared(teacher, student)[1][candidates].argsort(stable=True)
    return int(candidates[order[(len(order) - 1) // 2]])


def overlap_table(shares: dict[str, tuple[float, float]], k: int) -> pd.DataFrame:
    """Top-k agreement with the teacher; shares: network: as `top_overlap` gives them.

    Returns:
        network, "same prototype number in both top k", "teacher's top place also a top place".
    """
    heads = (f"same prototype number in both top {k}", "teacher's top place also a top place")
    return pd.DataFrame(
        {"network": name} | {head: f"{value:.3f}" for head, value in zip(heads, pair, strict=True)}
        for name, pair in shares.items()
    )
