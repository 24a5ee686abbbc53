"""Push, or projection: every prototype becomes its nearest training patch, of its own class where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import interpolate

from p2p.errors import UserError
from p2p.networks import Pixels, ProtoNet, PrototypeLayer


@dataclass(frozen=True)
class Projection:
    """Where each prototype comes from.

    Attributes:
        images: (P,) index of the source image in the set that was searched.
        cells: (P,) int64, cell h·W + w.
        distances: (P,) squared L2 from the prototype to that patch before the push.
        patches: (P, D) the patch itself.
        maps: (P, H, W) squared L2 from the patch to all cells of its own source image (zero at its cell).
    """

    images: Tensor
    cells: Tensor
    distances: Tensor
    patches: Tensor
    maps: Tensor

    def distinct(self) -> int:
        """How many different patches the prototypes are."""
        return len(torch.stack([self.images, self.cells], 1).unique(dim=0))

    def boxes(self, layer: PrototypeLayer, size: int, percentile: float = 95.0) -> Tensor:
        """(P, 4) x0, y0, x1, y1 in pixels, see `activation_boxes`."""
        return activation_boxes(layer.similarity(self.maps), self.cells, size, percentile)


@torch.inference_mode()
def find_patches(network: ProtoNet, pixels: Pixels, labels: Tensor, batch_size: int = 64) -> Projection:
    """The nearest own-class patch of every prototype: one pass over the images, a running arg-min per prototype.

    A prototype that belongs to several classes (`ProtoNet.own`), as a tree's do, may come from an image of any of them.

    Each batch updates all prototypes at once; of equal distances the first image wins, whatever the batch size.

    Args:
        network: In any mode; it is run in eval mode and left as it was.
        pixels: (N, 3, S, S) uint8, unaugmented training images.
        labels: (N,) class of each.
        batch_size: Images a forward pass.

    Returns:
        The patches; `network` is not changed, see `push`.
    """
    mode = network.training
    network.eval()
    device = network.prototypes.device
    p, d = network.prototypes.shape
    vectors = network.layer.prepare(network.prototypes)
    best = torch.full((p,), float("inf"), device=device)
    image = torch.zeros(p, dtype=torch.int64, device=device)
    cell, patch, z_maps = torch.zeros_like(image), torch.zeros(p, d, device=device), None
    members = network.own.nonzero()[:, 1].view(len(network.own), -1)  # (K, n): the prototypes of each class
    place = torch.zeros_like(image)  # of a prototype among those of a class that it belongs to
    place[members.flatten()] = torch.arange(members.numel(), device=device) % members.shape[1]
    every = torch.arange(p, device=device)
    start = 0
    for images, classes in zip(pixels.split(batch_size), labels.split(batch_size), strict=True):
        z = network.add_on_map(images.to(device))  # (B, D, H, W)
        own = members[classes.to(device)]  # (B, n)
        smallest, where = _own_distances(z, vectors[own]).min(2)  # (B, n)
        table = torch.full((len(z), p), float("inf"), device=device).scatter_(1, own, smallest)
        smallest, b = table.min(0)  # (P,)
        better = smallest < best
        if z_maps is None:
            h, w = z.shape[2:]
            z_maps = torch.zeros(p, h * w, device=device)
        j, bj = every[better], b[better]
        best[j], image[j], cell[j] = smallest[better], start + bj, where[bj, place[j]]
        patch[j] = z.flatten(2)[bj, :, cell[j]]
        for k in range(0, len(j), 256):  # maps of the new holders, in blocks so that memory stays small
            holder, source = j[k : k + 256], z.flatten(2)[bj[k : k + 256]]  # (b, D, HW)
            z_maps[holder] = (source - patch[holder][:, :, None]).square().sum(1)
        start += len(images)
    network.train(mode)
    assert z_maps is not None, "no images"
    return Projection(image, cell, best, patch, z_maps.view(p, h, w))


def _own_distances(z: Tensor, own: Tensor) -> Tensor:
    """(B, n, HW) squared L2 of each image's own prototypes (B, n, D) to its cells; the other classes' cannot win."""
    x = z.flatten(2)  # (B, D, HW)
    x2 = (x * x).sum(1, keepdim=True)
    return (torch.baddbmm(x2, own, x, alpha=-2) + (own * own).sum(2, keepdim=True)).relu()


@torch.inference_mode()
def distinct_patches(network: ProtoNet, pixels: Pixels, labels: Tensor, batch_size: int = 64) -> Projection:
    """As `find_patches`, but the prototypes of a class get different patches, with the smallest sum of distances.

    One assignment problem a class (Jonker-Volgenant, `scipy.optimize.linear_sum_assignment`).

    Raises:
        UserError: A class has fewer patches than prototypes.
    """
    vectors, per_class = network.layer.prepare(network.prototypes), network.per_class
    parts: list[tuple[Tensor, Tensor]] = []
    for k in range(len(network.own)):
        images = (labels == k).nonzero()[:, 0]
        z = torch.cat([_maps(network, pixels, part) for part in images.split(batch_size)])  # (n, D, H, W)
        if z[:, 0].numel() < per_class:
            raise UserError(
                f"Class {k} has {z[:, 0].numel()} patches for {per_class} prototypes; lower 'prototypes_per_class' or "
                "set 'push' to nearest."
            )
        own = vectors[k * per_class : (k + 1) * per_class]
        cost = _own_distances(z, own.expand(len(z), *own.shape)).transpose(0, 1).flatten(1)  # (per_class, n·HW)
        chosen = torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(images.device)
        cells = z.shape[2] * z.shape[3]
        parts.append((images[chosen // cells], chosen % cells))
    image, cell = (torch.cat(of) for of in zip(*parts, strict=True))
    return patches_at(network, pixels, image, cell, batch_size)


@torch.inference_mode()
def patches_at(network: ProtoNet, pixels: Pixels, images: Tensor, cells: Tensor, batch_size: int = 64) -> Projection:
    """The network's own features at given patches.

    Args:
        network: In any mode; it is run in eval mode and left as it was.
        pixels: (N, 3, S, S) uint8, unaugmented training images.
        images: (P,) index of each prototype's source image.
        cells: (P,) its cell.
        batch_size: Images a forward pass.
    """
    device = network.prototypes.device
    vectors, found = network.layer.prepare(network.prototypes), []
    for part in torch.arange(len(images), device=images.device).split(batch_size):
        z = _maps(network, pixels, images[part])
        h, w = z.shape[2:]
        x, here = z.flatten(2), cells[part].to(device)  # (b, D, HW)
        patch = x[torch.arange(len(x), device=device), :, here]
        moved = (vectors[part.to(device)] - patch).square().sum(1)
        found.append((moved, patch, (x - patch[:, :, None]).square().sum(1).view(-1, h, w)))
    distances, patches, maps = (torch.cat(of) for of in zip(*found, strict=True))
    return Projection(images.to(device), cells.to(device), distances, patches, maps)


def _maps(network: ProtoNet, pixels: Pixels, images: Tensor) -> Tensor:
    """Add-on maps (n, D, H, W) of some images, in eval mode."""
    mode = network.training
    network.eval()
    z = network.add_on_map(pixels[images.to(pixels.device)].to(network.prototypes.device))
    network.train(mode)
    return z


class SameSource(NamedTuple):
    """Shares of prototypes, 0 to 1, and what chance gives: a random order of the prototypes within each class."""

    patch: float
    image: float
    patch_chance: float
    image_chance: float


def same_source(teacher: Projection, other: Projection, per_class: int) -> SameSource:
    """Share of prototypes whose source patch, or image, is that of the teacher's prototype of the same number.

    What a person is shown as the reason is the source patch, so this is how often the two networks show one picture.
    Source: this study.

    Args:
        teacher, other: Projections of the same images, prototype j of class j // per_class in both.
        per_class: Prototypes of a class; all of them, where they belong to none.
    """
    shares = []
    for patch in (True, False):
        a, b = (torch.stack([p.images, p.cells * patch], 1).view(-1, per_class, 2) for p in (teacher, other))
        equal = (a[:, :, None] == b[:, None]).all(3).double()  # (K, n, n): i of the teacher, j of the other
        shares += [float(equal.diagonal(dim1=1, dim2=2).mean()), float(equal.mean())]
    return SameSource(shares[0], shares[2], shares[1], shares[3])


def push(
    network: ProtoNet,
    pixels: Pixels,
    labels: Tensor,
    batch_size: int = 64,
    how: str = "nearest",
    teacher: Projection | None = None,
) -> Projection:
    """Replace every prototype by a training patch of its own class (ProtoPNet §2.2, projection).

    Args:
        network, pixels, labels, batch_size: As in `find_patches`.
        how: "nearest", as published; "distinct", the nearest but no patch twice in a class; "shared", the network's own
            feature at the source patch of the teacher's prototype of the same number, so that both show one picture.
        teacher: Where the teacher's prototypes come from, for "shared".

    Returns:
        Where each prototype comes from.
    """
    if how == "shared":
        assert teacher is not None, "a shared push needs the teacher's projection"
        found = patches_at(network, pixels, teacher.images, teacher.cells, batch_size)
    else:
        find = distinct_patches if how == "distinct" else find_patches
        found = find(network, pixels, labels, batch_size)
    with torch.no_grad():
        network.prototypes.copy_(found.patches)
    return found


@torch.inference_mode()
def projection_error(network: ProtoNet, pixels: Pixels, found: Projection, batch_size: int = 64) -> float:
    """max_j ‖p_j − z(source image)[source cell]‖₂, with the network as it is now, in eval mode.

    Zero up to rounding while trunk and add-on have not moved since the push; the honest test of "prototypes are
    training patches" (A8 of the audit).
    """
    mode = network.training
    network.eval()
    device, worst = network.prototypes.device, 0.0
    prototypes = network.layer.prepare(network.prototypes)
    for start in range(0, len(found.images), batch_size):
        part = slice(start, start + batch_size)
        images = pixels[found.images[part].to(pixels.device)].to(device)
        z = network.add_on_map(images).flatten(2)  # (B, D, HW)
        patch = z[torch.arange(len(z), device=device), :, found.cells[part].to(device)]
        worst = max(worst, (prototypes[part] - patch).norm(dim=1).max().item())
    network.train(mode)
    return worst


def activation_boxes(similarities: Tensor, cells: Tensor, size: int, percentile: float = 95.0) -> Tensor:
    """The pixels a prototype looks at: where its upsampled similarity exceeds a percentile (as ProtoPNet draws it).

    Only the connected rectangle around the maximum counts: rows and columns of the peak's blob, found along the two
    axes through the peak.

    Args:
        similarities: (P, H, W).
        cells: (P,) the most similar cell of each map.
        size: Side of the image, pixels.
        percentile: Of all pixels of the upsampled map.

    Returns:
        (P, 4) int64 x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
    """
    _, h, w = similarities.shape
    boxes = []
    for block, where in zip(similarities.split(256), cells.split(256), strict=True):
        up = interpolate(block[:, None], size=(size, size), mode="bicubic", align_corners=False)[:, 0]
        level = torch.quantile(up.flatten(1), percentile / 100, dim=1)
        high = up >= level[:, None, None]  # (b, S, S)
        y = ((where // w).float() + 0.5).mul(size / h).long()
        x = ((where % w).float() + 0.5).mul(size / w).long()
        n = torch.arange(len(up), device=up.device)
        x0, x1 = _run_around(high[n, y], x)
        y0, y1 = _run_around(high[n, :, x], y)
        boxes.append(torch.stack([x0, y0, x1, y1], 1))
    return torch.cat(boxes)


def _run_around(line: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Start and end (exclusive) of the run of true values around `at` in each line (n, S)."""
    s = line.shape[1]
    index = torch.arange(s, device=line.device)
    stop = ~line & (index != at[:, None])
    left = torch.where(stop & (index < at[:, None]), index, -1).amax(1) + 1
    right = torch.where(stop & (index > at[:, None]), index, s).amin(1)
    return left, right
