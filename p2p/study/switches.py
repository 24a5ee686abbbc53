"""Switches that the paper does not have: what the released code does, what controls put in its place, averaged weights.

Each stands at what this study takes for the paper's statement, and is then no part of a run's identity: runs that were
finished before there was a switch stay known. A1 to A7 and A14 are as old as `p2p.study.params`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


def _switch(default: Any, description: str, **bounds: Any) -> Any:
    return Field(default, description=description, exclude_if=lambda value: value == default, **bounds)


class Switches(BaseModel):
    """A part of `p2p.study.params.TrainParams`."""

    average_share: float = _switch(
        0.0, "The last joint passes, so large a share of them: their weights are averaged before the push.", ge=0, le=1
    )
    tau_share: float = _switch(
        1.0, "A3: of a batch's nearest distances so large a share, the smallest, makes patches active.", ge=1e-3, le=1
    )
    tuning: Literal["solver", "train", "eval"] = _switch(
        "solver",
        "A8: how the decision layer learns after a push: solved on stored activations; or passes of Adam over "
        "augmented images, as coded with the network in train mode, or in eval mode.",
    )
    tuning_passes: int = _switch(10, "Of Adam, where 'tuning' is not solver.", ge=1, le=1_000)
    mask_ties: Literal["first", "all"] = _switch(
        "first", "A18: of cells that tie for a prototype's smallest distance, those that are active; all as coded."
    )
    prototype_ties: Literal["one", "split"] = _switch(
        "one", "A19: of tied prototypes one gets the gradient of cluster and separation, as coded; split: each a share."
    )
    warm_batchnorm: Literal["frozen", "train"] = _switch(
        "frozen", "A21: train: the frozen trunk runs in train mode in warm passes, as coded, its statistics drifting."
    )
    teaches: Literal["teacher", "shuffled", "random", "other"] = _switch(
        "teacher",
        "Control: in the teacher's place, while it teaches, itself with its prototypes in another order; an untrained "
        "network of its kind; or the teacher of another seed.",
    )
    other_teacher_run: str = _switch("", "Run of another seed's teacher, where 'teaches' is other; set by the study.")
    taught_classes: Literal["all", "half"] = _switch(
        "all", "Control: half: the distillation losses see the images of the first half of the classes alone."
    )


def idle_switches(run: Any) -> set[str]:
    """Of these the switches that change nothing in a run (a `TrainParams`), whatever their value."""
    idle = set() if run.schedule == "official" or run.warm_epochs else {"warm_batchnorm"}
    if run.tuning == "solver":
        idle |= {"tuning_passes"}
    if not run.distillation.get("ppc") or run.mask_source == "all":
        idle |= {"tau_share", "mask_ties"}
    if not run.teacher_run:
        idle |= {"teaches"}
    if not any(run.distillation.values()):
        idle |= {"taught_classes"}
    if run.model == "linear":
        idle |= {"tuning", "tuning_passes", "prototype_ties"}
    return idle
