"""Weights averaged over passes (Izmailov et al. 2018): PyTorch's arithmetic, kept with the checkpoint."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_swa_multi_avg_fn, update_bn


class Average:
    """The mean of a network's parameters over the passes behind which it was added.

    Attributes:
        tensors: parameter: its mean so far; empty before the first pass.
        passes: How many have been added.
    """

    def __init__(self, tensors: dict[str, Tensor] | None = None, passes: int = 0) -> None:
        self.tensors, self.passes = dict(tensors or {}), passes

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Behind a pass."""
        now = {name: value.detach() for name, value in network.named_parameters()}
        if not self.passes:
            self.tensors = {name: value.clone() for name, value in now.items()}
        else:
            mean = get_swa_multi_avg_fn()
            mean([self.tensors[name] for name in now], list(now.values()), torch.tensor(self.passes))
        self.passes += 1

    @torch.no_grad()
    def put(self, network: nn.Module, batches: Iterable[Tensor] | None = None) -> None:
        """Give the network its mean parameters, and begin anew.

        Args:
            network: Its `trunk` may have batch normalisation, whose statistics belong to weights of single passes.
            batches: (b, 3, S, S) each, of which it takes its statistics anew; None where it keeps its own.
        """
        for name, value in network.named_parameters():
            value.copy_(self.tensors[name])
        if batches is not None:
            trunk = network.trunk
            assert isinstance(trunk, nn.Module)
            update_bn((batch for batch in batches if len(batch) > 1), trunk)
        self.tensors, self.passes = {}, 0
