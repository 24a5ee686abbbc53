"""Trunks: the networks of torchvision and timm without their classifiers, cut where they have the wanted grid."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from p2p.errors import UserError, reason
from p2p.weights import load_weights, timm_file, torchvision_state

OWN = {"small": 24, "small_half": 12, "small_sixth": 4, "small_eighth": 3}  # of 64 px images: width of the first stage
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRUNKS = (
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *(f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")),
    *("densenet121", "densenet161", "densenet169", "densenet201"),
    *(f"convnext_{size}" for size in ("tiny", "small", "base")),
    *(f"efficientnet_{size}" for size in ("b0", "b1", "b2", "b3", "b4", "v2_s")),
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf")),
    *("mobilenet_v2", "squeezenet1_1", *OWN),
)


class Normalise(nn.Module):
    """Images to the trunk's input: uint8 or float in [0, 1] to float32 with the mean and spread it was trained for.

    Args:
        mean: Of each channel, ImageNet's by default.
        std: Of each channel, ImageNet's by default.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> the same
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class TimmFeatures(nn.Module):
    """A timm model up to one of its stages, as a map (B, C, H, W).

    Args:
        model: With timm's `forward_intermediates` and `forward_features`.
        stage: Index among the former's maps; None: the latter's output, with all that stands between the last stage and
            the pooling, such as MobileNetV2's and EfficientNet's last 1×1 convolution with its normalisation.
    """

    def __init__(self, model: Any, stage: int | None) -> None:
        super().__init__()
        self.model, self.stage = model, stage
        self.channels_first = getattr(model, "output_fmt", "NCHW") != "NHWC"  # Swin's last map is (B, H, W, C)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, C, H, W)
        if self.stage is None:
            x = self.model.forward_features(x)
            return x if self.channels_first else x.permute(0, 3, 1, 2)
        return self.model.forward_intermediates(x, indices=[self.stage], stop_early=True, intermediates_only=True)[0]


def build_trunk(
    name: str, size: int, grid: int, weights: str = "none", missing: Sequence[str] = ()
) -> tuple[nn.Module, int]:
    """The trunk cut at the deepest layer whose output is `grid` × `grid` cells for `size` × `size` images.

    Layers behind the cut are no part of it, nor do weights have to fill them.

    Args:
        name: One of `TRUNKS`, or `timm/` and the name of a timm model, with or without a tag, such as
            `timm/tf_efficientnet_lite0`: any whose features are a map, cut as `TimmFeatures` says.
        size: Side of the images, pixels.
        grid: Side of the grid, cells.
        weights: "none" (random), "imagenet" (torchvision's IMAGENET1K_V1, or those that timm names; downloaded), or a
            safetensors file, looked up as given and then in the folder that the environment variable P2P_WEIGHTS names.
        missing: Parameters that a file may lack and that then stay at their random start: keys, or what stands before
            one of their dots, such as `layer4`.

    Returns:
        The trunk, from images in [0, 1] or uint8 to (B, C, grid, grid), and C.

    Raises:
        UserError: Unknown name, no layer with this grid, or weights that cannot be had or do not fit.
    """
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if name.startswith("timm/"):
        model = _timm_model(name, size, weights)
        mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    else:
        model = _model(name, weights)
    keys = {id(tensor): key for key, tensor in model.state_dict(keep_vars=True).items()}
    cut = _cut_timm if name.startswith("timm/") else _cut
    layers, channels = cut(model, name, size, grid)
    trunk = nn.Sequential(Normalise(mean, std), *layers)
    if weights not in ("none", "imagenet"):
        own = {keys[id(tensor)]: tensor for tensor in trunk.state_dict(keep_vars=True).values()}
        load_weights(own, keys.values(), weights, name, missing)
    return trunk.to(memory_format=torch.channels_last), channels


def _deepest(sides: list[int], name: str, size: int, grid: int) -> int:
    """The last of these layers, given the sides of their maps, that has the grid."""
    fits = [i for i, side in enumerate(sides) if side == grid]
    if not fits:
        raise UserError(
            f"Network '{name}' has no layer with a {grid}×{grid} grid at size {size}; "
            f"it has {', '.join(map(str, sorted(set(sides))))}: change 'grid' or 'size'."
        )
    return fits[-1]


# ---------------------------------------------------------------------------------------- torchvision's and our own


def _small(width: int) -> list[nn.Module]:
    """A trunk for 64 px images and a study of minutes: three halvings, then a stage at the same resolution."""

    def block(cin: int, cout: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]

    layers: list[nn.Module] = [nn.Sequential(*block(3, width, 2))]
    for i, stride in enumerate((2, 2, 1)):
        c = width * 2**i
        layers.append(nn.Sequential(*block(c, 2 * c, stride), *block(2 * c, 2 * c, 1)))
    return layers


