"""Random geometric augmentation, batched on the device: one transform and one resampling an image.

The paper prepares its training set offline with Augmentor: each original gives ten
copies each of rotation, skew, shear and elastic distortion, then half of all copies are mirrored. Here every
image of a batch draws one of the four by chance: an epoch is one pass, not forty, and no two epochs repeat.

Augmentor crops a rotated or sheared picture to what holds no black corners and enlarges it to its old size.
Rotation and shear zoom in here by the least factor that keeps every sampled point inside the frame. A skew
draws the sampled corners inwards, so it needs no crop. The elastic warp moves only nodes inside the frame.
Border pixels are reflected, which matters to half a pixel of interpolation only.

Random numbers come from a CPU generator and are moved afterwards, so a seed means the same on every device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from p2p.errors import UserError

REFERENCE_PIXELS = 224  # the image size to which `elastic_pixels` refers


def augment(
    pixels: Tensor,
    generator: torch.Generator,
    rotation_degrees: float = 15.0,
    skew: float = 0.2,
    shear_degrees: float = 10.0,
    elastic_cells: int = 5,
    elastic_pixels: float = 5.0,
    flip: float = 0.5,
) -> Tensor:
    """Give each image its own random transform (strengths as in `transform_grid`).

    Args:
        pixels: (B, 3, H, W) uint8, or floating point in [0, 1].
        generator: CPU generator; it advances by an amount that depends on B and elastic_cells only.

    Returns:
        (B, 3, H, W) float32 in [0, 1], on the device of `pixels`.

    Raises:
        UserError: `pixels` is not a batch of images, or a strength is out of range.
    """
    if pixels.ndim != 4:
        raise UserError(f"augment() got pixels of shape {tuple(pixels.shape)}; pass a batch (B, 3, H, W).")
    images = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    grid = transform_grid(
        len(images),
        images.shape[2],
        images.shape[3],
        generator,
        rotation_degrees=rotation_degrees,
        skew=skew,
        shear_degrees=shear_degrees,
        elastic_cells=elastic_cells,
        elastic_pixels=elastic_pixels,
        flip=flip,
        device=images.device,
    )
    return warp(images, grid).clamp_(0, 1)


def warp(images: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Resample float images (B, C, H, W) at `grid` (B, H, W, 2); use `mode="nearest"` for part masks."""
    return functional.grid_sample(images, grid, mode=mode, padding_mode="reflection", align_corners=False)


