"""Other ways to distil, for comparison: relations (RKD), logits, feature maps, attention.

Each takes the student's output and the teacher's answer to the same images, as the losses of `p2p.losses` do, where the
table `DISTILLATION` holds all of them. All look at what Proto2Proto looks at, the add-on map z (B, D, H, W), or at the
logits. None of them knows prototypes: where no Global Explanation loss stands beside it, the student's prototypes begin
and stay its own, so a match by number says nothing of such a student.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div, normalize, smooth_l1_loss

from p2p.networks import Output


def pooled(z: Tensor) -> Tensor:
    """(B, D, H, W) to (B, D): the mean over cells."""
    return z.flatten(2).mean(2)


def normalised_distances(x: Tensor) -> Tensor:
    """ψ_D(x_i, x_j) = ‖x_i − x_j‖₂ / μ, μ their mean over the batch (RKD, eq. 4 and 5).

    Args:
        x: (B, D).

    Returns:
        (B (B − 1) / 2,), each pair i < j once.
    """
    i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
    distances = (x[i] - x[j]).norm(dim=1)
    return distances / distances.mean().clamp(min=1e-12)


def angles(x: Tensor) -> Tensor:
    """ψ_A(x_i, x_j, x_k) = ⟨e_ij, e_kj⟩, e_ij the unit vector from x_j to x_i: cosines of all angles (RKD, eq. 7).

    Args:
        x: (B, D).

    Returns:
        (B (B − 1) (B − 2),), each triplet of three different points once; the vertex x_j is the slowest to change.
    """
    b = len(x)
    edges = x[None] - x[:, None]  # (B, B, D), [j, i] from j to i
    length = edges.norm(dim=2, keepdim=True)
    unit = edges / length.masked_fill(length == 0, 1)  # two points at one place have no direction: 0
    cosines = unit @ unit.transpose(1, 2)  # (B, B, B), [j, i, k]
    same = torch.eye(b, dtype=torch.bool, device=x.device)
    return cosines[~(same[:, :, None] | same[:, None, :] | same[None])]


def relational_distances(student: Output, teacher: Output) -> Tensor:
    """Distances between the images of a batch, in units of their mean, as the teacher's (RKD-D, eq. 6)."""
    return _mean_huber(normalised_distances(pooled(student.z)), normalised_distances(pooled(teacher.z)))


def relational_angles(student: Output, teacher: Output) -> Tensor:
    """Angles between the images of a batch as the teacher's (RKD-A, eq. 8)."""
    return _mean_huber(angles(pooled(student.z)), angles(pooled(teacher.z)))


def relational(student: Output, teacher: Output) -> Tensor:
    """Relational distillation: distances and, twice as heavy, angles between the images of a batch.

    Source: Park, Kim, Lu and Cho, *Relational Knowledge Distillation*, CVPR 2019, §3.2; the ratio of the two terms is
    that of its experiments. The mean over pairs and triplets, not the sum, so that the weight does not depend on B.
    Features are the add-on map's mean over cells; student and teacher may differ in D, H and W.

    Args:
        student: Of its `z` (B, D, H, W).
        teacher: Likewise.
    """
    return relational_distances(student, teacher) + 2 * relational_angles(student, teacher)


def _mean_huber(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber's loss with δ = 1, on average; 0 where a batch is too small to have any relation."""
    return smooth_l1_loss(student, teacher, reduction="sum") / max(1, len(student))


def logits(student: Output, teacher: Output, *, temperature: float = 4.0) -> Tensor:
    """The teacher's softened answer: T² KL(softmax(l^t / T) ‖ softmax(l^s / T)), mean over images.

    Source: Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015, §2 and §2.1: T² keeps the
    gradient's size when T changes. KL differs from their cross-entropy by the teacher's entropy, a constant.

    Args:
        student: Of its `logits` (B, K).
        teacher: Likewise.
        temperature: T.
    """
    log_s, log_t = ((each.logits / temperature).log_softmax(1) for each in (student, teacher))
    return temperature**2 * kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def feature_maps(student: Output, teacher: Output) -> Tensor:
    """Mean squared difference of the add-on maps, over images, channels and all cells.

    Source: Romero et al., *FitNets: Hints for Thin Deep Nets*, ICLR 2015, eq. 3. Its regressor, which brings the
    student's features to the teacher's depth, is here the student's own add-on: learnt 1 × 1 convolutions to the same D
    (a study whose depths differ is refused). It is PPC on all cells (`mask_source` all), divided by D.

    Args:
        student: Of its `z` (B, D, H, W).
        teacher: Likewise, of the same shape.
    """
    return (student.z - teacher.z).square().mean()


def attention(student: Output, teacher: Output) -> Tensor:
    """Attention transfer: ‖Q^s / ‖Q^s‖₂ − Q^t / ‖Q^t‖₂‖₂, mean over images, with Q = Σ_d z_d² on each cell.

    Source: Zagoruyko and Komodakis, *Paying More Attention to Attention*, ICLR 2017, eq. 2 with p = 2 and F²_sum; its
    β / 2 is the weight. Student and teacher may differ in D.

    Args:
        student: Of its `z` (B, D, H, W).
        teacher: Likewise, with the same grid.
    """
    own, theirs = (normalize(each.z.square().sum(1).flatten(1), dim=1) for each in (student, teacher))
    return (own - theirs).norm(dim=1).mean()
