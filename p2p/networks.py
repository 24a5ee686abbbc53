"""Prototypical part networks over any torchvision trunk.

An image passes the *trunk* (a CNN without its classifier), the *add-on* layers, the *prototype layer*, which measures
how near each learnt prototype comes to each cell of the grid, and the *decision layer*, which sums up the evidence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.error import HTTPError

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from p2p.decision import DECISIONS, LinearDecision
from p2p.errors import UserError, pick

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRUNKS = (
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *(f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")),
    *("densenet121", "densenet161", "densenet169", "densenet201"),
    *("mobilenet_v2", "squeezenet1_1", "small", "small_half"),
)
WEIGHTS_HOST = "https://download.pytorch.org/models"


class Pixels(Protocol):
    """Images (N, 3, S, S) uint8: a tensor, or a `p2p.data.streaming.Stream` that reads them where they are touched."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Tensor: ...

    def split(self, size: int, /) -> Iterable[Tensor]: ...


class Output(NamedTuple):
    """What one forward pass yields; what a network does not have, or nobody asked for, is an empty tensor."""

    logits: Tensor  # (B, K)
    distances: Tensor  # (B, P) squared L2 to the nearest cell
    cells: Tensor  # (B, P) int64, index h·W + w of that cell
    z: Tensor  # (B, D, H, W) add-on map
    features: Tensor  # (B, C, H, W) trunk output
    prototypes: Tensor  # (P, D)


class Normalise(nn.Module):
    """Images to the trunk's input: uint8 or float in [0, 1] to ImageNet-normalised float32."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> the same
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class ProtoNet(nn.Module):
    """ProtoPNet: logits = W · log((d + 1) / (d + ε)), d the smallest squared distance of each prototype to the grid.

    Source: ProtoPNet (Chen et al., NeurIPS 2019), as used by Proto2Proto (CVPR 2022). Other prototype layers and
    decisions: `PROTOTYPE_LAYERS` here and `p2p.decision.DECISIONS`.

    Args:
        trunk: Maps normalised images to (B, C, H, W).
        channels: C.
        classes: K.
        per_class: Prototypes of each class; P = K · per_class, prototype j belongs to class j // per_class.
        depth: D, channels of the add-on map and length of a prototype.
        layer: Name of the prototype layer, see `PROTOTYPE_LAYERS`.
        head: Name of the decision, see `p2p.decision.DECISIONS`.
    """

    own: Tensor  # (K, P) bool, prototype j belongs to class k
    scale: Tensor  # (), what trunk outputs are divided by; 1 unless `p2p.prototypes.normalise_features` sets it

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        classes: int,
        per_class: int = 10,
        depth: int = 128,
        layer: str = "distance",
        head: str = "linear",
    ) -> None:
        super().__init__()
        self.trunk, self.layer = trunk, pick(PROTOTYPE_LAYERS, layer, "prototype_layer")
        self.addon = nn.Sequential(nn.Conv2d(channels, depth, 1), nn.ReLU(), nn.Conv2d(depth, depth, 1), nn.Sigmoid())
        for part in self.addon:
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(part.bias)
        self.prototypes = nn.Parameter(torch.rand(classes * per_class, depth))  # (P, D)
        own = torch.arange(classes * per_class) // per_class == torch.arange(classes)[:, None]
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("own", own, persistent=False)  # (K, P): prototype j belongs to class k
        self.decision: LinearDecision = pick(DECISIONS, head, "decision")(own)

    def head(self, features: Tensor) -> Output:  # (B, C, H, W) trunk output
        with torch.autocast(features.device.type, enabled=False):  # ε = 1e-4 leaves no room for half precision
            z, prototypes = self.describe(features), self.layer.prepare(self.prototypes)
            distances, cells = nearest_cells(z, prototypes)
            return Output(self.decision(self.layer.similarity(distances)), distances, cells, z, features, prototypes)

    def describe(self, features: Tensor) -> Tensor:
        """(B, C, H, W) trunk output to the add-on map z (B, D, H, W) in float32, as the prototype layer wants it."""
        return self.layer.prepare(self.addon(features.float() / self.scale))

    def add_on_map(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) images to z (B, D, H, W) in float32."""
        return self.describe(self.trunk(images))

    def forward(self, images: Tensor) -> Output:
        return self.head(self.trunk(images))


