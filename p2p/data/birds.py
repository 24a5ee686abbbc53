"""Synthetic birds: images drawn in code, with a true mask for every part, and redrawable part by part.

A class is one variant (a shape with its colours) of each of the six parts. Everything else is nuisance from a
hash of (seed, index, slot): pose, mirror, scale, light, background, distractors and an occluding leaf. So an
image depends on its own arguments only, never on its batch; a part can be removed or exchanged while every
other pixel stays as it is. Geometry and colours are in `p2p.data.bird_art`, painting is in `p2p.data.strokes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p2p.data import bird_art as art
from p2p.data.species import PARTS, VARIANTS
from p2p.data.strokes import Floats, Layer, move, paint, stroke_array
from p2p.errors import UserError

_SLOTS = 128  # random numbers per image, more than are used
LOOSE = ("beak", "crest", "foot", "tail")  # parts that lie about where drawing is hard, and belong to no bird
_BIRD = 255  # mask value, while drawing, of bird that is no part


@dataclass(frozen=True)
class Birds:
    """A batch of drawn birds. Coordinates are continuous frame pixels: pixel j covers [j, j + 1)."""

    pixels: Tensor  # (B, 3, S, S) uint8
    masks: Tensor  # (B, S, S) uint8: 0 = none, q + 1 = visible pixel of PARTS[q]
    parts: Tensor  # (B, Q, 3) float32 x, y of the visible pixels' centroid, visible (0/1); zeros if not
    boxes: Tensor  # (B, 4) float32 x0, y0, x1, y1 around the visible bird


def draw(
    labels: Tensor,
    index: Tensor,
    table: Tensor,
    size: int,
    seed: int,
    without: str | None = None,
    exchange: dict[str, int] | None = None,
    device: torch.device | str = "cpu",
    hardness: float = 0.0,
) -> Birds:
    """Draw birds, each a function of (seed, index[b], table[labels[b]], size, without, exchange, hardness) alone.

    Args:
        labels: (B,) classes, rows of `table`.
        index: (B,) image numbers; a number fixes every nuisance, whatever the class.
        table: (K, Q) variants from `class_table`.
        size: Height and width S in pixels.
        seed: Seed of the nuisances.
        without: A part to leave out; everything else stays equal.
        exchange: Variant to give to a part of every image, instead of its class's; all else stays equal.
        device: Where to paint and where the result lives.
        hardness: 0 to 1: how much more birds turn, shrink and move, how often leaves hide a part of them, and how often
            loose parts, which belong to no bird, lie about.

    Returns:
        Pixels, masks, part centroids (visible = 0 under three pixels) and boxes.

    Raises:
        UserError: An unknown part or variant, labels outside the table, a size under 8, or unequal lengths.
    """
    exchange = exchange or {}
    for part in [*exchange, *([] if without is None else [without])]:
        if part not in PARTS:
            raise UserError(f"Birds have no part {part!r}; choose one of {', '.join(PARTS)}.")
    for part, variant in exchange.items():
        if not 0 <= variant < len(VARIANTS[part]):
            raise UserError(f"Part {part!r} has no variant {variant}; choose 0 to {len(VARIANTS[part]) - 1}.")
    if size < 8:
        raise UserError(f"Birds cannot be drawn at size {size}; choose at least 8 pixels.")
    if labels.shape != index.shape or labels.ndim != 1:
        raise UserError(
            f"Birds need one index per label; labels have shape {tuple(labels.shape)} and index has "
            f"{tuple(index.shape)}, so give two vectors of one length."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(table):
        raise UserError(f"Bird labels must lie in 0 to {len(table) - 1}, the rows of the class table.")
    variants = table.cpu()[labels.cpu()].numpy().copy()
    for part, variant in exchange.items():
        variants[:, PARTS.index(part)] = variant
    device = torch.device(device)
    pixels = torch.empty(len(labels), 3, size, size, dtype=torch.uint8, device=device)
    masks = torch.empty(len(labels), size, size, dtype=torch.uint8, device=device)
    numbers = index.cpu().numpy()
    # A chunk's canvas should stay in the cache of a CPU core; a GPU wants much more at once.
    step = max(1, (2**17 if device.type == "cpu" else 2**24) // size**2)
    for start in range(0, len(labels), step):
        rows = slice(start, start + step)
        draws = iter(_uniforms(seed, numbers[rows], _SLOTS).T)
        pixels[rows], masks[rows] = _draw_chunk(variants[rows], draws, size, without, device, hardness)
    parts = torch.stack([_centroid(masks == q + 1) for q in range(len(PARTS))], 1)
    boxes = _box(masks > 0)
    return Birds(pixels, masks.masked_fill_(masks == _BIRD, 0), parts, boxes)


def _draw_chunk(
    variants: NDArray[np.int64],
    draws: Iterator[Floats],
    size: int,
    without: str | None,
    device: torch.device,
    hardness: float,
) -> tuple[Tensor, Tensor]:
    """Draw birds with variants (B, Q): pixels (B, 3, S, S) and masks (B, S, S), both uint8."""
    span = partial(_span, draws)
    mirror = torch.from_numpy(next(draws) < 0.5).to(device)
    canvas = _background(draws, size).to(device)
    mask = torch.zeros(len(variants), size, size, dtype=torch.uint8, device=device)
    body = torch.zeros(len(variants), size, size, device=device)
    for layer in _layers(variants, draws, without, hardness):
        paint(canvas, mask, body, layer)
    # Light: brighter or darker as a whole, falling off to one side, a little warm or cool.
    axis = torch.linspace(-1 + 1 / size, 1 - 1 / size, size, dtype=torch.float64)
    level, warm = span(0.90, 1.06), span(-0.03, 0.03)
    tint = torch.from_numpy(np.stack([level + warm, level, level - warm], 1))[:, :, None]
    across = torch.from_numpy(span(-0.10, 0.10))[:, None, None] * axis
    down = torch.from_numpy(span(-0.12, 0.02))[:, None, None] * axis + tint
    canvas.mul_(across.float().to(device)[:, :, None, :] + down.float().to(device)[..., None])
    pixels = canvas.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
    pixels = torch.where(mirror[:, None, None, None], pixels.flip(-1), pixels)
    return pixels, torch.where(mirror[:, None, None], mask.flip(-1), mask)


def _layers(
    variants: NDArray[np.int64], draws: Iterator[Floats], without: str | None, hardness: float = 0.0
) -> Iterator[Layer]:
    """Layers of birds with variants (B, Q), back to front; takes every random number in any case."""
    span = partial(_span, draws)

    def leaf(x: Floats, y: Floats, half: Floats) -> Floats:
        turn, none = span(0, 2 * np.pi), 0 * half
        dx, dy = half * np.cos(turn), half * np.sin(turn)
        stroke = [x - dx, y - dy, x + dx, y + dy, none, none, 0.42 * half, span(-0.1, 0.1)]
        return np.stack(stroke, 1)[:, None]

    for _ in range(2):
        leaves = [leaf(span(-1, 1), span(-1, 1), span(0.15, 0.30)) for _ in range(2)]
        yield Layer(np.concatenate(leaves, 1), _pick(art.LEAVES, next(draws)), soft=0.10, rim=0.0)
    x, y, radius = (np.stack([span(*ends), span(*ends)], 1) for ends in ((-1, 1), (-1, 1), (0.05, 0.08)))
    berries = np.stack([x, y, x, y, radius, radius, 0 * x, 0 * x], 2)
    yield Layer(berries, _pick(art.BERRIES, next(draws)), soft=0.05)

    turn, scale = np.radians(span(-12, 12)) * (1 + hardness), span(0.86 - 0.22 * hardness, 1.02)
    shift = np.stack([span(-0.06, 0.06), span(-0.06, 0.04)], 1) * (1 + 2 * hardness)
    nod = np.stack([span(-0.03, 0.02), span(-0.03, 0.03)], 1)
    swings = {part: np.radians(span(-1, 1) * art.JOINTS[part][2]) for part in PARTS}
    coat = _pick(art.COATS, next(draws)) * span(0.88, 1.05)[:, None]
    wood = _rgb(art.WOOD) * span(0.8, 1.25)[:, None]
    occluder = leaf(span(-0.7, 0.75), span(-0.7, 0.6), span(0.20, 0.30))
    occluder[..., :4] += 9 * (next(draws) > 0.25 + 0.5 * hardness)[:, None, None]  # the others fall outside the frame
    green = _pick(art.LEAVES, next(draws)) * 0.8

    def pose(strokes: Floats, head: bool = False, part: str | None = None) -> Floats:
        if part is not None:
            strokes = move(strokes, swings[part], np.ones_like(scale), 0 * nod, art.JOINTS[part][:2])
        if head:
            strokes = move(strokes, 0 * turn, np.ones_like(scale), nod, (0.0, 0.0))
        return move(strokes, turn, scale, shift, (0.0, 0.0))

    def part_layer(part: str) -> Iterator[Layer]:
        q = PARTS.index(part)
        if part != without:
            colour, strokes, accent_colour, accent = (values[variants[:, q]] for values in _TABLES[part])
            strokes, accent = (pose(s, art.JOINTS[part][3], part) for s in (strokes, accent))
            yield Layer(strokes, colour, (accent, accent_colour), code=q + 1, on_base=part == "breast")

    yield Layer(pose(stroke_array(art.PERCH)), wood, code=0)
    if hardness:
        yield from _loose_parts(draws, hardness)
    for part in ("tail", "foot", "crest"):
        yield from part_layer(part)
    trunk = np.concatenate([pose(stroke_array(art.BODY)), pose(stroke_array(art.HEAD), head=True)], 1)
    yield Layer(trunk, coat, code=_BIRD, base=True)
    yield Layer(pose(stroke_array(art.BELLY)), 0.55 * coat + 0.43, soft=0.12, rim=0.0, on_base=True)
    for part in ("breast", "wing", "beak"):
        yield from part_layer(part)
    for colour, disc in art.EYE:
        yield Layer(pose(stroke_array(disc), head=True), _rgb(colour) + 0 * coat, code=_BIRD, rim=0.0)
    yield Layer(occluder, green, code=0)


def _loose_parts(draws: Iterator[Floats], hardness: float) -> Iterator[Layer]:
    """Parts of any variant, turned and laid anywhere behind the bird; each is there with probability `hardness`."""
    span = partial(_span, draws)
    for part in LOOSE:
        kind = (next(draws) * len(VARIANTS[part])).astype(int)
        turn, scale = span(0, 2 * np.pi), span(0.7, 1.0)
        place = np.stack([span(-0.9, 0.9), span(-0.9, 0.9)], 1) + 9 * (next(draws) >= hardness)[:, None]
        colour, strokes, accent_colour, accent = (values[kind] for values in _TABLES[part])
        middle = strokes[..., :4].reshape(len(kind), -1, 2).mean(1)
        for piece in (strokes, accent):
            piece[..., 0:4:2] -= middle[:, None, :1]
            piece[..., 1:4:2] -= middle[:, None, 1:]
        strokes, accent = (move(piece, turn, scale, place, (0.0, 0.0)) for piece in (strokes, accent))
        yield Layer(strokes, colour, (accent, accent_colour), code=0)


def _background(draws: Iterator[Floats], size: int) -> Tensor:
    """A vertical gradient with soft glows, (B, 3, S, S) float32."""
    axis = (np.arange(size) * 2 + 1) / size - 1
    span, sky = partial(_span, draws), next(draws)
    top, bottom = _pick(art.SKY_TOPS, sky)[..., None], _pick(art.SKY_BOTTOMS, sky)[..., None]
    column = torch.from_numpy(top + (bottom - top) * (axis + 1) / 2).float()  # (B, 3, S)
    canvas = column[..., None].repeat(1, 1, 1, size)
    for _ in range(4):
        x, y, width = span(-1, 1), span(-1, 1), span(0.25, 0.55)
        tint = np.stack([span(-0.12, 0.12) for _ in range(3)], 1)[..., None]
        across, down = (np.exp(-(((axis - c[:, None]) / width[:, None]) ** 2)) for c in (x, y))
        glow = torch.from_numpy(tint * down[:, None]).float()[..., None]
        canvas.add_(glow * torch.from_numpy(across).float()[:, None, None])
    return canvas


def _uniforms(seed: int, index: NDArray[np.int64], slots: int) -> Floats:
    """Uniform numbers in [0, 1), (B, slots): SplitMix64 (Steele et al. 2014) of seed, index, then slot."""

    def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        key = mix(np.array([seed % 2**64], np.uint64) + golden)
        key = mix((key ^ index.astype(np.uint64)) + golden)[:, None]
        bits = mix(key + golden * np.arange(1, slots + 1, dtype=np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _span(draws: Iterator[Floats], low: float, high: float) -> Floats:
    """The next random numbers (B,), scaled to [low, high)."""
    return low + (high - low) * next(draws)


def _rgb(colour: str) -> Floats:
    """A colour "#rrggbb" as three numbers in [0, 1]."""
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])


def _pick(colours: list[str], draw: Floats) -> Floats:
    """One of the colours for each number (B,) in [0, 1), (B, 3)."""
    return np.stack([_rgb(c) for c in colours])[(draw * len(colours)).astype(int)]


def _tables(part: str) -> tuple[Floats, Floats, Floats, Floats]:
    """The art of a part over its variants: colours (V, 3), strokes (V, n, 8), and the same of the accents."""
    colours, strokes, accent_colours, accents = zip(*art.ART[part].values(), strict=True)
    n, m = max(map(len, strokes)), max(map(len, accents))
    return (
        np.stack([_rgb(colour) for colour in colours]),
        np.concatenate([stroke_array(variant, n) for variant in strokes]),
        np.stack([_rgb(colour) for colour in accent_colours]),
        np.concatenate([stroke_array(variant, m) for variant in accents]),
    )


_TABLES = {part: _tables(part) for part in PARTS}


def _centroid(mask: Tensor) -> Tensor:
    """Centroid x, y in pixels and visible of mask (B, S, S): (B, 3); zeros under three pixels."""
    centres = torch.arange(mask.shape[-1], device=mask.device, dtype=torch.float64) + 0.5
    columns, rows = mask.sum(1).double(), mask.sum(2).double()
    count = columns.sum(1)
    x, y = (columns * centres).sum(1) / count, (rows * centres).sum(1) / count
    place = torch.stack([x, y, torch.ones_like(count)], 1)
    return torch.where((count >= 3)[:, None], place, 0.0).float()


def _box(mask: Tensor) -> Tensor:
    """Box x0, y0, x1, y1 in pixels around mask (B, S, S): (B, 4); the whole frame where it is empty."""
    size = mask.shape[-1]
    bounds = []
    for seen in (mask.any(1), mask.any(2)):  # columns, then rows, (B, S)
        first, last = seen.byte().argmax(1), size - seen.flip(1).byte().argmax(1)
        bounds.append((first, last))
    (x0, x1), (y0, y1) = bounds
    return torch.stack([x0, y0, x1, y1], 1).float()
