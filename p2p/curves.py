"""Do the places that an explanation names count? What a network says of images whose cells are hidden one by one.

An explanation ranks the cells of the grid (`evidence`, `ranking`). *Deletion* hides the first cells of the ranking,
more and more of them; *preservation* hides all but the first. Sources: Petsiuk et al., BMVC 2018 (RISE: deletion,
insertion); DeYoung et al., ACL 2020 (ERASER: comprehensiveness, sufficiency); both curves together, with a random order
at zero, as in Schulz et al., ICLR 2020. What is new is whose explanation ranks: hidden from a student is what its
*teacher* names.

A hidden cell has one grey, the mean of ImageNet (`GREY`), which is zero to a network; it is the same for every image
and says nothing of what was there. A blur would: parts of drawn birds are as small as a cell and differ in colour, so
one mild enough to keep the image whole leaves their colour to be seen. Images with grey cells are unlike any that a
network was trained on; that is why every value has beside it that of a random order, which hides as much.

All functions are pure. Letters: N images, P prototypes, C = H·W cells, K classes, T = steps + 1 points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from p2p.networks import ProtoNet, distance_map
from p2p.trunks import IMAGENET_MEAN

GREY = tuple(round(255 * channel) for channel in IMAGENET_MEAN)  # of a hidden pixel
STEPS = 10

Answer = Callable[[Tensor], Tensor]  # (n, 3, S, S) uint8 -> (n, K) logits

# --------------------------------------------------------------------------------------------- what an explanation says


def evidence(similarities: Tensor, slopes: Tensor) -> Tensor:
    """How much each cell speaks for a class: the similarity maps of all prototypes, each times its weight, summed.

    Args:
        similarities: (N, P, H, W).
        slopes: (N, P) weight of each prototype for the class of the image, see `explain`.

    Returns:
        (N, C); a negative value speaks against the class.
    """
    return torch.einsum("npc,np->nc", similarities.flatten(2).double(), slopes.double())


def ranking(values: Tensor) -> Tensor:
    """(N, C) int64 cells by falling `evidence` (N, C); of equal ones the first."""
    return values.sort(dim=1, descending=True, stable=True).indices


def random_ranking(images: int, cells: int, generator: torch.Generator) -> Tensor:
    """(N, C) int64 cells of each image in an order drawn at random: what every curve is read against."""
    return torch.rand(images, cells, generator=generator).argsort(1)


@torch.inference_mode()
def explain(network: ProtoNet, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What the network takes images for, and how much each cell speaks for it.

    A prototype's weight for a class is what its similarity adds (`Decision.contributions`) for each unit of it: W_kj of
    a linear decision, ∂ŷ_k / ∂s_j of a tree.

    Args:
        network: In eval mode.
        pixels: (N, 3, S, S) uint8 on its device; all in one batch.

    Returns:
        (N,) int64 classes and (N, C) float64 `evidence`, on the CPU.
    """
    z, layer = network.add_on_map(pixels), network.layer
    maps = layer.similarity(distance_map(z, layer.prepare(network.prototypes)))  # (N, P, H, W)
    most = maps.flatten(2).amax(2).double()
    classes = network.decision(most).argmax(1)
    added = network.decision.contributions(most, classes)
    slopes = torch.where(most.abs() > 1e-12, added / most, 0.0)
    return classes.cpu(), evidence(maps, slopes).cpu()


# ------------------------------------------------------------------------------------------------------------ curves


