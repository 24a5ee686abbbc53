"""The losses of ProtoPNet and Proto2Proto: pure functions of tensors, each with its equation.

Letters: B images, K classes, P prototypes, D channels, an H × W grid. `distances` (B, P) are squared L2 distances of
each prototype to its nearest cell, `cells` (B, P) the index of that cell.
Where the released code departs from the paper there is a switch; its default is the paper's statement and the audit's
number (A1–A4) stands beside it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

GlobalNorm = Literal["l2", "mean_abs"]
PpcNorm = Literal["patch", "image", "batch"]


def cluster(distances: Tensor, own: Tensor) -> Tensor:
    """Every image near some prototype of its class: mean_b min_{j own} d_bj (ProtoPNet, §2.2).

    Args:
        distances: (B, P) squared L2.
        own: (B, P) bool, prototype j belongs to the class of image b.
    """
    return distances.masked_fill(~own, float("inf")).amin(1).mean()


def separation(distances: Tensor, own: Tensor) -> Tensor:
    """Distance to the nearest prototype of another class, mean_b min_{j other} d_bj; enters with a negative weight.

    Args:
        distances: (B, P) squared L2.
        own: (B, P) bool, prototype j belongs to the class of image b.
    """
    return distances.masked_fill(own, float("inf")).amin(1).mean()


def decision_l1(weight: Tensor, own: Tensor) -> Tensor:
    """‖W ⊙ (1 − own)‖₁: evidence against a class should be sparse.

    Args:
        weight: (K, P) decision layer.
        own: (K, P) bool, prototype j belongs to class k.
    """
    return weight.masked_fill(own, 0.0).abs().sum()


def global_explanation(student: Tensor, teacher: Tensor, norm: GlobalNorm = "l2") -> Tensor:
    """Student prototype j near teacher prototype j: (1/P) Σ_j ‖p_j^s − p_j^t‖₂ (Proto2Proto, Global Explanation loss).

    Args:
        student: (P, D).
        teacher: (P, D).
        norm: "l2" as stated. "mean_abs" (A2) is what the released code computes under torch ≥ 1.10: its pairwise
            distance runs over the trailing axis of (P, D, 1, 1), so the "norm" of every single number is averaged.
    """
    difference = student - teacher + 1e-6  # the constant of torch's pairwise distance: keeps the gradient finite at 0
    if norm == "mean_abs":
        return difference.abs().mean()
    return difference.norm(dim=1).mean()


def active_patches(cells: Tensor, distances: Tensor, tau: float, grid: int) -> Tensor:
    """A cell is active when it is the nearest of at least one prototype and that distance is below τ.

    Args:
        cells: (B, P) index of each prototype's nearest cell.
        distances: (B, P) squared L2 at that cell.
        tau: τ_train; at the published 100 every nearest cell is active (A3).
        grid: H·W.

    Returns:
        (B, H·W) bool.
    """
    near = torch.zeros(len(cells), grid, device=cells.device)
    return near.scatter_reduce(1, cells, (distances < tau).float(), "amax").bool()


def patch_correspondence(student: Tensor, teacher: Tensor, active: Tensor, norm: PpcNorm = "patch") -> Tensor:
    """Student features near the teacher's at the active patches (Proto2Proto, Patch-Prototype Correspondence loss).

    With e_bc = ‖z_bc^s − z_bc^t‖²: Σ active·e / Σ active ("patch").

    Args:
        student: (B, D, H, W) add-on map.
        teacher: (B, D, H, W) add-on map.
        active: (B, H·W) bool; the teacher's by default, the student's in the released code (A1).
        norm: "patch" averages over active patches; "image" over those of each image, then over images; "batch" (A4)
            is the released code's Σ active·e / (2 Σ active + 1).
    """
    error = (student - teacher).square().sum(1).flatten(1) * active  # (B, HW)
    count = active.sum(1)  # (B,)
    if norm == "image":
        return (error.sum(1) / count.clamp(min=1)).mean()
    if norm == "batch":
        return error.sum() / (2 * count.sum() + 1)
    return error.sum() / count.sum().clamp(min=1)
