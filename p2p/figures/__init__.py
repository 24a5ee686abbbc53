"""The figures of the book: tensors, data frames and runs in, a matplotlib `Figure` out; `save` and `svg` write SVG.

Curves are in `pages` and `speed`, images in `pictures`, the look of all in `style`. Imports every other room.
"""

from p2p.figures.own import class_prototypes, confusion_matrix, mistakes
from p2p.figures.pages import budget_curves, pair_curves, seed_dots, tau_curves, training_curves
from p2p.figures.pictures import (
    augmentation_sheet,
    choose_matches,
    image_sheet,
    matched_patches,
    nearest_patches,
    prototype_gallery,
    top_k_comparison,
)
from p2p.figures.style import ROLES, save, svg

__all__ = [
    "ROLES",
    "augmentation_sheet",
    "budget_curves",
    "choose_matches",
    "class_prototypes",
    "confusion_matrix",
    "image_sheet",
    "matched_patches",
    "mistakes",
    "nearest_patches",
    "pair_curves",
    "prototype_gallery",
    "save",
    "seed_dots",
    "svg",
    "tau_curves",
    "top_k_comparison",
    "training_curves",
]
