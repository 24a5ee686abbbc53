"""Where prototypes start: own-class training patches (a departure from the paper's U[0, 1), a named switch)."""

from __future__ import annotations

import torch
from torch import Tensor

from p2p.networks import ProtoNet


@torch.no_grad()
def class_patches(network: ProtoNet, pixels: Tensor, labels: Tensor, seed: int, images: int = 30) -> Tensor:
    """For each class, real patches spread over its images: k-means centres of their add-on vectors, each replaced by
    the nearest patch.

    Args:
        network: In any mode; run in eval mode.
        pixels: (N, 3, S, S) uint8 training images.
        labels: (N,).
        seed: Of the choice of the first centres.
        images: At most so many images of a class are looked at.

    Returns:
        (P, D).
    """
    mode = network.training
    network.eval()
    device, generator = network.prototypes.device, torch.Generator().manual_seed(seed)
    classes, per_class = len(network.own), len(network.prototypes) // len(network.own)
    chosen = []
    for k in range(classes):
        own = (labels == k).nonzero()[:images, 0]
        z = network.addon(network.trunk(pixels[own].to(device))).float()
        patches = z.flatten(2).transpose(1, 2).flatten(0, 1)  # (n·HW, D)
        order = torch.randperm(len(patches), generator=generator)
        centres = patches[order[torch.arange(per_class) % len(order)].to(device)]  # repeated where patches are few
        for _ in range(10):
            nearest = torch.cdist(patches, centres).argmin(1)
            total = torch.zeros_like(centres).index_add_(0, nearest, patches)
            count = torch.bincount(nearest, minlength=per_class)[:, None]
            centres = torch.where(count > 0, total / count.clamp(min=1), centres)
        chosen.append(patches[torch.cdist(centres, patches).argmin(1)])
    network.train(mode)
    return torch.cat(chosen)
