"""The untrained network of a run."""

from __future__ import annotations

import torch

from p2p.decision import DECISIONS
from p2p.errors import pick
from p2p.networks import LinearNet, ProtoNet
from p2p.study.params import TrainParams
from p2p.trunks import build_trunk

Network = ProtoNet | LinearNet


def build_network(params: TrainParams, classes: int) -> Network:
    """The untrained network of a run, the same for the same seed.

    Raises:
        UserError: There is no such trunk or decision, or the decision cannot do what the parameters say.
    """
    torch.manual_seed(params.seed)
    trunk, channels = build_trunk(params.network, params.size, params.grid, params.weights, params.weights_missing)
    if params.model == "linear":
        return LinearNet(trunk, channels, classes)
    kind = pick(DECISIONS, params.decision, "decision")
    kind.check(params)
    size, depth = getattr(params, kind.size), params.prototype_depth
    return ProtoNet(trunk, channels, classes, size, depth, params.prototype_layer, params.decision)
