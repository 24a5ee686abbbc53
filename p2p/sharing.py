"""Prototype sharing: prototypes whose activations on the training images agree are merged, as in ProtoPShare.

Source: Rymarczyk, Struski, Tabor, Zieliński, *ProtoPShare: Prototypical Parts Sharing for Similarity Discovery in
Interpretable Image Classification*, KDD 2021. Two prototypes are the more alike the less their activations differ on
the training images, however far they lie from each other: their similarity is the inverse of the summed squared
difference. Step by step the ζ % most similar pairs are merged: one prototype of a pair goes, and its weights in the
decision layer are added to those of the other, which then serves the classes of both.

Where the paper leaves a choice, this is what is done here:

- *Activation* is what enters the decision layer: the largest similarity on the grid, of training images without
  augmentation and without those kept for validation.
- *Who stays* is the prototype with the lower number. It stays the training patch that it is; since prototypes are
  numbered by class, the first of its classes is that of the patch.
- *A pair of which one has gone already* is passed over: the other is compared with those that are still there.
- *The step*, ζ, has no effect. Trunk and prototypes do not learn between steps (else prototypes would be no training
  patches), so whoever stays keeps its activations, and the order of all pairs is known beforehand: any ζ merges the
  same pairs, and going one pair at a time reaches every number of prototypes (`tests/test_sharing.py` merges in steps).
- *Learning afterwards* is that of the decision layer alone, as after the push, once at the end: a convex problem, whose
  solution does not depend on tuning between steps. The weights of all classes that a prototype serves are its own
  ones, which the L1 term leaves alone.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from p2p.errors import UserError
from p2p.networks import ProtoNet


def disagreement(activations: Tensor) -> NDArray[np.float64]:
    """Summed squared difference of the activations of every two prototypes, the inverse of their similarity.

    Args:
        activations: (N, P) similarities of N training images.

    Returns:
        (P (P − 1) / 2,) float64 of the pairs (0, 1), (0, 2) … (1, 2) …; 0 where two agree everywhere.
    """
    return pdist(activations.detach().double().cpu().numpy().T, "sqeuclidean")


def merge_order(activations: Tensor) -> Tensor:
    """All merges down to one prototype, the most similar pair first; of equally similar pairs the first in number.

    Args:
        activations: (N, P) similarities of N training images.

    Returns:
        (P − 1, 2) int64: the prototype that goes and the one that stays.
    """
    prototypes = activations.shape[1]
    first, second = np.triu_indices(prototypes, 1)
    order = np.argsort(disagreement(activations), kind="stable")
    there, merges = [True] * prototypes, []
    for stays, goes in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if there[stays] and there[goes]:
            there[goes] = False
            merges.append((goes, stays))
    return torch.tensor(merges, dtype=torch.int64).view(-1, 2)


def count_at(percent: float, prototypes: int) -> int:
    """How many of so many prototypes are left at a share in percent; at least one."""
    return max(1, round(percent * prototypes / 100))


def merged_into(order: Tensor, keep: int) -> Tensor:
    """Which prototype stands for each one when `keep` of them are left.

    Args:
        order: As `merge_order` gives it, (P − 1, 2).
        keep: From 1 to P.

    Returns:
        (P,) int64; who stays stands for itself.

    Raises:
        UserError: There are fewer prototypes, or none is to be left.
    """
    prototypes = len(order) + 1
    if not 1 <= keep <= prototypes:
        raise UserError(f"{keep} prototypes of {prototypes} cannot be kept; name a number from 1 to {prototypes}.")
    into = torch.arange(prototypes)
    for goes, stays in order[: prototypes - keep].tolist():
        into[into == goes] = stays
    return into


def joined(columns: Tensor, into: Tensor) -> Tensor:
    """The columns of merged prototypes added up: of decision weights, or of which class a prototype belongs to.

    Args:
        columns: (K, P).
        into: (P,), see `merged_into`.

    Returns:
        (K, P′), of the prototypes that stay, by number.
    """
    members = into.unique()[:, None] == into  # (P′, P)
    return columns @ members.T.to(columns)


def share(network: ProtoNet, into: Tensor) -> ProtoNet:
    """The network with its prototypes merged; its decision layer is not tuned.

    Args:
        network: Stays as it is.
        into: (P,), see `merged_into`.

    Returns:
        A copy with P′ prototypes, those that stay by number; in `own` (K, P′) each has all classes that it serves.
    """
    merged, kept = copy.deepcopy(network), into.unique()
    merged.prototypes = nn.Parameter(network.prototypes.detach()[kept].clone())
    merged.own = joined(network.own.float(), into.to(network.own.device)) > 0
    merged.decision = type(network.decision)(merged.own).to(network.own.device)
    merged.decision.weight.data = joined(network.decision.weight.detach(), into.to(network.own.device))
    return merged.requires_grad_(network.prototypes.requires_grad).train(network.training)
