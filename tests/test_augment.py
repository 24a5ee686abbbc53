"""Augmentation: exact cases, known points, and the promises of the docstrings."""

import math

import pytest
import torch
from bounds import chance, rounding

from p2p.data.augment import augment, transform_grid, warp
from p2p.errors import UserError

pytestmark = pytest.mark.numeric

NONE = {"rotation_degrees": 0.0, "skew": 0.0, "shear_degrees": 0.0, "elastic_pixels": 0.0, "flip": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(batch=8, height=32, width=32, seed=0):
    return torch.randint(0, 256, (batch, 3, height, width), generator=seeded(seed), dtype=torch.uint8)


def identity(height, width):
    """(H, W, 2) pixel centres, written out slowly."""
    rows = [[[(2 * j + 1) / width - 1, (2 * i + 1) / height - 1] for j in range(width)] for i in range(height)]
    return torch.tensor(rows)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 44)])
def test_identity_and_flip_are_exact(height, width):
    pixels = photos(6, height, width)
    plain = augment(pixels, seeded(), **NONE)
    assert plain.dtype == torch.float32
    # a coordinate a few roundings off, half a side in pixels, along two axes; neighbours differ by 1 at most
    bound = rounding(16, 2 * width / 2)
    torch.testing.assert_close(plain, pixels / 255, rtol=0, atol=bound)
    mirrored = augment(pixels, seeded(), **NONE | {"flip": 1.0})
    torch.testing.assert_close(mirrored, pixels.flip(3) / 255, rtol=0, atol=bound)


def test_flip_probability():
    grid = transform_grid(2000, 2, 2, seeded(), **NONE | {"flip": 0.3})
    assert (grid[:, 0, 0, 0] > 0).float().mean() == pytest.approx(0.3, abs=chance(0.3, 2000))


def test_seed_decides_everything():
    pixels = photos()
    first, second = augment(pixels, seeded(3)), augment(pixels, seeded(3))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(pixels, seeded(4)))
    generator = seeded(3)
    augment(pixels, generator)
    assert not torch.equal(first, augment(pixels, generator))  # the generator advances


def test_each_image_has_its_own_transform():
    same = photos(1).expand(24, 3, 32, 32)
    out = augment(same, seeded()).flatten(1)
    distances = torch.cdist(out, out) + torch.eye(24) * 1e9
    assert distances.min() > 0.01


def test_uint8_and_float_agree_and_stay_in_range():
    pixels = photos(64)
    pixels[:32] = (pixels[:32] > 127) * 255  # hard black and white
    as_bytes, as_floats = augment(pixels, seeded(1)), augment(pixels.float() / 255, seeded(1))
    assert torch.equal(as_bytes, as_floats)
    assert as_bytes.min() >= 0 and as_bytes.max() <= 1
    assert as_bytes.shape == pixels.shape


def bent(grid):
    """(B,) bool: which of the grids (B, H, W, 2) move anything."""
    return (grid - identity(*grid.shape[1:3])).abs().amax((1, 2, 3)) > 1e-5


def test_a_quarter_of_the_images_gets_each_transform():
    for strength in ({"rotation_degrees": 15}, {"skew": 0.2}, {"shear_degrees": 10}, {"elastic_pixels": 5}):
        moved = bent(transform_grid(2000, 8, 8, seeded(5), **NONE | strength))
        assert moved.float().mean() == pytest.approx(0.25, abs=chance(0.25, 2000)), strength


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96)])
def test_rotation_keeps_angles_lengths_and_the_known_point(height, width):
    grid = transform_grid(200, height, width, seeded(2), **NONE | {"rotation_degrees": 15})
    grid = grid[bent(grid)]
    pixels = grid * torch.tensor([width / 2, height / 2])  # sampled points in pixels from the centre
    across = pixels[:, :, -1] - pixels[:, :, 0]  # (B, H, 2): where a row of the output is read
    down = pixels[:, -1] - pixels[:, 0]
    angle = torch.atan2(across[:, 0, 1], across[:, 0, 0])
    assert angle.abs().max() <= math.radians(15) + rounding(16)
    assert angle.min() < -0.15 and angle.max() > 0.15  # both senses, near the limit
    zoom = across[:, 0].norm(dim=1) / (width - 1)
    # A rotation times one zoom: rows and columns stay orthogonal and scale alike.
    lengths = across[:, 0].norm(dim=1) * down[:, 0].norm(dim=1)
    assert ((across[:, 0] * down[:, 0]).sum(1) / lengths).abs().max() < rounding(64)
    torch.testing.assert_close(down[:, 0].norm(dim=1) / (height - 1), zoom, rtol=rounding(64), atol=0)
    # The point at the end of the top row must be the pixel offset turned by the angle and scaled by the zoom.
    x, y = (width - 1) / 2, -(height - 1) / 2
    turned = torch.stack((angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y), 1)
    torch.testing.assert_close(pixels[:, 0, -1], turned * zoom[:, None], rtol=0, atol=rounding(64, width))


