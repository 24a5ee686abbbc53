"""The losses of ProtoPNet and Proto2Proto: pure functions, each with its equation.

Letters: B images, K classes, P prototypes, D channels, an H × W grid. `distances` (B, P) are squared L2 distances of
each prototype to its nearest cell, `cells` (B, P) the index of that cell.

A distillation loss takes the student's output and the teacher's answer to the same images and gives a scalar. It is
one function and one line of `DISTILLATION`; the study file weighs it by its name there. Those of other papers, for
comparison, are in `p2p.other_losses`. Where the released code departs from the paper there is a switch, a keyword with
the name of its key in `TrainParams`; its default is the paper's statement and the audit's number (A1–A4) stands beside
it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from p2p import other_losses
from p2p.networks import Output, distance_map

GlobalNorm = Literal["l2", "mean_abs"]
MaskSource = Literal["teacher", "student", "all"]
MaskTies = Literal["first", "all"]
PpcNorm = Literal["patch", "image", "batch"]
PrototypeTies = Literal["one", "split"]


def _nearest(distances: Tensor, ties: PrototypeTies) -> Tensor:
    return distances.min(1).values if ties == "one" else distances.amin(1)


def cluster(distances: Tensor, own: Tensor, prototype_ties: PrototypeTies = "one") -> Tensor:
    """Every image near some prototype of its class: mean_b min_{j own} d_bj (ProtoPNet, §2.2).

    Args:
        distances: (B, P) squared L2.
        own: (B, P) bool, prototype j belongs to the class of image b.
        prototype_ties: Of tied prototypes "one" gets the gradient, as coded (A19). "split" shares it, and two that sit
            on the same patch after a push move alike for ever.
    """
    return _nearest(distances.masked_fill(~own, float("inf")), prototype_ties).mean()


def separation(distances: Tensor, own: Tensor, prototype_ties: PrototypeTies = "one") -> Tensor:
    """Distance to the nearest prototype of another class, mean_b min_{j other} d_bj; enters with a negative weight.

    Args:
        distances: (B, P) squared L2.
        own: (B, P) bool, prototype j belongs to the class of image b.
        prototype_ties: As of `cluster`.
    """
    return _nearest(distances.masked_fill(own, float("inf")), prototype_ties).mean()


def decision_l1(weight: Tensor, own: Tensor) -> Tensor:
    """‖W ⊙ (1 − own)‖₁: evidence against a class should be sparse.

    Args:
        weight: (K, P) decision layer.
        own: (K, P) bool, prototype j belongs to class k.
    """
    return weight.masked_fill(own, 0.0).abs().sum()


def global_explanation(student: Output, teacher: Output, *, global_norm: GlobalNorm = "l2") -> Tensor:
    """Student prototype j near teacher prototype j: (1/P) Σ_j ‖p_j^s − p_j^t‖₂ (Proto2Proto, Global Explanation loss).

    Args:
        student: Of its `prototypes` (P, D).
        teacher: Likewise.
        global_norm: "l2" as stated. "mean_abs" (A2) is what the released code computes under torch ≥ 1.10: its pairwise
            distance runs over the trailing axis of (P, D, 1, 1), so the "norm" of every single number is averaged.
    """
    difference = student.prototypes - teacher.prototypes + 1e-6  # as torch's pairwise distance: a finite gradient at 0
    if global_norm == "mean_abs":
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


def tied_patches(z: Tensor, prototypes: Tensor, tau: float) -> Tensor:
    """As `active_patches`, but of cells at the same smallest distance of a prototype all are active (A18).

    Distances are clamped at 0, so that ties are real where a prototype is matched exactly.

    Args:
        z: (B, D, H, W).
        prototypes: (P, D).
        tau: See `active_patches`.

    Returns:
        (B, H·W) bool.
    """
    distances = distance_map(z, prototypes).flatten(2)  # (B, P, HW)
    smallest = distances.amin(2, keepdim=True)
    return ((distances == smallest) & (smallest < tau)).any(1)


def active_mask(
    student: Output,
    teacher: Output,
    *,
    mask_source: MaskSource = "teacher",
    tau_train: float = 100.0,
    mask_ties: MaskTies = "first",
    tau_share: float = 1.0,
) -> Tensor:
    """(B, H·W) bool, the cells that `patch_correspondence` compares; arguments as there."""
    b, _, h, w = student.z.shape
    source = student if mask_source == "student" else teacher
    if mask_source == "all":
        return torch.ones(b, h * w, dtype=torch.bool, device=student.z.device)
    near, tau = source.distances.detach(), tau_train
    if tau_share < 1:
        tau = min(tau, near.quantile(tau_share).item())
    if mask_ties == "all":
        return tied_patches(source.z.detach(), source.prototypes.detach(), tau)
    return active_patches(source.cells, near, tau, h * w)


def patch_correspondence(
    student: Output,
    teacher: Output,
    *,
    mask_source: MaskSource = "teacher",
    tau_train: float = 100.0,
    ppc_norm: PpcNorm = "patch",
    mask_ties: MaskTies = "first",
    tau_share: float = 1.0,
) -> Tensor:
    """Student features near the teacher's at the active patches (Proto2Proto, Patch-Prototype Correspondence loss).

    With e_bc = ‖z_bc^s − z_bc^t‖²: Σ active·e / Σ active ("patch").

    Args:
        student: Of its add-on map `z` (B, D, H, W); of `distances` and `cells` where it is the mask's source.
        teacher: Likewise.
        mask_source: Whose active patches; the student's in the released code (A1); "all" counts every cell.
        tau_train: Threshold of active patches (A3), see `active_patches`.
        ppc_norm: "patch" averages over active patches; "image" over those of each image, then over images; "batch" (A4)
            is the released code's Σ active·e / (2 Σ active + 1).
        mask_ties: "first" nearest cell of each prototype, or "all" that tie (A18).
        tau_share: τ is at most this quantile of the batch's nearest distances (A3); 1: `tau_train` alone.
    """
    active = active_mask(
        student, teacher, mask_source=mask_source, tau_train=tau_train, mask_ties=mask_ties, tau_share=tau_share
    )
    error = (student.z - teacher.z).square().sum(1).flatten(1) * active  # (B, HW)
    count = active.sum(1)  # (B,)
    if ppc_norm == "image":
        return (error.sum(1) / count.clamp(min=1)).mean()
    if ppc_norm == "batch":
        return error.sum() / (2 * count.sum() + 1)
    return error.sum() / count.sum().clamp(min=1)


def switches(function: Callable[..., Any], params: Any) -> dict[str, Any]:
    """The keyword-only arguments of a function, from the parameters of the same names."""
    keywords = inspect.signature(function).parameters.values()
    return {k.name: getattr(params, k.name) for k in keywords if k.kind is k.KEYWORD_ONLY}


class Distillation(NamedTuple):
    """A distillation loss, and which fields of the teacher's `Output` it reads: those are kept with cached batches."""

    loss: Callable[..., Tensor]
    reads: frozenset[str]

    def switches(self, params: Any) -> dict[str, Any]:
        """The keyword arguments of the loss, from the parameters of the same names."""
        return switches(self.loss, params)


DISTILLATION = {
    "global": Distillation(global_explanation, frozenset({"prototypes"})),
    "ppc": Distillation(patch_correspondence, frozenset({"z", "cells", "distances"})),
    "rkd": Distillation(other_losses.relational, frozenset({"z"})),
    "logits": Distillation(other_losses.logits, frozenset({"logits"})),
    "features": Distillation(other_losses.feature_maps, frozenset({"z"})),
    "attention": Distillation(other_losses.attention, frozenset({"z"})),
}
