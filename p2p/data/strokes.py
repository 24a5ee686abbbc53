"""Painting strokes: a batched, antialiased rasteriser of one shape that serves for all.

A stroke runs from a to b; its radius goes from ra to rb and swells by `bulge` halfway; its axis bends
sideways by `bend` at b. Discs, capsules, leaves and feathers are strokes.
Frame units: x right, y down, -1 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
# (x, y, r) is a disc; otherwise (ax, ay, bx, by, ra, rb), then bulge and bend, 0 if not given.
Stroke = tuple[float, ...]


@dataclass(frozen=True)
class Layer:
    """Strokes (B, n, 8) of one colour (B, 3), and an accent that shows only inside them."""

    strokes: Floats
    colour: Floats
    accent: tuple[Floats, Floats] | None = None  # strokes (B, m, 8), colour (B, 3)
    code: int | None = None  # mask value where the layer is opaque; None leaves the mask as it is
    soft: float = 0.0  # width of the edge in frame units; 0 is one pixel
    rim: float = 0.2  # how much darker the edge is than the middle
    base: bool = False  # other layers refer to this one
    on_base: bool = False  # paint only where the base is


def stroke_array(strokes: list[Stroke], count: int = 0) -> Floats:
    """Strokes as an array (1, n, 8), the last repeated up to `count`, which leaves their union as it is."""
    full = [s[:2] * 2 + (s[2], s[2], 0, 0) if len(s) == 3 else s + (0,) * (8 - len(s)) for s in strokes]
    return np.array([full + full[-1:] * (count - len(full))], float)


def move(strokes: Floats, turn: Floats, scale: Floats, shift: Floats, pivot: tuple[float, float]) -> Floats:
    """Turn by (B,) radians, scale by (B,) strokes (B or 1, n, 8) about the pivot, then shift by (B, 2)."""
    cos, sin = (scale * np.cos(turn))[:, None], (scale * np.sin(turn))[:, None]
    moved = strokes * scale[:, None, None]
    for k in (0, 2):
        x, y = strokes[..., k] - pivot[0], strokes[..., k + 1] - pivot[1]
        moved[..., k] = cos * x - sin * y + pivot[0] + shift[:, :1]
        moved[..., k + 1] = sin * x + cos * y + pivot[1] + shift[:, 1:]
    return moved


def paint(canvas: Tensor, mask: Tensor, base: Tensor, layer: Layer) -> None:
    """Paint a layer over canvas (B, 3, S, S) and mask (B, S, S); a base layer fills base (B, S, S).

    Only exactly rounded, unfused operations touch pixels, so that no pixel depends on the rest of the batch.
    """
    size, device = canvas.shape[-1], canvas.device
    window = _window(layer, size)
    centres = (torch.arange(size, dtype=torch.float64) * 2 + 1) / size - 1
    ys, xs = (centres[part].float().to(device) for part in window[1:])
    if not len(xs) or not len(ys):
        return
    distance = _distance(layer.strokes, xs, ys)
    alpha = _cover(distance, layer.soft or 2 / size)
    if layer.on_base:
        alpha.mul_(base[window])
    colour = _to_device(layer.colour, device)[:, :, None, None]
    if layer.rim:
        shade = distance.mul_(-layer.rim / 0.08).clamp_(0, layer.rim).add_(1 - layer.rim)
        colour = colour * shade[:, None]
    _blend(canvas[window], colour, alpha)
    if layer.accent is not None:
        inside = _cover(_distance(layer.accent[0], xs, ys), 2 / size).mul_(alpha)
        _blend(canvas[window], _to_device(layer.accent[1], device)[:, :, None, None], inside)
    if layer.code is not None:
        mask[window].masked_fill_(alpha > 0.5, layer.code)
    if layer.base:
        base[window] = alpha


def _window(layer: Layer, size: int) -> tuple:
    """The (…, rows, columns) that hold every pixel the layer touches in the whole batch; may be empty."""
    a, along, _, side = _axes(layer.strokes)
    ra, rb, bulge, bend = (layer.strokes[..., k, None] for k in range(4, 8))
    reach = np.maximum(ra, rb) + np.maximum(bulge, 0) + layer.soft / 2 + 2 / size
    hull = np.stack([a, a + along, a + along + side * bend])  # a bent axis lies in this triangle
    low, high = (hull - reach).min(0), (hull + reach).max(0)
    seen = ((high > -1) & (low < 1)).all(-1)  # strokes outside the frame would only widen the window
    if not seen.any():
        return (..., slice(0, 0), slice(0, 0))
    low, high = ((np.clip(edge, -1, 1) + 1) * size / 2 for edge in (low[seen].min(0), high[seen].max(0)))
    x, y = (slice(int(np.floor(low[k])), int(np.ceil(high[k]))) for k in (0, 1))
    return (..., y, x)


def _blend(canvas: Tensor, colour: Tensor, alpha: Tensor) -> None:
    """canvas (B, 3, h, w) becomes canvas + alpha (colour - canvas), in place."""
    canvas.add_((colour - canvas).mul_(alpha[:, None]))


def _cover(distance: Tensor, width: float) -> Tensor:
    """Opacity at a signed distance: 1 inside, 0 outside, linear over `width` around the outline."""
    return (distance * (-1 / width)).add_(0.5).clamp_(0, 1)


def _to_device(values: Floats, device: torch.device) -> Tensor:
    return torch.from_numpy(values).float().to(device)


def _axes(strokes: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Of strokes (..., 8): a (..., 2), b - a (..., 2), the unit vectors along and sideways (..., 2)."""
    a, along = strokes[..., 0:2], strokes[..., 2:4] - strokes[..., 0:2]
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    unit = np.where(length > 1e-6, along / np.maximum(length, 1e-6), [1.0, 0.0])
    return a, along, unit, np.stack([-unit[..., 1], unit[..., 0]], -1)


