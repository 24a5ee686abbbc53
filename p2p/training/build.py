"""The untrained network of a run."""

from __future__ import annotations

import torch

from p2p.networks import LinearNet, ProtoNet
from p2p.study.params import TrainParams
from p2p.trunks import build_trunk

Network = ProtoNet | LinearNet


def build_network(params: TrainParams, classes: int) -> Network:
    """The untrained network of a run, the same for the same seed."""
    torch.manual_seed(params.seed)
    trunk, channels = build_trunk(params.network, params.size, params.grid, params.weights, params.weights_missing)
    if params.model == "linear":
        return LinearNet(trunk, channels, classes)
    per_class, depth = params.prototypes_per_class, params.prototype_depth
    return ProtoNet(trunk, channels, classes, per_class, depth, params.prototype_layer, params.decision)