def transform_grid(
    batch: int,
    height: int,
    width: int,
    generator: torch.Generator,
    rotation_degrees: float = 15.0,
    skew: float = 0.2,
    shear_degrees: float = 10.0,
    elastic_cells: int = 5,
    elastic_pixels: float = 5.0,
    flip: float = 0.5,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw one transform an image: rotation, skew, shear or elastic (a quarter each), then perhaps a mirror.

    Args:
        rotation_degrees: Largest angle; the angle is uniform in ±rotation_degrees.
        skew: Largest inward move of a corner, as a fraction of the side; one side or one corner is tilted.
        shear_degrees: Largest shear angle, uniform in ±shear_degrees, along x or y.
        elastic_cells: The elastic warp has a lattice of elastic_cells x elastic_cells tiles.
        elastic_pixels: Largest move of a lattice node along each axis, in pixels of a 224-pixel image.
        flip: Probability of the mirror image.

    Returns:
        (B, H, W, 2) float32: for each output pixel the x, y at which to sample, for
        `grid_sample(align_corners=False)`: -1 and 1 are the outer edges of the frame.

    Raises:
        UserError: A strength is out of range.
    """
    _check(rotation_degrees, skew, shear_degrees, elastic_cells, elastic_pixels, flip)
    # Every image draws the numbers of all transforms, so the generator advances the same whatever is chosen.
    kind = torch.randint(0, 4, (batch,), generator=generator)
    amount = torch.rand(batch, generator=generator) * 2 - 1  # signed strength of rotation and shear
    tilt = torch.rand(batch, generator=generator)
    choice = torch.randint(0, 8, (batch,), generator=generator)  # side or corner of a skew, axis of a shear
    nodes = torch.rand(batch, 2, elastic_cells + 1, elastic_cells + 1, generator=generator) * 2 - 1
    mirrored = torch.rand(batch, generator=generator) < flip

    matrix = torch.eye(3).repeat(batch, 1, 1)  # output to input coordinates, homogeneous
    for index, build in enumerate(
        (
            _rotations(amount * math.radians(rotation_degrees), width / height),
            _skews(tilt * skew, choice),
            _shears(amount * math.radians(shear_degrees), choice % 2, width / height),
        )
    ):
        matrix = torch.where((kind == index)[:, None, None], build, matrix)
    # Mirroring comes last in output order, so its matrix acts first on output coordinates.
    matrix[:, :, 0] = torch.where(mirrored[:, None], -matrix[:, :, 0], matrix[:, :, 0])

    x = ((torch.arange(width, device=device) * 2 + 1) / width - 1).view(1, 1, width)
    y = ((torch.arange(height, device=device) * 2 + 1) / height - 1).view(1, height, 1)
    m = matrix.to(device)[:, :, :, None, None]
    u, v, w = (m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in range(3))
    grid = torch.stack((u / w, v / w), dim=-1)  # (B, H, W, 2)

    bent = (kind == 3).nonzero().flatten()
    if len(bent) and elastic_pixels > 0:
        # Nodes on the frame's edge stay put, as the outer corners of Augmentor's tiles do.
        inner = functional.pad(nodes[bent][:, :, 1:-1, 1:-1], (1, 1, 1, 1))
        moves = functional.interpolate(
            (inner * (2 * elastic_pixels / REFERENCE_PIXELS)).to(device),
            size=(height, width),
            mode="bilinear",
            align_corners=True,
        )
        moves = torch.where(mirrored[bent].to(device)[:, None, None, None], moves.flip(3), moves)
        grid[bent.to(device)] += moves.permute(0, 2, 3, 1)
    return grid


def _rotations(angles: Tensor, aspect: float) -> Tensor:
    """Matrices (B, 3, 3) that turn by `angles` (B,) in radians, zoomed until no corner leaves the frame."""
    cosine, sine = angles.cos(), angles.sin()
    # Coordinates are scaled to ±1 on both axes, so a turn in pixels mixes them by the aspect ratio W / H.
    return _zoomed(cosine, -sine / aspect, sine * aspect, cosine)


def _shears(angles: Tensor, axis: Tensor, aspect: float) -> Tensor:
    """Matrices (B, 3, 3) that shear by `angles` (B,) in radians along x (axis 0) or y (1), zoomed too."""
    slope, one = angles.tan(), torch.ones_like(angles)
    along_x = torch.where(axis == 0, slope / aspect, torch.zeros_like(slope))
    along_y = torch.where(axis == 1, slope * aspect, torch.zeros_like(slope))
    return _zoomed(one, along_x, along_y, one)


def _zoomed(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Matrices (B, 3, 3) of [[a, b], [c, d]] over the reach of the farthest corner, the least zoom needed."""
    reach = torch.maximum(a.abs() + b.abs(), c.abs() + d.abs())
    matrix = torch.zeros(len(a), 3, 3)
    matrix[:, :2, :2] = torch.stack((a, b, c, d), 1).view(-1, 2, 2) / reach[:, None, None]
    matrix[:, 2, 2] = 1
    return matrix


def _skews(tilts: Tensor, choice: Tensor) -> Tensor:
    """Perspectives (B, 3, 3) that carry the frame onto a quadrilateral inside it.

    Choices 0 to 3 draw in both corners of the left, right, top or bottom side; 4 to 7 one corner only.
    """
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    moves = torch.zeros(8, 4, 2)
    # Side, its two corners (clockwise from top left), and the axis along which they approach each other.
    for side, pair, axis in ((0, (0, 3), 1), (1, (1, 2), 1), (2, (0, 1), 0), (3, (3, 2), 0)):
        for corner in pair:
            moves[side, corner, axis] = -corners[corner, axis]
    for corner in range(4):
        moves[4 + corner, corner] = -corners[corner]
    target = corners + moves[choice] * (2 * tilts)[:, None, None]  # (B, 4, 2)
    x, y = corners[:, 0].expand(len(tilts), 4), corners[:, 1].expand(len(tilts), 4)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    u, v = target[:, :, 0], target[:, :, 1]
    rows_u = torch.stack((x, y, one, zero, zero, zero, -u * x, -u * y), -1)
    rows_v = torch.stack((zero, zero, zero, x, y, one, -v * x, -v * y), -1)
    solution = torch.linalg.solve(torch.cat((rows_u, rows_v), 1), torch.cat((u, v), 1))
    return torch.cat((solution, torch.ones(len(tilts), 1)), 1).view(-1, 3, 3)


def _check(rotation: float, skew: float, shear: float, cells: int, pixels: float, flip: float) -> None:
    """Refuse strengths without meaning."""
    for name, value, low, high in (
        ("rotation_degrees", rotation, 0, 45),
        ("skew", skew, 0, 0.45),
        ("shear_degrees", shear, 0, 45),
        ("elastic_cells", cells, 1, 64),
        ("elastic_pixels", pixels, 0, REFERENCE_PIXELS),
        ("flip", flip, 0, 1),
    ):
        if not low <= value <= high:
            raise UserError(f"Augmentation {name} is {value}; choose a value from {low} to {high}.")