def test_rotation_moves_a_bright_point():
    # One dot right of the centre; after rotation by a known angle it must lie on the turned ray.
    dot = torch.zeros(40, 1, 65, 65)
    dot[:, :, 31:34, 47:50] = 1
    grid = transform_grid(40, 65, 65, seeded(6), **NONE | {"rotation_degrees": 30})
    keep = bent(grid)
    out = warp(dot, grid)[keep, 0]
    along = grid[keep, 32, 64] - grid[keep, 32, 0]
    angle = torch.atan2(along[:, 1], along[:, 0])  # the output is read turned by this, so content turns back
    axis = torch.arange(65.0) - 32
    mass = out.sum((1, 2))
    x, y = (out.sum(1) * axis).sum(1) / mass, (out.sum(2) * axis).sum(1) / mass
    assert torch.allclose(torch.atan2(y, x), -angle, atol=0.02)
    assert torch.allclose((x**2 + y**2).sqrt(), 16 / (along.norm(dim=1) / 2 * 65 / 64), atol=0.3)


def test_rotation_skew_and_shear_read_inside_the_frame_only():
    limits = {"rotation_degrees": 15, "skew": 0.2, "shear_degrees": 10}
    for name, strength in limits.items():
        grid = transform_grid(400, 32, 48, seeded(8), **NONE | {name: strength})
        assert grid.abs().max() <= 1 + rounding(16), name
        moved = grid[bent(grid)]
        reach = torch.stack((moved[..., 0].abs().amax((1, 2)), moved[..., 1].abs().amax((1, 2))), 1).amax(1)
        assert reach.min() > 0.92, name  # and no more zoom than needed


def test_shear_slope():
    grid = transform_grid(400, 64, 64, seeded(9), **NONE | {"shear_degrees": 10})
    grid = grid[bent(grid)]
    across, down = grid[:, 0, -1] - grid[:, 0, 0], grid[:, -1, 0] - grid[:, 0, 0]
    along_x, along_y = (down[:, 0] / down[:, 1]).atan(), (across[:, 1] / across[:, 0]).atan()
    assert torch.minimum(along_x.abs(), along_y.abs()).max() < rounding(16)  # one axis at a time
    both = torch.maximum(along_x.abs(), along_y.abs())
    assert math.radians(9) < both.max() <= math.radians(10) + rounding(16)
    assert (along_x.abs() > 1e-3).any() and (along_y.abs() > 1e-3).any()


def test_skew_keeps_straight_lines_and_limits():
    grid = transform_grid(400, 33, 33, seeded(10), **NONE | {"skew": 0.2})
    grid = grid[bent(grid)]
    for line in (grid[:, 0], grid[:, :, 5], grid[:, range(33), range(33)]):
        chord, offset = line[:, -1] - line[:, 0], line - line[:, :1]
        cross = chord[:, None, 0] * offset[..., 1] - chord[:, None, 1] * offset[..., 0]
        assert cross.abs().max() < rounding(16, 8)  # collinear: products of lengths up to 2√2
    corners = grid[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    start = identity(33, 33)[[0, 0, -1, -1], [0, -1, 0, -1]]
    moves = (corners - start).abs().amax((1, 2))
    assert 0.33 < moves.max() <= 0.4 + 0.02  # 0.2 of a side of length 2
    assert ((grid[:, 16, 16]).abs().amax(1) > 1e-3).any()  # a perspective shifts the centre


def test_elastic_moves_nodes_within_the_limit_and_scales_with_the_image():
    for size in (56, 224):
        grid = transform_grid(64, size, size, seeded(11), **NONE | {"elastic_pixels": 5})
        grid = grid[bent(grid)]
        moves = (grid - identity(size, size)) * size / 2  # pixels
        assert 0.9 * 5 * size / 224 < moves.abs().max() <= 5 * size / 224 + 1e-3
        assert moves[:, [0, -1]].abs().max() < 1e-3 and moves[:, :, [0, -1]].abs().max() < 1e-3  # frame is fixed
        assert moves.std((1, 2)).min() > 0.1 * size / 224  # not a mere shift


def test_mirrored_image_is_the_mirror_of_the_unmirrored():
    pixels = photos(40)
    plain, mirrored = (augment(pixels, seeded(12), flip=flip) for flip in (0.0, 1.0))
    torch.testing.assert_close(mirrored, plain.flip(3), rtol=0, atol=rounding(16, 2 * 32 / 2))


def test_masks_follow_the_pixels():
    masks = torch.zeros(40, 1, 64, 64)
    masks[:, :, 20:44, 24:50] = 3
    grid = transform_grid(40, 64, 64, seeded(13))
    warped = warp(masks, grid, mode="nearest")
    assert set(warped.unique().tolist()) == {0.0, 3.0}
    image = augment((masks / 3).expand(40, 3, 64, 64), seeded(13))[:, :1]
    assert ((image > 0.5) == (warped > 0)).float().mean() > 0.99
    assert ((image == 1) <= (warped > 0)).all() and ((image == 0) <= (warped == 0)).all()


def test_errors():
    with pytest.raises(UserError, match="batch"):
        augment(photos()[0], seeded())
    for name, value in (
        ("rotation_degrees", 90.0),
        ("skew", -0.1),
        ("shear_degrees", 60.0),
        ("elastic_cells", 0),
        ("elastic_pixels", -1.0),
        ("flip", 1.5),
    ):
        with pytest.raises(UserError, match=name):
            transform_grid(2, 8, 8, seeded(), **{name: value})