def counts(cells: int, steps: int = STEPS) -> list[int]:
    """How many of C cells are hidden (or kept) at each point of a curve, none to all; of few cells fewer points."""
    return sorted({(2 * step * cells + steps) // (2 * steps) for step in range(steps + 1)})


def hidden(pixels: Tensor, mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """The images with some cells grey.

    Args:
        pixels: (N, 3, S, S) uint8.
        mask: (N, C) bool, the cells to hide. A pixel belongs to the cell in which its middle lies.
        grid: (H, W).
    """
    size, (height, width) = pixels.shape[-1], grid
    row, column = ((2 * torch.arange(size) + 1) * cells // (2 * size) for cells in (height, width))
    covered = mask.view(-1, height, width)[:, row][:, :, column].to(pixels.device)
    grey = torch.tensor(GREY, dtype=torch.uint8, device=pixels.device)[None, :, None, None]
    return torch.where(covered[:, None], grey, pixels)


def answers(
    answer: Answer,
    pixels: Tensor,
    order: Tensor,
    grid: tuple[int, int],
    keep: bool = False,
    steps: int = STEPS,
    ends: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """What a network says when the first cells of a ranking are hidden, or when all others are.

    Args:
        answer: The network; it may take the images in parts.
        pixels: (N, 3, S, S) uint8.
        order: (N, C) int64, as `ranking` gives it, on the CPU.
        grid: (H, W).
        keep: Hide all but the first cells (preservation) instead of these (deletion).
        steps: Of the curve.
        ends: (N, K) logits of the images with no cell and with all cells hidden, where they are known already: they are
            the same for every order.

    Returns:
        (T, N, K) logits; the share of cells at point t is `counts(C, steps)[t]` / C.
    """
    rank, cells = order.argsort(1), order.shape[1]
    whole, empty = ends or whole_and_empty(answer, pixels)
    masks = ((rank >= count) if keep else (rank < count) for count in counts(cells, steps)[1:-1])
    between = [answer(hidden(pixels, mask, grid)) for mask in masks]
    return torch.stack([empty, *between, whole] if keep else [whole, *between, empty])


def whole_and_empty(answer: Answer, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) logits of the images as they are, and of images all grey, where both curves begin and end."""
    nothing = hidden(pixels[:1], torch.ones(1, 1, dtype=torch.bool), (1, 1))
    return answer(pixels), answer(nothing).expand(len(pixels), -1)


def probability(logits: Tensor, classes: Tensor) -> Tensor:
    """(T, N) float64 probability of each image's class (N,), of logits (T, N, K)."""
    return logits.double().softmax(2).gather(2, classes[None, :, None].expand(len(logits), -1, 1))[..., 0]


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """(T, N) float64, 1 where logits (T, N, K) are largest for the label (N,): their mean over N is the accuracy."""
    return (logits.argmax(2) == labels).double()


def area(values: Tensor, cells: int, steps: int = STEPS) -> Tensor:
    """Area under curves, by the trapezoid rule over the share of cells from 0 to 1.

    From 0 to 1 for curves that lie there. Of deletion lower is better: the network's answer falls early when what the
    explanation names first is hidden. Of preservation higher is better. Chance: a random order, of which both have the
    same area, because to keep a share at random is to hide the rest at random.

    Args:
        values: (T, …).
        cells: C.
        steps: Of the curve.

    Returns:
        (…) float64.
    """
    shares = torch.tensor(counts(cells, steps), dtype=torch.float64) / cells
    return torch.trapezoid(values.double(), shares, dim=0)


def places(deletion: Tensor, preservation: Tensor) -> Tensor:
    """Area under preservation less that under deletion: how far the first cells of a ranking are those that count.

    From −1 to 1, higher is better: near 1 if the first cells decide alone and nothing is left without them; 0 is
    chance, in expectation exactly, a random order whatever the network (see `area`); below 0 where the last cells count
    more. One number for both curves; what grey cells do to any image is in both areas and drops out.

    With a ranking by the teacher's explanation it says how far a student leans on the teacher's places. Two levels
    belong beside it: its own explanation, and the teacher's of other images, since most birds are in the middle of
    their image. It is not divided by what the own explanation reaches: of networks trained alone that can be near 0,
    and the share then says nothing. Sources: Schulz et al., ICLR 2020; the teacher's ranking, this study.

    Args:
        deletion, preservation: (N,) areas.

    Returns:
        (N,).
    """
    return preservation - deletion
