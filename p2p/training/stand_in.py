"""Who stands in the teacher's place while a student learns: the teacher, or, in a control, another network."""

from __future__ import annotations

from copy import deepcopy

import torch

from p2p.networks import ProtoNet
from p2p.study.params import TrainParams
from p2p.training.build import build_network

FAR = 1_000_003  # from the seeds that studies have


def stand_in(params: TrainParams, teacher: ProtoNet, taught: TrainParams, other: ProtoNet | None = None) -> ProtoNet:
    """The network that teaches, as `params.teaches` says; `teacher` is left as it is.

    "shuffled": the teacher with its prototypes in an order drawn from the seed, the maps untouched, so that number and
    class of a prototype say nothing. "random": an untrained network of the teacher's kind. "other": `other`.

    Args:
        params: Of the student.
        teacher: The triple's.
        taught: The parameters that the teacher was trained with.
        other: The teacher of another seed, where `params.teaches` is "other".
    """
    if params.teaches == "shuffled":
        shuffled = deepcopy(teacher)
        order = torch.randperm(len(teacher.prototypes), generator=torch.Generator().manual_seed(params.seed))
        shuffled.prototypes.data = teacher.prototypes.detach()[order.to(teacher.prototypes.device)].clone()
        return shuffled
    if params.teaches == "random":
        untrained = taught.model_copy(update={"weights": "none", "seed": params.seed + FAR})
        random = build_network(untrained, len(teacher.own))
        assert isinstance(random, ProtoNet)  # a teacher has prototypes
        return random.to(teacher.prototypes.device).eval().requires_grad_(False)
    if params.teaches == "other":
        assert other is not None, "the teacher of another seed"
        return other
    return teacher
