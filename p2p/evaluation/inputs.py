"""The tables of the page on a study's images: what there is, and the networks that will see it."""

from __future__ import annotations

import pandas as pd
import torch

from p2p.data.images import SPLITS, ImageSet
from p2p.study.pages import escape
from p2p.trunks import build_trunk


def split_table(images: ImageSet) -> pd.DataFrame:
    """A row a split: split, images, classes, fewest in a class, most in a class (all classes of the set counted)."""
    rows = []
    for split in SPLITS:
        labels = images.subset(split).labels
        sizes = torch.bincount(labels, minlength=len(images.classes))
        row = {"split": split, "images": len(labels), "classes": labels.unique().numel()}
        rows.append(row | {"fewest in a class": int(sizes.min()), "most in a class": int(sizes.max())})
    return pd.DataFrame(rows)


def trunk_table(
    networks: dict[str, str], size: int, grid: int, missing: dict[str, list[str]] | None = None
) -> pd.DataFrame:
    """A row a trunk, built to see that it has the grid: trunk, weights, grid, channels, parameters.

    Args:
        networks: trunk: weights.
        size: Side of the images, pixels.
        grid: Side of the grid, cells.
        missing: trunk: what its weights file may lack.

    Raises:
        UserError: No such trunk, or it has no such grid.
    """
    rows = []
    for name, weights in networks.items():
        trunk, channels = build_trunk(name, size, grid, weights, (missing or {}).get(name, []))
        row = {"trunk": name, "weights": escape(weights), "grid": f"{grid} × {grid}", "channels": channels}
        rows.append(row | {"parameters": f"{sum(p.numel() for p in trunk.parameters()):,}"})
    return pd.DataFrame(rows)
