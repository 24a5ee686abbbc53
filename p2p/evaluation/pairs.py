"""Which prototypes of two networks found each other, and what both point at in an image."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from p2p.metrics import ResponseTable, coincidences, pms
from p2p.networks import similarity


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


def top_overlap(teacher: ResponseTable, other: ResponseTable, k: int) -> tuple[float, float]:
    """What two networks have in common in the k most activated prototypes of an image, on average over images.

    Args:
        teacher, other: Tables (N, P) of the same images.
        k: At most P.

    Returns:
        Share of the teacher's k that are among the other's by number; share of them that lie on a cell on which one of
        the other's k lies, too.
    """
    mine, theirs = (similarity(table.distances).topk(k, dim=1).indices for table in (teacher, other))
    by_number = (mine[:, :, None] == theirs[:, None, :]).any(2).double().mean().item()
    here, there = teacher.cells.gather(1, mine).long(), other.cells.gather(1, theirs).long()
    return by_number, (here[:, :, None] == there[:, None, :]).any(2).double().mean().item()


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
