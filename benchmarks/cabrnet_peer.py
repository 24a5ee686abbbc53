"""CaBRNet's ProtoPNet, driven through its own classes, with a `ProtoNet`'s weights.

CaBRNet 1.2 pins versions that no environment of today can share with ours, so it and the few modules that it imports
come from `benchmarks/requirements.txt` without their dependencies (`make peers`); nothing of it is changed or copied.
Its data loaders read image files; here they hand out tensors that are decoded, prepared and normalised beforehand.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from p2p.errors import UserError
from p2p.networks import ProtoNet
from p2p.trunks import Normalise

WARM, JOINT = 0, 10  # an epoch of either period of `TRAINING`


@cache
def missing() -> str:
    """Why CaBRNet cannot be used here, or nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CaBRNet switches all warnings off when imported; this undoes that
            import cabrnet.archs.protopnet.decision
            import cabrnet.archs.protopnet.model
            import cabrnet.core.utils.optimizers  # noqa: F401
            from loguru import logger
    except ImportError as error:
        return f"CaBRNet cannot be imported ({error}); `make peers` installs it"
    logger.disable("cabrnet")
    return ""


def training(epochs: int, warm: int) -> dict[str, Any]:
    """The training configuration that CaBRNet publishes for CUB-200 (its `training.yml`), as its API takes it.

    Args:
        epochs: Published: 100.
        warm: Published: 10.
    """

    def group(rate: float, decay: bool = False) -> dict[str, float]:
        return {"lr": rate, "weight_decay": 1e-3} if decay else {"lr": rate}

    heads = {"addons": group(3e-3, True), "prototypes": group(3e-3)}
    return {
        "param_groups": {
            "backbone": "extractor.convnet",
            "addons": "extractor.add_on",
            "prototypes": "classifier.prototypes",
            "last_layer": "classifier.last_layer",
        },
        "optimizers": {
            "warmup_optimizer": {"type": "Adam", "groups": heads},
            "joint_optimizer": {
                "type": "Adam",
                "groups": {"backbone": group(1e-4, True), **heads},
                "scheduler": {"type": "StepLR", "params": {"step_size": 5, "gamma": 0.1}},
            },
            "last_layer_optimizer": {"type": "Adam", "groups": {"last_layer": group(1e-4)}},
        },
        "num_epochs": epochs,
        "periods": {
            "warmup": {
                "epoch_range": [0, warm - 1],
                "freeze": ["backbone", "last_layer"],
                "optimizers": "warmup_optimizer",
            },
            "main_training": {
                "epoch_range": [warm, epochs - 1],
                "freeze": "last_layer",
                "optimizers": "joint_optimizer",
            },
        },
    }


def build(network: ProtoNet, name: str, legacy: bool = False, same_weights: bool = True) -> Any:
    """CaBRNet's ProtoPNet of the same shape, on the same device.

    Args:
        network: A `ProtoNet` over the whole trunk `name` (a ResNet, or one with `features`).
        name: torchvision's name of the trunk.
        legacy: Distances by convolutions, as its CUB configuration has it; else by `cdist`, its current layer.
        same_weights: Copy all weights; else the trunk's only, the rest drawn as its CUB configuration says.

    Returns:
        A `cabrnet.archs.protopnet.model.ProtoPNet`.

    Raises:
        UserError: CaBRNet is not installed.
    """
    if reason := missing():  # it also silences CaBRNet's log, which would be charged to its time
        raise UserError(f"{reason}.")
    from cabrnet.archs.generic.model import CaBRNet

    classes, prototypes = network.own.shape
    depth = network.prototypes.shape[1]
    convolution = {"out_channels": depth, "kernel_size": 1, "bias": True}
    addon = {
        "init_mode": "PROTOPNET",
        "conv1": {"type": "Conv2d", "params": dict(convolution)},
        "act1": {"type": "ReLU"},
        "conv2": {"type": "Conv2d", "params": dict(convolution)},
        "act2": {"type": "Sigmoid"},
    }
    layer = "layer4" if name.startswith("resnet") else "features"
    model: Any = CaBRNet.build_from_config(
        {
            "top_arch": {"module": "cabrnet.archs.protopnet.model", "name": "ProtoPNet"},
            "extractor": {
                "backbone": {"arch": name, "weights": ""},
                "convnet": {"source_layer": layer, "add_on": addon},
            },
            "similarity": {"name": "LegacyProtoPNetSimilarity" if legacy else "ProtoPNetSimilarity"},
            "classifier": {
                "module": "cabrnet.archs.protopnet.decision",
                "name": "ProtoPNetClassifier",
                "params": {
                    "num_classes": classes,
                    "num_features": depth,
                    "num_proto_per_class": prototypes // classes,
                    "proto_init_mode": "UNIFORM",
                },
            },
        }
    )
    model.extractor.convnet.load_state_dict(_trunk_state(network, name))
    if same_weights:
        addon_state = network.addon.state_dict()
        first = addon_state["0.weight"] / network.scale  # CaBRNet has no scale; dividing the weights is the same
        convs = [m for m in model.extractor.add_on if isinstance(m, nn.Conv2d)]
        convs[0].load_state_dict({"weight": first, "bias": addon_state["0.bias"]})
        convs[1].load_state_dict({"weight": addon_state["2.weight"], "bias": addon_state["2.bias"]})
        model.classifier.prototypes.data.copy_(network.prototypes.data[:, :, None, None])
        model.classifier.last_layer.load_state_dict(network.decision.state_dict())
    return model.to(network.prototypes.device)


def _trunk_state(network: ProtoNet, name: str) -> dict[str, Tensor]:
    """Our trunk's weights under torchvision's names; part 0 of ours is the normalisation."""
    if name.startswith("resnet"):
        parts = {"1.0": "conv1", "1.1": "bn1", **{str(i + 1): f"layer{i}" for i in range(1, 5)}}
    else:
        assert isinstance(network.trunk, nn.Sequential)
        parts = {str(i): f"features.{i - 1}" for i in range(1, len(network.trunk))}
    state = {}
    for key, value in network.trunk.state_dict().items():
        old = next(part for part in sorted(parts, key=len, reverse=True) if key.startswith(part + "."))
        state[parts[old] + key.removeprefix(old)] = value.contiguous()
    return state


def optimizers(model: Any, epochs: int = 100, warm: int = JOINT) -> Any:
    """Its `OptimizerManager` with `training`."""
    from cabrnet.core.utils.optimizers import OptimizerManager

    return OptimizerManager.build_from_config(training(epochs, warm), model)


class Loader:
    """What CaBRNet asks of a data loader: batches, their number and their size.

    Args:
        copies: Sets of the same images, each (N, 3, S, S) uint8; every pass hands out the next.
        labels: (N,).
        batch_size: Images a batch.
        shuffle: Seed of the order, which changes with every pass; None keeps the order.
    """

    def __init__(self, copies: list[Tensor], labels: Tensor, batch_size: int, shuffle: int | None = None) -> None:
        self.copies, self.labels, self.batch_size, self.shuffle = copies, labels, batch_size, shuffle
        self.normalise, self.passes = Normalise().to(labels.device), 0

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        pixels, order = self.copies[self.passes % len(self.copies)], torch.arange(len(self.labels))
        if self.shuffle is not None:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(self.shuffle + self.passes))
        self.passes += 1
        for part in order.to(self.labels.device).split(self.batch_size):
            yield self.normalise(pixels[part]).contiguous(), self.labels[part]
