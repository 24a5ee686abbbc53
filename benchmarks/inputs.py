"""What the benchmarks work on: the recipe of a study, its images, and networks as its training starts them."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor

from p2p.data.images import load_images
from p2p.errors import UserError
from p2p.files import project_path
from p2p.networks import ProtoNet
from p2p.prototypes import class_patches, normalise_features
from p2p.study.params import TrainParams, check
from p2p.study.speed_params import SpeedParams
from p2p.study.study import load_study
from p2p.training.build import build_network


def recipe(params: SpeedParams, more: dict[str, Any] | None = None) -> TrainParams:
    """The first teacher of the study file `params.recipe`, with `params.recipe_changes`; its images in memory.

    Args:
        params: Of the page.
        more: Further keys to change, such as `params.short_changes`.

    Raises:
        UserError: No such study, a wrong key, or a trunk that CaBRNet cannot use as a whole.
    """
    runs = load_study(project_path(params.recipe)).runs().values()
    teacher = next(run for run in runs if run.role == "teacher")
    values = {**teacher.model_dump(), "streaming": "off", **params.recipe_changes, **(more or {})}
    found = check(TrainParams, values, "recipe_changes or short_changes")
    if found.network.startswith(("small", "timm/")):
        raise UserError(f"Network '{found.network}' of {params.recipe} is no torchvision trunk; name another recipe.")
    return found


def photographs(values: TrainParams, classes: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """About `count` training images (N, 3, S, S) uint8 of the first classes, and their labels, ordered by class."""
    change = {"class_step": 1, "class_count": classes, "images_per_class": max(2, ceil(count / classes))}
    images = load_images(values.model_copy(update=change), device)
    images = images.select((images.split != 2).nonzero().flatten())
    assert isinstance(images.pixels, Tensor)
    order = images.labels.argsort(stable=True)  # birds come class after class, photographs lie in folders
    return images.pixels[order], images.labels[order]


def network(values: TrainParams, classes: int, pixels: Tensor, labels: Tensor, patches: bool) -> ProtoNet:
    """A network as a run starts it: trunk weights, add-on scaled to the images, prototypes random or patches."""
    built = build_network(values, classes).to(pixels.device)
    assert isinstance(built, ProtoNet)
    normalise_features(built, pixels)
    if patches:
        built.prototypes.data = class_patches(built, pixels, labels, values.seed)
    return built.eval()