class LinearNet(nn.Module):
    """The same trunk with an ordinary classifier (average pool, one linear layer): what interpretability costs."""

    scale: Tensor  # (), as in `ProtoNet`

    def __init__(self, trunk: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.trunk, self.decision = trunk, nn.Linear(channels, classes)
        self.register_buffer("scale", torch.ones(()))

    def head(self, features: Tensor) -> Output:
        none = features.new_empty(0)
        return Output(self.decision(features.mean((2, 3)) / self.scale), none, none, none, features, none)

    def forward(self, images: Tensor) -> Output:
        return self.head(self.trunk(images))


def distance_map(z: Tensor, prototypes: Tensor) -> Tensor:
    """Squared L2 distance of every prototype to every cell, d = max(0, ‖z‖² − 2 z·p + ‖p‖²), in float32.

    Args:
        z: (B, D, H, W) add-on map.
        prototypes: (P, D).

    Returns:
        (B, P, H, W) squared L2.
    """
    b, _, h, w = z.shape
    raw, p2 = _distances_without_p2(z, prototypes)
    return (raw + p2[:, None]).relu().view(b, -1, h, w)


def nearest_cells(z: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Each prototype's nearest cell and its distance.

    ‖p‖² is the same for all cells, so it is added after the minimum: one (B, P, H·W) tensor instead of three.

    Args:
        z: (B, D, H, W) add-on map.
        prototypes: (P, D).

    Returns:
        distances (B, P) squared L2, float32, and cells (B, P) int64 in 0..H·W−1.
    """
    raw, p2 = _distances_without_p2(z, prototypes)
    smallest, cells = raw.min(dim=2)
    return (smallest + p2).relu(), cells


def _distances_without_p2(z: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast(z.device.type, enabled=False):  # ε = 1e-4 leaves no room for half precision or TF32
        x, p = z.float().flatten(2), prototypes.float()  # (B, D, HW), (P, D)
        x2 = (x * x).sum(1, keepdim=True)  # (B, 1, HW), once, not once per prototype
        raw = torch.baddbmm(x2, p.expand(len(x), *p.shape), x, alpha=-2)  # (B, P, HW)
        return raw, (p * p).sum(1)


def similarity(distances: Tensor, epsilon: float = 1e-4) -> Tensor:
    """log((d + 1) / (d + ε)): 0 far away, −log ε at distance zero (ProtoPNet, eq. in §2.1)."""
    return torch.log((distances + 1) / (distances + epsilon))


def unit(x: Tensor) -> Tensor:
    """Vectors along axis 1, (B, D, …) or (P, D), scaled to length 1."""
    return nn.functional.normalize(x, dim=1)


def as_they_are(x: Tensor) -> Tensor:
    return x


class PrototypeLayer(NamedTuple):
    """How cells and prototypes are compared: both prepared, then by squared L2, then turned into evidence."""

    prepare: Callable[[Tensor], Tensor]  # of z (B, D, H, W) and of prototypes (P, D), along axis 1
    similarity: Callable[[Tensor], Tensor]  # of squared L2 distances of what is prepared, any shape


PROTOTYPE_LAYERS = {
    "distance": PrototypeLayer(as_they_are, similarity),
    # of unit vectors ‖u − v‖² = 2 − 2 cos, so nearest cells, push and response tables serve both layers
    "cosine": PrototypeLayer(unit, lambda distances: 1 - distances / 2),
}


# ---------------------------------------------------------------------------------------------------------- trunks


def _small(width: int) -> list[nn.Module]:
    """A trunk for 64 px images and a study of minutes: three halvings, then a stage at the same resolution."""

    def block(cin: int, cout: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]

    layers: list[nn.Module] = [nn.Sequential(*block(3, width, 2))]
    for i, stride in enumerate((2, 2, 1)):
        c = width * 2**i
        layers.append(nn.Sequential(*block(c, 2 * c, stride), *block(2 * c, 2 * c, 1)))
    return layers


def _layers(name: str, weights: str) -> list[nn.Module]:
    """The trunk as a list of layers, any prefix of which is a trunk of smaller depth."""
    if name in ("small", "small_half"):
        layers = _small(24 if name == "small" else 12)
        if weights != "none":
            load_weights(nn.Sequential(*layers), weights, name)
        return layers
    model: Any = torchvision.models.get_model(name, weights=None)
    features = model.features if hasattr(model, "features") else model
    if weights == "imagenet":
        model.load_state_dict(_imagenet_state(name))
    elif weights != "none":
        model.fc = nn.Identity()  # a ResNet's classifier is no part of the trunk, so nobody misses its weights
        load_weights(features, weights, name)
    if name.startswith("resnet"):
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    layers = list(features.children())
    if name.startswith("densenet"):
        layers.append(nn.ReLU())  # torchvision applies it outside `features`
    if name == "squeezenet1_1":
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))  # 13×13 to 7×7
    return layers


def build_trunk(name: str, size: int, grid: int, weights: str = "none") -> tuple[nn.Module, int]:
    """The trunk cut at the deepest layer whose output is `grid` × `grid` cells for `size` × `size` images.

    Args:
        name: One of `TRUNKS`.
        size: Side of the images, pixels.
        grid: Side of the grid, cells.
        weights: "none" (random), "imagenet" (torchvision's IMAGENET1K_V1, downloaded), or a safetensors file, looked
            up as given and then in the folder that the environment variable P2P_WEIGHTS names.

    Returns:
        The trunk, from images in [0, 1] or uint8 to (B, C, grid, grid), and C.

    Raises:
        UserError: Unknown name, no layer with this grid, or weights that cannot be had or do not fit.
    """
    if name not in TRUNKS:
        raise UserError(f"Unknown network '{name}'; expected one of {', '.join(TRUNKS)}.")
    layers, sides, channels = _layers(name, weights), [], []
    x = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        for layer in layers:
            x = layer.eval()(x)
            sides.append(x.shape[-1])
            channels.append(x.shape[1])
    fits = [i for i, side in enumerate(sides) if side == grid]
    if not fits:
        raise UserError(
            f"Network '{name}' has no layer with a {grid}×{grid} grid at size {size}; "
            f"it has {', '.join(map(str, sorted(set(sides))))}: change 'grid' or 'size'."
        )
    trunk = nn.Sequential(Normalise(), *layers[: fits[-1] + 1])
    return trunk.to(memory_format=torch.channels_last), channels[fits[-1]]


def find_weights(weights: str, name: str) -> Path:
    """The safetensors file `weights` of network `name`: as given, else in the folder that P2P_WEIGHTS names.

    Raises:
        UserError: In neither place.
    """
    path = Path(weights)
    if not path.is_file():
        path = Path(os.environ.get("P2P_WEIGHTS", ".")) / weights
    if not path.is_file():
        raise UserError(
            f"Weights '{weights}' for {name} not found; expected a safetensors file at that path or in the folder "
            f"that P2P_WEIGHTS names (now {os.environ.get('P2P_WEIGHTS') or 'unset'}), or 'imagenet' for torchvision's."
        )
    return path


def load_weights(module: nn.Module, weights: str, name: str) -> None:
    """Load a safetensors file, with or without a `features.` prefix; report what is missing or left over.

    Raises:
        UserError: No such file, no key in common, or a shape that differs.
    """
    path = find_weights(weights, name)
    try:
        state = {key.removeprefix("features."): value for key, value in load_file(path).items()}
    except SafetensorError as error:
        raise UserError(
            f"Weights {path} for {name} are damaged or no safetensors file ({error}); copy it again."
        ) from None
    own = module.state_dict()
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if wrong or not own.keys() & state.keys():
        what = f"key '{sorted(wrong)[0]}' has another shape" if wrong else "no key fits"
        raise UserError(f"Weights {path} are not those of {name}: {what}; give the file of this network.")
    result = module.load_state_dict(state, strict=False)
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if missing:
        print(f"{name}: left at their random start, not in {path.name}: {', '.join(missing)}")
    if result.unexpected_keys:
        print(f"{name}: not used from {path.name}: {', '.join(result.unexpected_keys)}")


def _imagenet_state(name: str) -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 by name (`DEFAULT` is another model for ResNet-50).

    P2P_WEIGHTS_MIRROR replaces the host, for clusters without internet.
    """
    url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    mirror = os.environ.get("P2P_WEIGHTS_MIRROR")
    if mirror and "://" not in mirror:
        raise UserError(
            f"P2P_WEIGHTS_MIRROR is '{mirror}'; expected a URL that begins with https://, http:// or file://."
        )
    source = url.replace(WEIGHTS_HOST, mirror.rstrip("/")) if mirror else url
    try:
        state = torch.hub.load_state_dict_from_url(source, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # a damaged file in the cache raises a dozen kinds, a wrong hash a RuntimeError
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        known = isinstance(error, OSError | HTTPException) or "hash" in str(error)
        reason = str(error) if known else type(error).__name__
        cached = Path(torch.hub.get_dir(), "checkpoints", source.rsplit("/", 1)[1])
        if cached.exists() or "hash" in reason:
            raise UserError(
                f"ImageNet weights of {name} from {source} are damaged ({reason}); delete {cached} from torch's cache, "
                f"if it is there, and retry."
            ) from error
        raise UserError(
            f"ImageNet weights of {name} could not be downloaded from {source} ({reason}); connect once to fill "
            f"torch's cache, set P2P_WEIGHTS_MIRROR, or give a safetensors file in 'weights'."
        ) from error
    # DenseNet's files were saved before dots were forbidden in module names: norm.1 is norm1 today
    return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)", r"\1\2", key): value for key, value in state.items()}
