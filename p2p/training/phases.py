"""The training schedule as data: a list of phases, each with its epochs and what it trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from p2p.study.params import TrainParams


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        name: "warm" (trunk frozen), "joint", "push" (prototypes become training patches) or "decision".
        trains: Parameter groups that learn: "trunk", "addon", "prototypes", "decision".
        rates: Factor on the learning rates, one an epoch; its length is the number of epochs.
    """

    name: str
    trains: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()

    @property
    def epochs(self) -> int:
        """Steps of the progress line: passes, or one for a phase that is none."""
        return max(1, len(self.rates))


def timeline(params: TrainParams) -> list[Phase]:
    """The phases of a run, in order.

    `lean`: warm passes on cached trunk outputs, then rounds of joint, push, decision; the learning rate falls along
    half a cosine in the warm phase and over all joint passes together, so that it is low when prototypes are pushed;
    over the first `joint_ramp` joint passes it rises to that: Adam's first steps are as long as its rate, whatever the
    gradient, and at full rate a pretrained trunk unlearns in one pass what it brought along.
    `official`: the released configuration's epochs: warm 1–6, joint to 300, push and decision after 12, 22, …,
    292, the joint rate a tenth at 20, 24, 28, …; each of these epochs is `official_copies` passes over the images,
    and `official_epochs` ends it early.
    """
    head = () if params.head == "teacher" else ("decision",)
    warm: tuple[str, ...]
    joint: tuple[str, ...]
    if params.model == "linear":
        warm, joint = ("decision",), ("trunk", "decision")
    else:
        warm, joint = ("addon", "prototypes"), ("trunk", "addon", "prototypes")
        joint += ("decision",) if params.head == "teacher_joint" else ()
    ending = [] if params.model == "linear" else [Phase("push"), Phase("decision", head)]

    if params.schedule == "official":
        copies, last = params.official_copies, params.official_epochs
        phases = [Phase("warm", warm, (1.0,) * 6 * copies)]
        start = 7
        pushes = [epoch for epoch in range(12, 293, 10) if epoch <= last]
        for stop in sorted({*pushes, last}):
            rates = tuple(0.1 ** max(0, (epoch - 20) // 4 + 1) for epoch in range(start, stop + 1))
            rates = tuple(rate for rate in rates for _ in range(copies))
            phases += [Phase("joint", joint, rates), *(ending if stop in pushes else [])]
            start = stop + 1
        return phases

    phases = [Phase("warm", warm, _cosine(params.warm_epochs))] if params.warm_epochs else []
    rates = _cosine(params.rounds * params.joint_epochs)
    rates = tuple(rate * min(1.0, (e + 1) / (params.joint_ramp + 1)) for e, rate in enumerate(rates))
    for i in range(params.rounds):
        part = rates[i * params.joint_epochs : (i + 1) * params.joint_epochs]
        phases += [Phase("joint", joint, part)] if part else []
        phases += ending
    return phases


def batchnorm(phase: Phase, params: TrainParams) -> str:
    """ "train" where the trunk's batch normalisation takes the statistics of each batch in a phase, else "frozen"."""
    if phase.name == "decision":
        return "train" if params.tuning == "train" else "frozen"
    return params.warm_batchnorm if phase.name == "warm" else params.trunk_batchnorm


def _cosine(epochs: int, floor: float = 0.02) -> tuple[float, ...]:
    return tuple(floor + (1 - floor) * (1 + math.cos(math.pi * e / epochs)) / 2 for e in range(epochs))
