"""The look of every figure: settings, colours, sheets of images, and SVG files, small and reproducible.

One style (`style`), one colour for each role (`ROLES`, from the colour-blind-safe palette of Okabe and Ito).
Images are drawn in pixel coordinates, pixel j covering [j, j + 1), so boxes need no shift.
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from math import ceil
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from p2p.figures import glyphs
from p2p.files import write_atomic
from p2p.study.pages import class_text

ROLES = {
    "teacher": "#0072B2",
    "baseline": "#E69F00",
    "student": "#009E73",
    "control": "#CC79A7",
    "floor": "#999999",
    "second teacher": "#4D4D4D",
}
SHARED = "#D55E00"  # frame of what student or baseline have in common with the teacher
LOSSES = {
    "loss": ("total", "#000000"),
    "ce": ("cross-entropy", "#0072B2"),
    "cluster": ("cluster", "#009E73"),
    "separation": ("separation", "#E69F00"),
    "l1": ("L1", "#999999"),
    "global": ("global", "#CC79A7"),
    "ppc": ("PPC", "#56B4E9"),
    "rkd": ("RKD", "#D55E00"),
    "logits": ("logits", "#8C564B"),
    "features": ("feature maps", "#7F7FFF"),
    "attention": ("attention", "#B8A800"),
}
PARTS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
METRICS = {"top1": "top-1 accuracy", "aap": "AAP (cells per image)", "ajs": "AJS", "pms": "PMS"}
PHASES = {"warm": "#FBE9D0", "joint": "#EDEDED"}
MARKERS = {"teacher": "o", "baseline": "s", "student": "^"}
LEVELS = {"floor": "--", "second_teacher": ":"}
WIDTH = 8.0  # inches
PHONE = 3.9  # inches, of a figure for a phone
LIMIT = 480_000  # bytes of an SVG

Pixels = NDArray[np.uint8]
P = ParamSpec("P")
T = TypeVar("T")


def style() -> dict[Any, Any]:
    """Matplotlib settings of every figure, for `matplotlib.rc_context`."""
    return {
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9.5,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.6,
        "figure.facecolor": "none",  # the page shows through, light or dark
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "image.interpolation": "catrom",  # smooth but sharp, enlarged or reduced
        "svg.fonttype": "none",
        "svg.hashsalt": "p2p",
    }


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw with `style`, whatever the caller's settings."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(style()):
            return function(*args, **kwargs)

    return drawn


def svg(figure: Figure) -> str:
    """The figure as SVG text: the same figure gives the same text, without a date, under `LIMIT` bytes.

    Photographs are stored as JPEG, a fifth of matplotlib's PNG, at the finest of three resolutions that fits.
    """

    def jpeg(found: re.Match[str]) -> str:
        picture = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        out = io.BytesIO()
        flat.save(out, "JPEG", quality=88)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()

    text, figure = "", glyphs.lend_fonts(figure)
    for dpi in (160, 110, 75):
        stream = io.StringIO()
        with mpl.rc_context(style()):
            figure.savefig(stream, format="svg", dpi=dpi, metadata={"Date": None})
        text = re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", jpeg, stream.getvalue())
        if len(text) < LIMIT:
            break
    return text


def save(figure: Figure, path: Path | str) -> None:
    """Write the figure as SVG in one step, see `svg`."""
    write_atomic(path, svg(figure))


def role(role: str) -> str:
    return ROLES.get(role, ROLES["control"])


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    if handles:
        figure.legend(handles=list(handles), loc="outside lower center", ncols=min(len(handles), 6))


def short(name: str, most: int, lines: int = 1) -> str:
    """A class or file name fit to draw: no number in front, no underscores, in lines of `most` letters, each of which a
    font here has (see `p2p.figures.glyphs`)."""
    wrapped = clip(glyphs.readable(class_text(name)), most, lines)
    return wrapped.replace("$", r"\$")  # matplotlib would read what stands between two as mathematics


def clip(text: str, most: int, lines: int = 1) -> str:
    """A text in lines of `most` letters, what is too long cut off."""
    return "\n".join(textwrap.wrap(text, most, max_lines=lines, placeholder="…"))


def array(image: Tensor) -> Pixels:
    """(3, S, S) uint8, or float in [0, 1], as (S, S, 3) uint8."""
    image = image if image.dtype == torch.uint8 else (image * 255).round().clamp(0, 255).to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()


def heat(image: Pixels, similarities: Tensor) -> Pixels:
    """The image (S, S, 3) with similarities (H, W), from least to most, laid over it."""
    up = interpolate(similarities.float().cpu()[None, None], image.shape[:2], mode="bicubic")[0, 0]
    heat = ((up - up.min()) / (up.max() - up.min()).clamp(min=1e-12)).numpy()
    colour = mpl.colormaps["inferno"](heat)[..., :3] * 255
    opaque = 0.25 + 0.6 * heat[..., None]  # so that the image stays visible where nothing responds
    return ((1 - opaque) * image.mean(2, keepdims=True) + opaque * colour).round().astype(np.uint8)


def sheet(
    count: int, columns: int, wide: int, lines: int = 1, left: float = 0.0, foot: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A sheet of `count` axes, each `wide` images wide, with titles of `lines` lines.

    `left` and `foot` are inches kept free there, for row names and a legend.
    """
    columns = min(columns, count)
    rows, side = ceil(count / columns), min(1.6, (WIDTH - left) / columns / wide)
    figure = Figure(figsize=(WIDTH, rows * (side + 0.2 * lines) + foot + 0.1), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def step(image: Pixels) -> float:
    """Distance, in pixels, from an image of a strip to the next."""
    return 1.04 * image.shape[1]


def strip(ax: Axes, pictures: Sequence[Pixels], title: str = "") -> None:
    """Images side by side in one axes, in the pixel coordinates of the first."""
    size = pictures[0].shape[1]
    for n, picture in enumerate(pictures):
        ax.imshow(picture, extent=(n * step(picture), n * step(picture) + size, size, 0))
    ax.set(xlim=(0, step(pictures[0]) * (len(pictures) - 1) + size), ylim=(size, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title, pad=3)


def box(
    ax: Axes,
    box: Tensor,
    colour: str = "#56B4E9",
    text: str = "",
    shift: float = 0.0,
    at: tuple[float, float] | None = None,
    **how: Any,
) -> None:
    """A frame around box (4,) x0, y0, x1, y1 in pixels, dark outside so that it shows on any image; its text at its
    upper left corner, or `at` a place."""
    x0, y0, x1, y1 = (float(value) for value in box)
    for edge, width in (("white", 3.2), (colour, 1.8)) if not how else ((colour, 1.8),):
        values = {"linewidth": width, "edgecolor": edge, **how}
        ax.add_patch(Rectangle((x0 + shift, y0), x1 - x0, y1 - y0, fill=False, **values))
    if text:
        size = ax.get_ylim()[0]
        label = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
        x, y = (min(max(place, 0.035 * size), 0.965 * size) for place in at or (x0 + shift, y0))  # inside the image
        side = "center" if "," not in text else "left" if x0 < size / 2 else "right"
        if side != "center":  # several numbers: below the frames where there is no room above
            x, y = {"left": x0, "right": x1}[side] + shift, y1 if y0 < 0.035 * size else y
        ax.text(x, y, text, color="white", weight="bold", fontsize=9, va="center", ha=side, bbox=label)


def corners(boxes: Tensor, size: int) -> list[tuple[float, float]]:
    """For each of boxes (n, 4), in pixels of an image of so many, a corner where its number does not hide an earlier
    one's; where all do, the farthest from these."""
    taken: list[tuple[float, float]] = []

    def room(corner: tuple[float, float]) -> float:
        inside = [min(max(place, 0.035 * size), 0.965 * size) for place in corner]
        gaps = (max(abs(inside[0] - x), abs(inside[1] - y)) for x, y in taken)
        return min([0.09 * size, *gaps])  # a number's width is all that it needs

    for x0, y0, x1, y1 in boxes.tolist():
        best = max(((x0, y0), (x1, y0), (x0, y1), (x1, y1)), key=room)  # of equals the first
        taken.append(best)
    return taken


def numbered(ax: Axes, boxes: Mapping[int, Tensor], colour: str) -> None:
    """Numbered frames on one image; those of one place stand inside each other, their numbers together: "1, 3".

    Args:
        ax: Of the image, see `strip`.
        boxes: By number, (4,) each, see `box`.
        colour: Of all frames.
    """
    places: dict[tuple[float, ...], list[int]] = {}
    for number, one in boxes.items():
        places.setdefault(tuple(one.tolist()), []).append(number)
    for place, numbers in places.items():
        whole = torch.tensor(place)
        box(ax, whole, colour, ", ".join(map(str, numbers)))
        for inset in insets(len(numbers))[1:]:
            by = inset * (whole[2:] - whole[:2])
            box(ax, torch.cat([whole[:2] + by, whole[2:] - by]), colour)


def insets(count: int) -> list[float]:
    """How far inside its cell each of several frames stands, as a share of the cell's side; the first not at all."""
    return [level * min(0.13, 0.4 / count) for level in range(count)]


def frame(ax: Axes, colour: str) -> None:
    """Mark the whole axes."""
    ax.spines[:].set(visible=True, color=colour, linewidth=3)
