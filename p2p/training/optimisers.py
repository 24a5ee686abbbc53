"""Which numbers learn in a phase, how fast, and how an optimiser is kept in a file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from p2p.networks import ProtoNet
from p2p.study.params import TrainParams
from p2p.training.build import Network
from p2p.training.phases import Phase


def parameter_groups(network: Network) -> dict[str, list[nn.Parameter]]:
    """The network's parameters by the names that phases train them under."""
    groups = {"trunk": list(network.trunk.parameters()), "decision": list(network.decision.parameters())}
    if isinstance(network, ProtoNet):
        groups |= {"addon": list(network.addon.parameters()), "prototypes": [network.prototypes]}
    return groups


def new_optimizer(network: Network, phase: Phase, params: TrainParams) -> torch.optim.Optimizer:
    """One for all phases of a name, kept across rounds; `set_rates` comes before its first step."""
    groups = [
        {"params": tensors, "name": name, "weight_decay": params.weight_decay if name in ("trunk", "addon") else 0.0}
        for name, tensors in parameter_groups(network).items()
        if name in phase.trains
    ]
    kind = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=1e-3, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, epoch: int, params: TrainParams) -> None:
    """The learning rates of one epoch."""
    factor = params.joint_factor if phase.name == "joint" else 1.0
    rates = {"addon": params.lr_addon * factor, "prototypes": params.lr_prototypes * factor, "trunk": params.lr_trunk}
    # of a linear network the decision takes the add-on's place
    rates["decision"] = rates["addon"] if params.model == "linear" else params.lr_decision
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]] * phase.rates[epoch]


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Its state as `<prefix>.<parameter number>.<name>`."""
    states = optimizer.state_dict()["state"].items()
    return {f"{prefix}.{i}.{k}": torch.as_tensor(v) for i, state in states for k, v in state.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    """Put an optimiser where `optimizer_tensors` found it."""
    saved: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}."):
            i, field = key.removeprefix(f"{prefix}.").split(".")
            saved.setdefault(int(i), {})[field] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": saved})
    for parameter, state in optimizer.state.items():
        # Files are row-major, the trunk's weights channels-last, and a fused step pairs numbers by their place in
        # memory: moments have to lie as their parameter does.
        for key, value in state.items():
            if value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)