def _model(name: str, weights: str) -> Any:
    """The whole network, classifier included."""
    if name not in TRUNKS:
        raise UserError(f"Unknown network '{name}'; expected timm/<name> or one of {', '.join(TRUNKS)}.")
    if name in OWN:
        if weights == "imagenet":
            raise UserError(f"Network '{name}' has no ImageNet weights; set 'weights' to none or a safetensors file.")
        return nn.Sequential(*_small(OWN[name]))
    import torchvision  # brings PyTorch's compiler with it, as much again as PyTorch; our own trunks need neither

    model = torchvision.models.get_model(name, weights=None)
    if weights == "imagenet":
        model.load_state_dict(torchvision_state(name))
    return model


def _layers(model: Any, name: str) -> list[nn.Module]:
    """The network as a list of layers, any prefix of which is a trunk of smaller depth."""
    if name.startswith("resnet"):
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    if name.startswith("regnet"):
        return [model.stem, *model.trunk_output.children()]
    layers = list((model if name.startswith("small") else model.features).children())
    if name.startswith("densenet"):
        layers.append(nn.ReLU())  # torchvision applies it outside `features`
    if name == "squeezenet1_1":
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))  # 13×13 to 7×7
    return layers


def _cut(model: Any, name: str, size: int, grid: int) -> tuple[list[nn.Module], int]:
    """The layers to the deepest with the grid, and their channels."""
    layers, shapes = _layers(model, name), []
    x = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        for layer in layers:
            x = layer.eval()(x)
            shapes.append(x.shape)
    last = _deepest([shape[-1] for shape in shapes], name, size, grid)
    return layers[: last + 1], shapes[last][1]


# ----------------------------------------------------------------------------------------------------------- timm's


def _timm_model(name: str, size: int, weights: str) -> Any:
    """The whole model, classifier included; timm is imported here, where it is wanted, for that takes seconds."""
    import timm

    bare = name.removeprefix("timm/")
    known = {*timm.list_models(), *timm.list_pretrained()}  # the latter with tags: resnet50.a1_in1k
    if bare not in known:
        near = [f"timm/{other}" for other in get_close_matches(bare, sorted(known), n=5, cutoff=0.4)]
        raise UserError(
            f"Unknown network '{name}', not among the models of timm {timm.__version__}; "
            f"{'nearest are ' + ', '.join(near) if near else 'timm.list_models() names them all'}."
        )
    config = timm.get_pretrained_cfg(bare)
    keys: dict[str, Any] = {}
    if config is not None and config.fixed_input_size:
        keys["img_size"] = size
    if weights == "imagenet":
        file = timm_file(config, name)
        keys |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file), "custom_load": False}}
    try:
        return timm.create_model(bare, **keys)
    except Exception as error:  # whatever a model's own constructor or its weights' filter says
        what = f"with the weights {keys['pretrained_cfg_overlay']['file']}" if weights == "imagenet" else "by timm"
        raise UserError(
            f"Network '{name}' cannot be built {what} for {size}×{size} images ({reason(error)}); choose another."
        ) from error


def _cut_timm(model: Any, name: str, size: int, grid: int) -> tuple[list[nn.Module], int]:
    """The model to its deepest stage with the grid, without the modules behind it, and its channels."""
    images = torch.zeros(1, 3, size, size)
    whole = TimmFeatures(model.eval(), None)
    try:
        with torch.no_grad():
            features = model.forward_features(images)
            if not isinstance(features, Tensor) or features.ndim != 4:
                what = f"a {tuple(features.shape)} tensor" if isinstance(features, Tensor) else "several"
                raise UserError(
                    f"Network '{name}' yields no (B, C, H, W) map of features but {what}; choose one with convolutions "
                    f"or windows, such as timm/resnet50 or timm/swin_tiny_patch4_window7_224."
                )
            maps = [*model.forward_intermediates(images, intermediates_only=True), whole(images)]
    except UserError:
        raise
    except Exception as error:  # whatever a model says to a size that it was not made for
        raise UserError(
            f"Network '{name}' cannot take {size}×{size} images ({reason(error)}); change 'size' or 'network'."
        ) from error
    last = _deepest([x.shape[-1] for x in maps], name, size, grid)
    trunk = TimmFeatures(model, last) if last < len(maps) - 1 else whole
    _drop_unused(trunk, images)
    return [trunk], maps[last].shape[1]


def _drop_unused(trunk: TimmFeatures, images: Tensor) -> None:
    """Put nothing in the place of modules that a trunk neither calls nor takes a parameter from: behind the cut."""
    called: set[int] = set()
    hooks = [m.register_forward_hook(lambda module, *_: called.add(id(module))) for m in trunk.modules()]
    parameters = list(trunk.parameters())
    gradients = torch.autograd.grad(trunk(images).sum(), parameters, allow_unused=True)
    for hook in hooks:
        hook.remove()
    used = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}

    def prune(module: nn.Module) -> None:
        for name, child in list(module.named_children()):
            if any(id(m) in called for m in child.modules()) or any(id(p) in used for p in child.parameters()):
                prune(child)
            elif isinstance(child, nn.Sequential | nn.ModuleList):
                prune(child)  # a model may count on its length
            elif any(True for _ in child.parameters()):
                setattr(module, name, nn.Identity())

    prune(trunk)
