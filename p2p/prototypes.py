"""Where add-on and prototypes start, as learnt from training images: two departures from the paper, named switches."""

from __future__ import annotations

import torch
from torch import Tensor

from p2p.networks import LinearNet, Pixels, ProtoNet


@torch.no_grad()
def normalise_features(network: ProtoNet | LinearNet, pixels: Pixels, images: int = 256) -> None:
    """Divide trunk outputs by their root mean square, and give each channel of both add-on convolutions mean 0 and
    variance 1 over the images (data-dependent initialisation, Krähenbühl et al., ICLR 2016).

    The outputs of trunks differ widely in size. Where they are large, Kaiming weights saturate the sigmoid, and one
    learning rate cannot serve teacher and student.

    Args:
        network: `scale` and add-on are changed; run in eval mode.
        pixels: (N, 3, S, S) uint8 training images, of which `images`, evenly spaced, are looked at.
    """
    mode = network.training
    network.eval()
    device = network.scale.device
    chosen = torch.linspace(0, len(pixels) - 1, min(images, len(pixels))).long().to(pixels.device)
    x = torch.cat([network.trunk(pixels[part].to(device)).float() for part in chosen.split(64)])
    network.scale.copy_(x.square().mean().sqrt().clamp(min=1e-6))
    if isinstance(network, ProtoNet):
        x = x / network.scale
        for layer in network.addon:
            if isinstance(layer, torch.nn.Conv2d) and layer.bias is not None:
                out = layer(x)
                mean, deviation = out.mean((0, 2, 3)), out.std((0, 2, 3)).clamp(min=1e-6)
                layer.weight.div_(deviation[:, None, None, None])
                layer.bias.sub_(mean).div_(deviation)
            x = layer(x)
    network.train(mode)


@torch.no_grad()
def class_patches(network: ProtoNet, pixels: Pixels, labels: Tensor, seed: int, images: int = 30) -> Tensor:
    """For each class, real patches spread over its images: k-means centres of their add-on vectors, each replaced by
    the nearest patch. Where prototypes belong to no class, as a tree's, all classes are taken together.

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
    per_class, chosen = network.per_class, []
    families = [(labels == k).nonzero()[:images, 0] for k in range(len(network.own))]
    for own in families if network.decision.classed else [torch.cat(families)]:
        z = torch.cat([network.add_on_map(pixels[part].to(device)) for part in own.split(64)])
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