def _distance(strokes: Floats, xs: Tensor, ys: Tensor) -> Tensor:
    """Distance (B, h, w), negative inside, of pixel centres xs (w,), ys (h,) to strokes (B, n, 8) united.

    With u along the axis from a, v across it, L its length, s = clamp(u, 0, L) and t = s / L, the distance is
    |(u - s, v - bend t²)| - (ra + t (rb - ra) + 4 bulge t (1 - t)): exact for discs and capsules, else close.
    """
    a, along, unit, side = _axes(strokes)
    length = np.maximum(np.linalg.norm(along, axis=-1), 1e-6)
    ra, rb, bulge, bend = (strokes[..., k] for k in range(4, 8))
    axes = [unit[..., 0], unit[..., 1], -(unit * a).sum(-1), side[..., 0], side[..., 1], -(side * a).sum(-1)]
    shape = [length, ra, (rb - ra + 4 * bulge) / length, -4 * bulge / length**2, -bend / length**2]
    # All (B, n, 1, 1); the radius is r0 + s (r1 + s r2).
    terms = _to_device(np.stack(axes + shape), xs.device)[..., None, None]
    ux, uy, u0, vx, vy, v0, end, r0, r1, r2, c2 = terms
    u, v = (ux * xs + u0) + uy * ys[:, None], (vx * xs + v0) + vy * ys[:, None]  # (B, n, h, w)
    s = torch.minimum(u.clamp(min=0), end)
    radius = (s * r2).add_(r1).mul_(s).add_(r0)
    u.sub_(s)
    v.add_(s.mul_(s).mul_(c2))
    distance = u.mul_(u).add_(v.mul_(v)).sqrt_().sub_(radius)
    nearest = distance[:, 0]
    for k in range(1, distance.shape[1]):
        nearest = torch.minimum(nearest, distance[:, k])
    return nearest
